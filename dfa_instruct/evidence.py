"""Evidence: which facial region of a forgery differs, how, and how much, measured on the pixels.

A forgery that has its bona fide is compared with it, region by region (`measure`). A synthesized face has none; it is
held against what the bona fide faces of the training split look like (`PopulationEvidence`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.records import Artifact, FaceRecord, Landmarks, Pixels
from dfa_instruct.vocabulary import ARTIFACTS, REGIONS, ArtifactKind, Region

MAX_REGIONS: Final = 4
MAX_KINDS: Final = 2  # of artifacts named in one region

LANDMARKS_OF: Final[dict[Region, list[int]]] = {
    "forehead": list(range(68, 81)),
    "hairline": list(range(68, 81)),
    "eyebrows": list(range(17, 27)),
    "eyes": list(range(36, 48)),
    "nose": list(range(27, 36)),
    "cheeks": [1, 2, 3, 4, 12, 13, 14, 15],
    "mouth": list(range(48, 68)),
    "chin": [6, 7, 8, 9, 10],
    "jawline": list(range(2, 15)),
}

PAIR_SCALE: Final[dict[ArtifactKind, tuple[float, float]]] = {
    "colour": (3.0, 15.0),  # distance in Lab
    "texture": (0.4, 2.2),  # doublings of the finest detail's energy
    "sharpness": (0.4, 1.8),  # doublings of the middle detail's energy
    "geometry": (0.025, 0.15),  # interocular distances
    "boundary": (1.2, 4.0),  # steps of L per pixel
}
"""Artifact → where it begins to be named (strength 0) and where it is as strong as can be (strength 1)."""

SAME_PICTURE: Final = 0.8
"""Likeness outside of the face from which on two squares may be of one picture. On photographs of 128 pixels, JPEG at
quality 5 leaves 0.89 and a shift of a pixel 0.93 at least; one of 3 pixels, from where on regions are named that were
not touched, leaves 0.71 and another person 0.03 (medians)."""

TOUCHED: Final = 0.15
"""The share of a region's pixels that must have changed before its geometry is named: a landmarker that sees other eyes
may move its forehead, too."""

POPULATION: Final = 1000
"""Faces at most that a population is learnt from."""
FOLDS: Final = 5
FALSE_ALARMS: Final = 0.05
"""The share of bona fide faces in which something may be named when they are held against a population."""
POPULATION_RANGE: Final = 2.0
"""How many times farther than where it begins to be named a deviation is as strong as can be."""


def interocular(landmarks: Landmarks) -> float:
    """Distance of the eyes' centres in pixels."""
    return float(np.linalg.norm(landmarks[36:42].mean(0) - landmarks[42:48].mean(0)))


def region_masks(landmarks: Landmarks, size: int) -> dict[Region, NDArray[np.bool_]]:
    """Paint the nine regions of `REGIONS`; they do not overlap.

    Args:
        landmarks: of the aligned face, shape (81, 2), in pixels.
        size: side of the aligned square in pixels.

    Returns:
        For each region a mask of shape (size, size); empty where the region lies outside the picture.
    """
    eye = interocular(landmarks)
    down = landmarks[48:60].mean(0) - landmarks[36:48].mean(0)
    down *= eye / max(float(np.linalg.norm(down)), 1e-6)
    labels = np.zeros((size, size), np.uint8)
    colour = {region: index for index, region in enumerate(REGIONS, start=1)}

    def fill(region: Region, points: Landmarks, margin: float = 0.0) -> None:
        hull = cv2.convexHull(np.rint(points).astype(np.int32))
        cv2.fillConvexPoly(labels, hull, colour[region])
        if margin:
            cv2.polylines(labels, [hull], True, colour[region], max(1, round(2 * margin * eye)))

    def band(region: Region, points: Landmarks, width: float) -> None:
        cv2.polylines(labels, [np.rint(points).astype(np.int32)], False, colour[region], max(1, round(width * eye)))

    # Small features come last and cut their place out of what lies around them.
    fill("cheeks", landmarks[[1, 2, 3, 4, 5, 48, 31, 39, 36]])
    fill("cheeks", landmarks[[15, 14, 13, 12, 11, 54, 35, 42, 45]])
    fill("forehead", landmarks[[0, 16, *range(17, 27), *range(68, 81)]])
    fill("chin", landmarks[[5, 6, 7, 8, 9, 10, 11, 48, 54]])
    band("hairline", landmarks[68:81] - 0.18 * down, 0.36)
    band("jawline", landmarks[1:16], 0.24)
    fill("nose", landmarks[27:36], 0.06)
    band("eyebrows", landmarks[17:22] + 0.04 * down, 0.22)
    band("eyebrows", landmarks[22:27] + 0.04 * down, 0.22)
    fill("eyes", landmarks[36:42], 0.11)
    fill("eyes", landmarks[42:48], 0.11)
    fill("mouth", landmarks[48:60], 0.07)
    return {region: labels == index for region, index in colour.items()}


