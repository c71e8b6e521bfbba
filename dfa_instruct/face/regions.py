"""Masks of the nine regions of a face, and of the area outside the face, in an aligned square."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.records import Landmarks
from dfa_instruct.vocabulary import REGIONS, Region

REGION_LANDMARKS: Final[dict[Region, list[int]]] = {
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


def interocular(landmarks: Landmarks) -> float:
    """Return the distance between the centres of the eyes, in pixels."""
    return float(np.linalg.norm(landmarks[36:42].mean(0) - landmarks[42:48].mean(0)))


def region_masks(landmarks: Landmarks, size: int) -> dict[Region, NDArray[np.bool_]]:
    """Return the masks of the nine regions, which do not overlap.

    Args:
        landmarks: The landmarks of the aligned face in pixels, shape (81, 2).
        size: The side of the aligned square in pixels.

    Returns:
        The mask of each region, shape (size, size). It is empty if the region is outside the picture.
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

    # Small features come last, because they overwrite the regions around them.
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


def region_outlines(landmarks: Landmarks, size: int) -> dict[Region, list[str]]:
    """Return the outlines of the regions in `region_masks` as the points of SVG polygons."""
    shapes: dict[Region, list[str]] = {}
    for region, mask in region_masks(landmarks, size).items():
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        large = [outline for outline in outlines if cv2.contourArea(outline) > 0.0005 * mask.size]
        shapes[region] = [" ".join(f"{x},{y}" for x, y in outline[:, 0].tolist()) for outline in large]
    return shapes


def outside_face(landmarks: Landmarks, size: int) -> NDArray[np.bool_]:
    """Return the mask of the area outside the face, shape (size, size).

    If that is less than 5 % of the square, the mask covers the whole square.
    """
    face = np.zeros((size, size), np.uint8)
    hull = cv2.convexHull(np.rint(landmarks).astype(np.int32))
    cv2.fillConvexPoly(face, hull, 1)
    cv2.polylines(face, [hull], True, 1, max(1, round(0.9 * interocular(landmarks))))
    rest = face == 0
    return rest if rest.mean() >= 0.05 else np.ones_like(rest)
