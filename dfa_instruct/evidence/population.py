"""The evidence of a face that has no bona fide: what stands outside the bona fide faces of the training split."""

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

POPULATION: Final = 1000
"""Faces at most that a population is learnt from."""
FOLDS: Final = 5
FALSE_ALARMS: Final = 0.05
"""The share of bona fide faces in which something may be named when they are held against a population."""
POPULATION_RANGE: Final = 2.0
"""How many times farther than where it begins to be named a deviation is as strong as can be."""

_COLUMNS: Final[tuple[ArtifactKind, ...]] = ("texture", "sharpness", "colour", "colour", "colour", "colour")
"""The artifact that each number of `_features` about a region speaks of."""
_KINDS: Final[tuple[ArtifactKind, ...]] = (*dict.fromkeys(_COLUMNS), "geometry")


def _features(image: Pixels, landmarks: Landmarks) -> NDArray[np.float64]:
    """Describe a face by numbers: `_COLUMNS` for each region (NaN where it is out of the picture), then the landmarks.

    Colour is the region's Lab against the whole face's, and the distance of its left half from its right one.
    """
    size = image.shape[0]
    masks = region_masks(landmarks, size)
    lab = to_lab(image)
    details = bands(lab[..., 0])
    face = np.any(list(masks.values()), axis=0)
    middle = np.median(lab[face], axis=0) if face.any() else np.zeros(3)
    right = np.arange(size)[None, :] < landmarks[27:31, 0].mean()
    rows = []
    for mask in masks.values():
        halves = [mask & right, mask & ~right]
        if min(half.sum() for half in halves) < 0.0003 * size * size:
            rows.append([np.nan] * len(_COLUMNS))
            continue
        energy = [np.log2(rms(band[mask]) + 0.5) for band in details.values()]
        asymmetry = float(np.linalg.norm(lab[halves[0]].mean(0) - lab[halves[1]].mean(0)))
        rows.append([*energy, *(lab[mask].mean(0) - middle), asymmetry])
    return np.concatenate([np.ravel(rows), landmarks.ravel()]).astype(np.float64)


def _moments(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of every number over the faces in which it is known (0 and 1 where in none)."""
    known = np.isfinite(features)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, features, 0).sum(0) / count
    spread = np.sqrt(np.square(np.where(known, features - mean, 0)).sum(0) / count)
    return mean, np.where(known.any(0), np.maximum(spread, 1e-3), 1.0)


def _deviations(
    features: NDArray[np.float64], mean: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far each region of each face stands from the mean, by kind of artifact: shape (faces, regions, _KINDS)."""
    scores = np.nan_to_num((features - mean) / spread)
    regional = scores[:, : -81 * 2].reshape(len(scores), len(REGIONS), len(_COLUMNS))
    landmarks = scores[:, -81 * 2 :].reshape(len(scores), 81, 2)
    found = np.empty((len(scores), len(REGIONS), len(_KINDS)))
    for k, kind in enumerate(_KINDS[:-1]):
        columns = [column == kind for column in _COLUMNS]
        found[:, :, k] = np.sqrt(np.square(regional[:, :, columns]).mean(-1))
    for r, region in enumerate(REGIONS):
        found[:, r, -1] = np.sqrt(np.square(landmarks[:, REGION_LANDMARKS[region]]).mean((1, 2)))
    return found


class PopulationEvidence:
    """What bona fide faces look like, region by region: the measure of a face that has no bona fide of its own.

    How far a bona fide face may stand out is learnt too: each fifth of the faces is held against the other four, and
    what is named begins where no more than `FALSE_ALARMS` of them would have had any region named.
    """

    def __init__(self, features: NDArray[np.float64], size: int) -> None:
        """Learn from the numbers of `_features`, shape (faces, numbers), of aligned squares of `size` pixels."""
        self.size = size
        self.mean, self.spread = _moments(features)
        fold = np.arange(len(features)) % FOLDS
        held_out = np.concatenate(
            [_deviations(features[fold == k], *_moments(features[fold != k])) for k in range(min(FOLDS, len(features)))]
        )
        # Some numbers have longer tails than others; each is held against its own.
        self.usual = np.maximum(np.quantile(held_out, 0.9, axis=0), 1.0)
        self.begin = float(np.quantile((held_out / self.usual).max((1, 2)), 1 - FALSE_ALARMS))

    @classmethod
    def fit(cls, faces: Iterable[Face]) -> Self:
        """Learn from aligned bona fide faces of one size: the first `POPULATION` of those that have landmarks.

        Raises:
            ValueError: there are fewer than two, or of several sizes.
        """
        features: list[NDArray[np.float64]] = []
        size = 0
        for face in islice((face for face in faces if face.landmarks is not None), POPULATION):
            size = size or face.image.shape[0]
            _check_size(face, size)
            features.append(_features(face.image, face.landmarks))  # type: ignore[arg-type]
        if len(features) < 2:
            raise ValueError("the population of bona fide faces has fewer than two faces with landmarks")
        return cls(np.stack(features), size)

    def measure(self, face: Face) -> list[Artifact]:
        """Name the regions of a face that stand outside the population.

        A face in which no landmarks were found is read with the population's mean ones, and nothing is said of
        its geometry.

        Returns:
            The artifacts of at most `MAX_REGIONS` regions, the strongest region first.

        Raises:
            ValueError: its size is not the population's.
        """
        _check_size(face, self.size)
        mean_landmarks = self.mean[-81 * 2 :].reshape(81, 2).astype(np.float32)
        landmarks = mean_landmarks if face.landmarks is None else face.landmarks
        found = _deviations(_features(face.image, landmarks)[None], self.mean, self.spread)[0] / self.usual
        scale = (self.begin, POPULATION_RANGE * self.begin)
        return rank(
            {
                region: {kind: strength(float(found[r, k]), scale) for k, kind in enumerate(_KINDS)}
                for r, region in enumerate(REGIONS)
            }
        )


def _check_size(face: Face, size: int) -> None:
    if face.image.shape[0] != size:
        raise ValueError(f"{face.face_id}: its side is {face.image.shape[0]} px, the population's {size} px")
