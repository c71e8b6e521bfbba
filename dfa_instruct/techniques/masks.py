"""Where skin, irises and hair show in a face: soft masks of the aligned square."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.face.colour import to_lab
from dfa_instruct.face.landmarks import BROWS, EYES, FOREHEAD, OUTER_LIPS, RIM
from dfa_instruct.records import Landmarks, Pixels
from dfa_instruct.techniques.warping import fade_inwards, hull, pixel_grid, polygon_mask

LEAST_HAIR_CONTRAST = 14
"""Distance in L*a*b* of hair from skin."""
HAIR_REACH = 18
"""Distance in L*a*b* from the hair above the forehead of what may be hair too."""
HAIR_SIDE = 64
"""Pixels of the square on which hair is looked for."""


def skin_mask(image: Pixels, points: Landmarks) -> NDArray[np.float32]:
    """Where the face shows skin: inside its contour, off eyes, brows and mouth, and of the cheeks' colour."""
    side = len(image)
    mask = fade_inwards(polygon_mask(side, hull(points[RIM])), 0.015 * side)
    brows = (hull(points[brow]) for brow in BROWS)
    mask *= 1 - polygon_mask(side, points[EYES[0]], points[EYES[1]], points[OUTER_LIPS], *brows, feather=0.01 * side)
    lab = cv2.GaussianBlur(to_lab(image), (0, 0), 0.008 * side)
    distance = (lab - np.median(lab[mask > 0.9], axis=0)) / np.array([40, 14, 14], np.float32)
    return np.asarray(mask * np.exp(-((distance**2).sum(-1) ** 2)), np.float32)


def iris_mask(image: Pixels, eye: Landmarks) -> NDArray[np.float32]:
    """Where the iris shows between the lids: around the darkest part of the eye, the pupil left out."""
    side = len(image)
    opening = polygon_mask(side, eye)
    dark = np.where(opening > 0.5, 255 - image.mean(-1), 0.0) ** 4
    x, y = pixel_grid(side)
    width = float(np.linalg.norm(eye[3] - eye[0]))
    centre = np.array([(x * dark).sum(), (y * dark).sum()]) / (dark.sum() + 1e-6)
    centre = 0.5 * centre + 0.5 * eye.mean(0)
    distance = np.hypot(x - centre[0], y - centre[1])
    radius = 0.2 * width
    ring = 1 / (1 + np.exp((distance - radius) / (0.06 * radius + 0.2)))
    ring *= 1 - 0.8 * np.exp(-((distance / (0.4 * radius)) ** 2))
    return np.asarray(ring * polygon_mask(side, eye, feather=0.004 * side), np.float32)


def hair_mask(image: Pixels, points: Landmarks) -> NDArray[np.float32]:
    """Where the hair is: grown from what lies above the forehead (GrabCut; Rother et al., 2004).

    It grows on a small picture, and its edge follows the strands of the large one (guided filter; He et al., 2010).

    Raises:
        ValueError: no hair is seen that can be told from skin and background.
    """
    side = len(image)
    small = np.asarray(cv2.resize(image, (HAIR_SIDE, HAIR_SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    points = points * np.float32(HAIR_SIDE / side)
    centre = points[27:31].mean(0)

    def around(factor: float) -> NDArray[np.bool_]:
        return polygon_mask(HAIR_SIDE, centre + factor * (points[RIM] - centre)) > 0.5

    skin, face = around(0.85), polygon_mask(HAIR_SIDE, points[RIM]) > 0.5
    above = [centre + factor * (points[FOREHEAD] - centre) for factor in (1.1, 1.3)]
    band = (polygon_mask(HAIR_SIDE, np.concatenate([above[0], above[1][::-1]])) > 0.5) & ~face
    lab = to_lab(small)
    if band.sum() < 20:
        raise ValueError("no hair is seen: the picture ends at the forehead")
    colour, bare = (np.median(lab[where], axis=0) for where in (band, skin))
    if np.linalg.norm(colour - bare) < LEAST_HAIR_CONTRAST:
        raise ValueError("no hair is seen that can be told from the skin")
    alike = np.linalg.norm(lab - colour, axis=-1) < HAIR_REACH
    near, far = around(1.4), around(1.9)
    near[int(points[8, 1]) :] = False
    labels = np.where(near | (far & alike), cv2.GC_PR_FGD, np.where(far, cv2.GC_PR_BGD, cv2.GC_BGD)).astype(np.uint8)
    labels[band & alike], labels[skin] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)
    cv2.grabCut(small, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    hair = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)) | (far & alike & ~skin)
    _, parts = cv2.connectedComponents(hair.astype(np.uint8))
    hair &= np.isin(parts, np.unique(parts[band & hair]))
    background = alike[: int(points[8, 1])][~far[: int(points[8, 1])]]
    if not 0.04 < hair.mean() < 0.45 or hair[band].mean() < 0.5 or (background.size and background.mean() > 0.2):
        raise ValueError("no hair is seen that can be told from the background")
    large = cv2.resize(hair.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    edge = cv2.ximgproc.guidedFilter(image, large, max(2, round(0.03 * side)), 150.0)
    # what looks more like the skin is none
    fine = cv2.GaussianBlur(to_lab(image), (0, 0), 0.006 * side)
    doubt = np.linalg.norm(fine - colour, axis=-1) - np.linalg.norm(fine - bare, axis=-1)
    return np.asarray(((edge - 0.1) / 0.8).clip(0, 1) / (1 + np.exp(doubt / 4)), np.float32)
