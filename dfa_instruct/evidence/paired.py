"""Evidence from a pair: a forgery is compared with its bona fide face, region by region.

A synthesized face has no bona fide face. It is compared with the bona fide faces of the training split instead, see
`dfa_instruct.evidence.population`.
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
from dfa_instruct.pairs import pair_landmarks
from dfa_instruct.records import Artifact, Face, Pixels
from dfa_instruct.vocabulary import ArtifactKind, Region

PAIR_SCALE: Final[dict[ArtifactKind, tuple[float, float]]] = {
    "colour": (3.0, 15.0),  # distance in L*a*b*
    "texture": (0.4, 2.2),  # doublings of the fine detail's energy
    "sharpness": (0.4, 1.8),  # doublings of the middle detail's energy
    "geometry": (0.025, 0.15),  # interocular distances
    "boundary": (1.2, 4.0),  # steps of L* per pixel
}
"""For each artifact, the measured values that have strength 0 and strength 1."""

MIN_DIFFERENCE: Final = 6.0
"""The mean difference of a pixel and its neighbours, of 255, above which the pixel is changed."""
MIN_CHANGED_SHARE: Final = 0.15
"""The share of a region's pixels that must have changed before its geometry is named. The landmark detector may move a
forehead although only the eyes have changed."""


def evidence_of(face: Face, bona_fide: Face | None, population: PopulationEvidence | None) -> list[Artifact]:
    """Measure the evidence in a face of the dataset.

    A bona fide face has no evidence. A forgery is compared with its bona fide face if at least one of the two has
    landmarks, and otherwise with the population.

    Args:
        face: Any face of the dataset.
        bona_fide: The face that it was made from, if it is in the dataset.
        population: The bona fide faces of the training split, if they could be fitted.

    Returns:
        The artifacts, see `measure`.
    """
    if face.label == "bona_fide":
        return []
    if bona_fide is not None and pair_landmarks(face, bona_fide) is not None:
        return measure(face, bona_fide)
    return population.measure(face) if population else []


def changed_pixels(forgery: Pixels, bona_fide: Pixels) -> NDArray[np.bool_]:
    """Return where a forgery differs from its bona fide face, shape (height, width).

    The differences are averaged over a thirty-second of the side, because compression changes single pixels.
    """
    window = max(1, len(forgery) // 32)
    difference = cv2.blur(cv2.absdiff(forgery, bona_fide).max(axis=2).astype(np.float32), (window, window))
    return np.asarray(difference > MIN_DIFFERENCE)


def measure(forgery: Face, bona_fide: Face) -> list[Artifact]:
    """Return the strongest artifacts of a forgery, ordered by `rank`. The arguments are those of `strengths`."""
    return rank(strengths(forgery, bona_fide))


def strengths(forgery: Face, bona_fide: Face) -> dict[Region, dict[ArtifactKind, float]]:
    """Compare a forgery with the bona fide face that it was made from.

    A change that the whole picture shares, such as a shift in colour or another compression, is estimated outside the
    face and does not count. If the pair was found by its content, geometry is not measured, because the face may have
    moved between the two frames.

    Args:
        forgery: The forged face.
        bona_fide: The bona fide face, aligned to the same square.

    Returns:
        The strength of each artifact in each region that lies in the picture. An unchanged region has no artifacts.

    Raises:
        ValueError: The faces differ in size, or neither has landmarks.
    """
    landmarks = pair_landmarks(forgery, bona_fide)
    if landmarks is None:
        raise ValueError(
            f"{forgery.face_id}: neither the forgery nor its bona fide face {bona_fide.face_id} has landmarks"
        )
    if forgery.image.shape != bona_fide.image.shape:
        raise ValueError(
            f"{forgery.face_id}: its size {forgery.image.shape} differs from that of its bona fide face, "
            f"{bona_fide.image.shape}"
        )
    size = forgery.image.shape[0]
    eye_distance = interocular(landmarks)
    masks = {r: mask for r, mask in region_masks(landmarks, size).items() if mask.sum() >= 0.001 * size * size}
    found: dict[Region, dict[ArtifactKind, float]] = {region: {} for region in masks}
    if np.array_equal(forgery.image, bona_fide.image):
        return found

    before, after = to_lab(bona_fide.image), to_lab(forgery.image)
    background = outside_face(landmarks, size)
    difference = after - before
    difference -= np.median(difference[background], axis=0)
    # The cap keeps a face measurable in a picture that was generated anew and differs everywhere.
    noise = min(rms(difference[background]), 3.0)

    bands_before, bands_after = bands(before[..., 0]), bands(after[..., 0])
    shared = {kind: _shared_change(bands_before[kind], bands_after[kind], background) for kind in bands_before}
    magnitude = np.linalg.norm(cv2.GaussianBlur(difference, (0, 0), 1.0), axis=-1)
    changed = (magnitude > 3 + 2 * noise).astype(np.uint8)
    border = cv2.morphologyEx(changed, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    # The steepest edge within a pixel is compared, so that an edge of the bona fide face does not count as new.
    steepest = [cv2.dilate(_gradient(lab[..., 0]), np.ones((3, 3), np.uint8)) for lab in (before, after)]
    step = np.clip(steepest[1] - steepest[0] - noise, 0, None)

    movement = _movement(forgery, bona_fide, eye_distance)
    # Features that move bring their edges along, which are not seams.
    is_still = max(movement.values()) < PAIR_SCALE["geometry"][0]

    for region, mask in masks.items():
        if rms(difference[mask]) < 1.0 + noise:
            continue
        has_geometry = forgery.pairing != "content" and changed[mask].mean() > MIN_CHANGED_SHARE
        values: dict[ArtifactKind, float] = {
            "colour": float(np.linalg.norm(difference[mask].mean(0))) - 0.5 * noise,
            "geometry": movement[region] if has_geometry else 0.0,
        }
        for kind in bands_before:
            doublings = _doublings(bands_before[kind][mask], bands_after[kind][mask])
            values[kind] = abs(doublings - float(np.clip(doublings, min(shared[kind], 0), max(shared[kind], 0))))
        seam, inside = mask & border, mask & (changed > 0) & ~border
        if is_still and seam.sum() > 0.3 * eye_distance and inside.any():
            # A new texture has edges everywhere, but a seam is steeper than the edges that it encloses.
            values["boundary"] = float(np.median(step[seam]) - np.median(step[inside]))
        found[region] = {kind: strength(value, PAIR_SCALE[kind]) for kind, value in values.items()}
    return found


def _gradient(lightness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the size of the step of L* per pixel."""
    return np.asarray(
        cv2.magnitude(cv2.Sobel(lightness, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(lightness, cv2.CV_32F, 0, 1) / 8)
    )


def _doublings(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Return how many times a band's energy has doubled (negative if it has halved)."""
    # An empty band still has half a unit of L*, from rounding to 8 bits and from the camera's noise.
    return float(np.log2((rms(after) + 0.5) / (rms(before) + 0.5)))


def _shared_change(before: NDArray[np.float32], after: NDArray[np.float32], background: NDArray[np.bool_]) -> float:
    """Return the doublings of a band's energy in those parts of the background that are as detailed as the face."""
    energy = cv2.GaussianBlur(before * before, (0, 0), 2.0)
    if not background.all():
        background = background & (energy >= np.median(energy[~background]))
    return _doublings(before[background], after[background]) if background.mean() > 0.01 else 0.0


def _movement(forgery: Face, bona_fide: Face, eye_distance: float) -> dict[Region, float]:
    """Return how far each region's landmarks have moved relative to all landmarks, in interocular distances."""
    if forgery.landmarks is None or bona_fide.landmarks is None:
        return dict.fromkeys(REGION_LANDMARKS, 0.0)
    shift = forgery.landmarks - bona_fide.landmarks
    distance = np.linalg.norm(shift - np.median(shift, axis=0), axis=1) / eye_distance
    return {region: float(distance[points].mean()) for region, points in REGION_LANDMARKS.items()}
