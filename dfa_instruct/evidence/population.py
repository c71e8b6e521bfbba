"""Evidence for a face without a bona fide face: how it differs from the bona fide faces of the training split."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.evidence.strength import bands, rank, rms, strength
from dfa_instruct.face.colour import to_lab
from dfa_instruct.face.regions import REGION_LANDMARKS, region_masks
from dfa_instruct.records import Artifact, Face, Landmarks, Pixels
from dfa_instruct.vocabulary import REGIONS, ArtifactKind

MAX_POPULATION: Final = 1000
"""The largest number of faces that a population is fitted to."""
FOLDS: Final = 5
"""The number of cross-validation folds."""
FALSE_ALARM_RATE: Final = 0.05
"""The share of bona fide faces in which something may be named."""
STRENGTH_RANGE: Final = 2.0
"""The deviation that has strength 1, in multiples of the deviation that has strength 0."""

_COLUMNS: Final[tuple[ArtifactKind, ...]] = ("texture", "sharpness", "colour", "colour", "colour", "colour")
"""The artifact that each of a region's features in `_features` belongs to."""
_KINDS: Final[tuple[ArtifactKind, ...]] = (*dict.fromkeys(_COLUMNS), "geometry")
_COORDINATES: Final = 81 * 2


class PopulationEvidence:
    """A model of bona fide faces, region by region, that tells how a face differs from them.

    The threshold is fitted by cross-validation. Each fifth of the faces is compared with the other four, and the
    threshold is set so that a share of `FALSE_ALARM_RATE` of the faces would have a region named.
    """

    def __init__(self, features: NDArray[np.float64], size: int) -> None:
        """Fit the model to the features of aligned faces, shape (faces, features), of `size` pixels; see `fit`."""
        self.size = size
        self.mean, self.spread = _moments(features)
        fold = np.arange(len(features)) % FOLDS
        held_out = np.concatenate(
            [_deviations(features[fold == k], *_moments(features[fold != k])) for k in range(min(FOLDS, len(features)))]
        )
        # Each deviation is scaled by its own 90 % quantile, because some have longer tails than others.
        self.usual = np.maximum(np.quantile(held_out, 0.9, axis=0), 1.0)
        self.threshold = float(np.quantile((held_out / self.usual).max((1, 2)), 1 - FALSE_ALARM_RATE))

    @classmethod
    def fit(cls, faces: Iterable[Face]) -> Self:
        """Fit the model to bona fide faces.

        Args:
            faces: Aligned faces of one size. The first `MAX_POPULATION` faces with landmarks are used.

        Raises:
            ValueError: Fewer than two faces have landmarks, or the faces differ in size.
        """
        features: list[NDArray[np.float64]] = []
        size = 0
        for face in islice((face for face in faces if face.landmarks is not None), MAX_POPULATION):
            size = size or face.image.shape[0]
            _check_size(face, size)
            features.append(_features(face.image, face.landmarks))  # type: ignore[arg-type]
        if len(features) < 2:
            raise ValueError("the population of bona fide faces has fewer than two faces with landmarks")
        return cls(np.stack(features), size)

    def measure(self, face: Face) -> list[Artifact]:
        """Return the artifacts of a face in the regions that differ from the population.

        A face without landmarks is measured at the population's mean landmarks and has no geometry artifact.

        Returns:
            The artifacts, ordered by `rank`.

        Raises:
            ValueError: The face has another size than the population.
        """
        _check_size(face, self.size)
        mean_landmarks = self.mean[-_COORDINATES:].reshape(81, 2).astype(np.float32)
        landmarks = mean_landmarks if face.landmarks is None else face.landmarks
        deviations = _deviations(_features(face.image, landmarks)[None], self.mean, self.spread)[0] / self.usual
        scale = (self.threshold, STRENGTH_RANGE * self.threshold)
        return rank(
            {
                region: {kind: strength(float(deviations[r, k]), scale) for k, kind in enumerate(_KINDS)}
                for r, region in enumerate(REGIONS)
            }
        )


def _check_size(face: Face, size: int) -> None:
    if face.image.shape[0] != size:
        raise ValueError(
            f"{face.face_id}: its side is {face.image.shape[0]} px, but the population's faces have {size} px"
        )


def _features(image: Pixels, landmarks: Landmarks) -> NDArray[np.float64]:
    """Return a face's features: `_COLUMNS` for each region (NaN if it lies outside the picture), then the landmarks.

    The four colour features are the region's mean L*a*b* relative to the whole face, and the distance between the
    colours of its two halves.
    """
    size = image.shape[0]
    masks = region_masks(landmarks, size)
    lab = to_lab(image)
    details = bands(lab[..., 0])
    face = np.any(list(masks.values()), axis=0)
    face_colour = np.median(lab[face], axis=0) if face.any() else np.zeros(3)
    right = np.arange(size)[None, :] < landmarks[27:31, 0].mean()
    rows = []
    for mask in masks.values():
        halves = [mask & right, mask & ~right]
        if min(half.sum() for half in halves) < 0.0003 * size * size:
            rows.append([np.nan] * len(_COLUMNS))
            continue
        energy = [np.log2(rms(band[mask]) + 0.5) for band in details.values()]
        asymmetry = float(np.linalg.norm(lab[halves[0]].mean(0) - lab[halves[1]].mean(0)))
        rows.append([*energy, *(lab[mask].mean(0) - face_colour), asymmetry])
    return np.concatenate([np.ravel(rows), landmarks.ravel()]).astype(np.float64)


def _moments(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each feature's mean and standard deviation, ignoring NaN (0 and 1 for a feature that is always NaN)."""
    known = np.isfinite(features)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, features, 0).sum(0) / count
    spread = np.sqrt(np.square(np.where(known, features - mean, 0)).sum(0) / count)
    return mean, np.where(known.any(0), np.maximum(spread, 1e-3), 1.0)


def _deviations(
    features: NDArray[np.float64], mean: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each face's deviation from the mean by region and artifact, shape (faces, regions, `_KINDS`)."""
    scores = np.nan_to_num((features - mean) / spread)
    regional = scores[:, :-_COORDINATES].reshape(len(scores), len(REGIONS), len(_COLUMNS))
    landmarks = scores[:, -_COORDINATES:].reshape(len(scores), 81, 2)
    deviations = np.empty((len(scores), len(REGIONS), len(_KINDS)))
    for k, kind in enumerate(_KINDS[:-1]):
        columns = [column == kind for column in _COLUMNS]
        deviations[:, :, k] = np.sqrt(np.square(regional[:, :, columns]).mean(-1))
    for r, region in enumerate(REGIONS):
        deviations[:, r, -1] = np.sqrt(np.square(landmarks[:, REGION_LANDMARKS[region]]).mean((1, 2)))
    return deviations
