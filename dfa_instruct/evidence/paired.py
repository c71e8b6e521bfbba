"""Evidence: which facial region of a forgery differs, how, and how much, measured on the pixels.

A forgery that has its bona fide is compared with it, region by region (`measure`). A synthesized face has none; it is
held against what the bona fide faces of the training split look like (`dfa_instruct.evidence.population`).
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.evidence.population import PopulationEvidence
from dfa_instruct.evidence.strength import bands, rank, rms, strength
from dfa_instruct.face.colour import to_lab
from dfa_instruct.face.regions import REGION_LANDMARKS, interocular, outside_face, region_masks
from dfa_instruct.records import Artifact, Face, Landmarks
from dfa_instruct.vocabulary import ArtifactKind, Region

PAIR_SCALE: Final[dict[ArtifactKind, tuple[float, float]]] = {
    "colour": (3.0, 15.0),  # distance in Lab
    "texture": (0.4, 2.2),  # doublings of the finest detail's energy
    "sharpness": (0.4, 1.8),  # doublings of the middle detail's energy
    "geometry": (0.025, 0.15),  # interocular distances
    "boundary": (1.2, 4.0),  # steps of L per pixel
}
"""Artifact → where it begins to be named (strength 0) and where it is as strong as can be (strength 1)."""

TOUCHED: Final = 0.15
"""The share of a region's pixels that must have changed before its geometry is named: a landmarker that sees other eyes
may move its forehead, too."""


def evidence_of(face: Face, bona_fide: Face | None, population: PopulationEvidence | None) -> list[Artifact]:
    """Choose how a face is measured: bona fide not at all, a forgery against its bona fide, else against the others.

    Args:
        face: any face of the dataset.
        bona_fide: what it was made from, where that is there.
        population: of the training split, where there is one.
    """
    if face.label == "bona_fide":
        return []
    if bona_fide is not None and not (face.landmarks is None and bona_fide.landmarks is None):
        return measure(face, bona_fide)
    return population.measure(face) if population else []


def _gradient(lightness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Step of L per pixel."""
    return np.asarray(
        cv2.magnitude(cv2.Sobel(lightness, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(lightness, cv2.CV_32F, 0, 1) / 8)
    )


def _doublings(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """How many times the energy of a band has doubled; below 0: halved.

    Half a unit of L is what 8 bits and a camera's noise leave of an empty band.
    """
    return float(np.log2((rms(after) + 0.5) / (rms(before) + 0.5)))


def _shared_change(before: NDArray[np.float32], after: NDArray[np.float32], rest: NDArray[np.bool_]) -> float:
    """Doublings of a band's energy outside the face, measured where it has as much to lose as the face has."""
    local = cv2.GaussianBlur(before * before, (0, 0), 2.0)
    detailed = rest & (local >= np.median(local[~rest])) if (~rest).any() else rest
    return _doublings(before[detailed], after[detailed]) if detailed.mean() > 0.01 else 0.0


def _landmarks_of_both(forgery: Face, bona_fide: Face) -> Landmarks:
    """Return the landmarks by which a pair is measured, or raise the errors of `measure`."""
    landmarks = bona_fide.landmarks if bona_fide.landmarks is not None else forgery.landmarks
    if landmarks is None:
        raise ValueError(f"{forgery.face_id}: neither the forgery nor its bona fide {bona_fide.face_id} has landmarks")
    if forgery.image.shape != bona_fide.image.shape:
        raise ValueError(
            f"{forgery.face_id}: its size {forgery.image.shape} is not that of its bona fide, {bona_fide.image.shape}"
        )
    return landmarks


def _movement(forgery: Face, bona_fide: Face, eye: float) -> dict[Region, float]:
    """How far each region's landmarks have moved against all the others, in interocular distances."""
    if forgery.landmarks is None or bona_fide.landmarks is None:
        return dict.fromkeys(REGION_LANDMARKS, 0.0)
    shift = forgery.landmarks - bona_fide.landmarks
    moved = np.linalg.norm(shift - np.median(shift, axis=0), axis=1) / eye
    return {region: float(moved[points].mean()) for region, points in REGION_LANDMARKS.items()}


def measure(forgery: Face, bona_fide: Face) -> list[Artifact]:
    """Name what differs most between a forgery and the bona fide face it was made from, see `strengths`.

    Returns:
        The artifacts of at most `MAX_REGIONS` regions, the strongest region first; none for an unchanged copy.

    Raises:
        ValueError: the two differ in size, or neither has landmarks.
    """
    return rank(strengths(forgery, bona_fide))


def strengths(forgery: Face, bona_fide: Face) -> dict[Region, dict[ArtifactKind, float]]:
    """Compare a forgery with the bona fide face it was made from, both aligned to the same square.

    What the whole picture shares (a shift in colour, the noise of another compression) is taken from what lies outside
    the face, and counts as nothing. Of a pair that was found by its content nothing is said of geometry: the face may
    have moved from one frame to the other.

    Returns:
        Of each region that is in the picture, how strong each artifact is; of one that is as it was, nothing.

    Raises:
        ValueError: the two differ in size, or neither has landmarks.
    """
    landmarks = _landmarks_of_both(forgery, bona_fide)
    size = forgery.image.shape[0]
    eye = interocular(landmarks)
    masks = {r: mask for r, mask in region_masks(landmarks, size).items() if mask.sum() >= 0.001 * size * size}
    found: dict[Region, dict[ArtifactKind, float]] = {region: {} for region in masks}
    if np.array_equal(forgery.image, bona_fide.image):
        return found

    before, after = to_lab(bona_fide.image), to_lab(forgery.image)
    difference = after - before

    rest = outside_face(landmarks, size)
    difference -= np.median(difference[rest], axis=0)
    # A picture generated anew differs everywhere; the cap keeps its face measurable.
    noise = min(rms(difference[rest]), 3.0)

    bands_before, bands_after = bands(before[..., 0]), bands(after[..., 0])
    shared = {kind: _shared_change(bands_before[kind], bands_after[kind], rest) for kind in bands_before}
    magnitude = np.linalg.norm(cv2.GaussianBlur(difference, (0, 0), 1.0), axis=-1)
    changed = (magnitude > 3 + 2 * noise).astype(np.uint8)
    border = cv2.morphologyEx(changed, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    # The steepest edge within a pixel or two: one that stood there before is not a new one.
    steepest = [cv2.dilate(_gradient(lab[..., 0]), np.ones((3, 3), np.uint8)) for lab in (before, after)]
    step = np.clip(steepest[1] - steepest[0] - noise, 0, None)

    geometry = _movement(forgery, bona_fide, eye)
    # Where features have moved, they bring edges along that are not seams.
    still = max(geometry.values()) < PAIR_SCALE["geometry"][0]

    may_move = forgery.pairing != "content"
    for region, mask in masks.items():
        if rms(difference[mask]) < 1.0 + noise:
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
        found[region] = {kind: strength(value, PAIR_SCALE[kind]) for kind, value in values.items()}
    return found