def _outside(landmarks: Landmarks, size: int) -> NDArray[np.bool_]:
    """Mask what lies outside of the face, shape (size, size); the whole square where hardly anything does."""
    face = np.zeros((size, size), np.uint8)
    hull = cv2.convexHull(np.rint(landmarks).astype(np.int32))
    cv2.fillConvexPoly(face, hull, 1)
    cv2.polylines(face, [hull], True, 1, max(1, round(0.9 * interocular(landmarks))))
    rest = face == 0
    return rest if rest.mean() >= 0.05 else np.ones_like(rest)


def likeness(image: Pixels, other: Pixels, landmarks: Landmarks | None = None) -> float:
    """Tell how much two squares are of one picture outside of the face, whatever has become of its colours.

    Args:
        image: shape (size, size, 3).
        other: of the same shape.
        landmarks: of the face, shape (81, 2); without them the whole square counts.

    Returns:
        The correlation of lightness with what surrounds it, all neighbourhoods together: 1 for the same structures in
        the same places, about 0 for another picture. Where neither has any structure, they are alike.
    """
    size = image.shape[0]

    def around(values: NDArray[np.float32], reach: float = 0.02) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), reach * size), np.float32)

    one, two = (around(_lab(square)[..., 0], 0.012) for square in (image, other))
    rest = np.ones((size, size), np.bool_) if landmarks is None else _outside(landmarks, size)
    means = around(one), around(two)
    flat = 0.5  # what noise leaves of structure
    of_one = float((around(one * one) - means[0] ** 2)[rest].mean()) + flat
    of_two = float((around(two * two) - means[1] ** 2)[rest].mean()) + flat
    shared = float((around(one * two) - means[0] * means[1])[rest].mean()) + flat
    return shared / float(np.sqrt(of_one * of_two))


def _lab(image: Pixels) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def _bands(lightness: NDArray[np.float32]) -> dict[ArtifactKind, NDArray[np.float32]]:
    """Split off the finest detail (below about 3 px) and the middle one (about 3 to 10 px)."""
    fine = cv2.GaussianBlur(lightness, (0, 0), 0.8)
    middle = cv2.GaussianBlur(lightness, (0, 0), 2.5)
    return {"texture": lightness - fine, "sharpness": fine - middle}


def _gradient(lightness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Step of L per pixel."""
    return np.asarray(
        cv2.magnitude(cv2.Sobel(lightness, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(lightness, cv2.CV_32F, 0, 1) / 8)
    )


def _rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _doublings(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """How many times the energy of a band has doubled; below 0: halved.

    Half a unit of L is what 8 bits and a camera's noise leave of an empty band.
    """
    return float(np.log2((_rms(after) + 0.5) / (_rms(before) + 0.5)))


def _shared_change(before: NDArray[np.float32], after: NDArray[np.float32], rest: NDArray[np.bool_]) -> float:
    """Doublings of a band's energy outside the face, measured where it has as much to lose as the face has."""
    local = cv2.GaussianBlur(before * before, (0, 0), 2.0)
    detailed = rest & (local >= np.median(local[~rest])) if (~rest).any() else rest
    return _doublings(before[detailed], after[detailed]) if detailed.mean() > 0.01 else 0.0


def _strength(value: float, scale: tuple[float, float]) -> float:
    return float(np.clip((value - scale[0]) / (scale[1] - scale[0]), 0, 1))


def _rank(found: Mapping[Region, Mapping[ArtifactKind, float]]) -> list[Artifact]:
    """Name the regions with the strongest artifacts: the strongest region first, its artifacts together."""
    artifacts = [
        Artifact(region, kind, round(strength, 3))
        for region in REGIONS
        for kind in ARTIFACTS
        if (strength := found.get(region, {}).get(kind, 0.0)) > 0
    ]
    artifacts.sort(key=lambda a: -a.strength)
    named: dict[Region, list[Artifact]] = {}
    for artifact in artifacts:
        named.setdefault(artifact.region, []).append(artifact)
    # What is faint beside the strongest region is not worth a word, nor a second artifact beside a region's first.
    return [
        artifact
        for of_region in list(named.values())[:MAX_REGIONS]
        if of_region[0].strength > 0.25 * artifacts[0].strength
        for artifact in of_region[:MAX_KINDS]
        if artifact.strength > 0.6 * of_region[0].strength
    ]


def measure(forgery: FaceRecord, bona_fide: FaceRecord) -> list[Artifact]:
    """Name what differs most between a forgery and the bona fide face it was made from, see `strengths`.

    Returns:
        The artifacts of at most `MAX_REGIONS` regions, the strongest region first; none for an unchanged copy.

    Raises:
        ValueError: the two differ in size, or neither has landmarks.
    """
    return _rank(strengths(forgery, bona_fide))


def strengths(forgery: FaceRecord, bona_fide: FaceRecord) -> dict[Region, dict[ArtifactKind, float]]:
    """Compare a forgery with the bona fide face it was made from, both aligned to the same square.

    What the whole picture shares (a shift in colour, the noise of another compression) is taken from what lies outside
    the face, and counts as nothing. Of a pair that was found by its content nothing is said of geometry: the face may
    have moved from one frame to the other.

    Returns:
        Of each region that is in the picture, how strong each artifact is; nothing of a region that is as it was.

    Raises:
        ValueError: the two differ in size, or neither has landmarks.
    """
    landmarks = bona_fide.landmarks if bona_fide.landmarks is not None else forgery.landmarks
    if landmarks is None:
        raise ValueError(f"{forgery.face_id}: neither the forgery nor its bona fide {bona_fide.face_id} has landmarks")
    if forgery.image.shape != bona_fide.image.shape:
        raise ValueError(
            f"{forgery.face_id}: its size {forgery.image.shape} is not that of its bona fide, {bona_fide.image.shape}"
        )
    size = forgery.image.shape[0]
    eye = interocular(landmarks)
    masks = {
        region: mask for region, mask in region_masks(landmarks, size).items() if mask.sum() >= 0.001 * size * size
    }
    found: dict[Region, dict[ArtifactKind, float]] = {region: {} for region in masks}
    if np.array_equal(forgery.image, bona_fide.image):
        return found

    before, after = _lab(bona_fide.image), _lab(forgery.image)
    difference = after - before

    rest = _outside(landmarks, size)
    difference -= np.median(difference[rest], axis=0)
    # A picture generated anew differs everywhere; the cap keeps its face measurable.
    noise = min(_rms(difference[rest]), 3.0)

    bands_before, bands_after = _bands(before[..., 0]), _bands(after[..., 0])
    shared = {kind: _shared_change(bands_before[kind], bands_after[kind], rest) for kind in bands_before}
    magnitude = np.linalg.norm(cv2.GaussianBlur(difference, (0, 0), 1.0), axis=-1)
    changed = (magnitude > 3 + 2 * noise).astype(np.uint8)
    border = cv2.morphologyEx(changed, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    # The steepest edge within a pixel or two: one that stood there before is no new one.
    steepest = [cv2.dilate(_gradient(lab[..., 0]), np.ones((3, 3), np.uint8)) for lab in (before, after)]
    step = np.clip(steepest[1] - steepest[0] - noise, 0, None)

    moved = np.zeros(len(landmarks), np.float32)
    if forgery.landmarks is not None and bona_fide.landmarks is not None:
        shift = forgery.landmarks - bona_fide.landmarks
        moved = np.linalg.norm(shift - np.median(shift, axis=0), axis=1) / eye
    geometry = {region: float(moved[points].mean()) for region, points in LANDMARKS_OF.items()}
    # Where features have moved, they bring edges along that are no seams.
    still = max(geometry.values()) < PAIR_SCALE["geometry"][0]

    may_move = forgery.pairing != "content"
    for region, mask in masks.items():
        if _rms(difference[mask]) < 1.0 + noise:
            continue
        values: dict[ArtifactKind, float] = {
            "colour": float(np.linalg.norm(difference[mask].mean(0))) - 0.5 * noise,
            "geometry": geometry[region] if may_move and changed[mask].mean() > TOUCHED else 0.0,
        }
        for kind in bands_before:
            doublings = _doublings(bands_before[kind][mask], bands_after[kind][mask])
            values[kind] = abs(doublings - float(np.clip(doublings, min(shared[kind], 0), max(shared[kind], 0))))
        seam, inside = mask & border, mask & (changed > 0) & ~border
        if still and seam.sum() > 0.3 * eye and inside.any():
            # A new texture has edges everywhere; a seam stands out from what it surrounds.
            values["boundary"] = float(np.median(step[seam]) - np.median(step[inside]))
        found[region] = {kind: _strength(value, PAIR_SCALE[kind]) for kind, value in values.items()}
    return found


_COLUMNS: Final[tuple[ArtifactKind, ...]] = ("texture", "sharpness", "colour", "colour", "colour", "colour")
"""The artifact that each number of `_features` about a region speaks of."""
_KINDS: Final[tuple[ArtifactKind, ...]] = (*dict.fromkeys(_COLUMNS), "geometry")


def _features(image: Pixels, landmarks: Landmarks) -> NDArray[np.float64]:
    """Describe a face by numbers: `_COLUMNS` for each region (NaN where it is out of the picture), then the landmarks.

    Colour is the region's Lab against the whole face's, and the distance of its left half from its right one.
    """
    size = image.shape[0]
    masks = region_masks(landmarks, size)
    lab = _lab(image)
    bands = _bands(lab[..., 0])
    face = np.any(list(masks.values()), axis=0)
    middle = np.median(lab[face], axis=0) if face.any() else np.zeros(3)
    right = np.arange(size)[None, :] < landmarks[27:31, 0].mean()
    rows = []
    for mask in masks.values():
        halves = [mask & right, mask & ~right]
        if min(half.sum() for half in halves) < 0.0003 * size * size:
            rows.append([np.nan] * len(_COLUMNS))
            continue
        energy = [np.log2(_rms(band[mask]) + 0.5) for band in bands.values()]
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
        found[:, r, -1] = np.sqrt(np.square(landmarks[:, LANDMARKS_OF[region]]).mean((1, 2)))
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
    def fit(cls, faces: Iterable[FaceRecord]) -> Self:
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

    def measure(self, face: FaceRecord) -> list[Artifact]:
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
        return _rank(
            {
                region: {kind: _strength(float(found[r, k]), scale) for k, kind in enumerate(_KINDS)}
                for r, region in enumerate(REGIONS)
            }
        )


def _check_size(face: FaceRecord, size: int) -> None:
    if face.image.shape[0] != size:
        raise ValueError(f"{face.face_id}: its side is {face.image.shape[0]} px, the population's {size} px")
