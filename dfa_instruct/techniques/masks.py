"""Soft masks of the skin, the irises and the hair in an aligned square."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.face.colour import to_lab
from dfa_instruct.face.landmarks import BROWS, EYES, FOREHEAD, OUTER_LIPS, RIM
from dfa_instruct.records import Landmarks, Pixels
from dfa_instruct.techniques.warping import Mask, fade_inwards, hull, pixel_grid, polygon_mask

MIN_HAIR_CONTRAST = 14
"""The smallest distance in L*a*b* between hair and skin."""
HAIR_COLOUR_RANGE = 18
"""The largest distance in L*a*b* between a pixel of hair and the hair above the forehead."""
HAIR_SIDE = 64
"""The side in pixels of the small picture that is searched for hair."""


def skin_mask(image: Pixels, points: Landmarks) -> Mask:
    """Mask the visible skin: the pixels of skin colour inside the contour, without eyes, brows and mouth."""
    side = len(image)
    mask = fade_inwards(polygon_mask(side, hull(points[RIM])), 0.015 * side)
    brows = (hull(points[brow]) for brow in BROWS)
    mask *= 1 - polygon_mask(side, points[EYES[0]], points[EYES[1]], points[OUTER_LIPS], *brows, feather=0.01 * side)
    lab = cv2.GaussianBlur(to_lab(image), (0, 0), 0.008 * side)
    distance = (lab - np.median(lab[mask > 0.9], axis=0)) / np.array([40, 14, 14], np.float32)
    return np.asarray(mask * np.exp(-((distance**2).sum(-1) ** 2)), np.float32)


def iris_mask(image: Pixels, eye: Landmarks) -> Mask:
    """Mask the iris of an eye, shape (6, 2), without the pupil. It is centred on the darkest part between the lids."""
    side = len(image)
    dark = np.where(polygon_mask(side, eye) > 0.5, 255 - image.mean(-1), 0.0) ** 4
    x, y = pixel_grid(side)
    centre = np.array([(x * dark).sum(), (y * dark).sum()]) / (dark.sum() + 1e-6)
    centre = 0.5 * centre + 0.5 * eye.mean(0)
    distance = np.hypot(x - centre[0], y - centre[1])
    radius = 0.2 * float(np.linalg.norm(eye[3] - eye[0]))
    ring = 1 / (1 + np.exp((distance - radius) / (0.06 * radius + 0.2)))
    ring *= 1 - 0.8 * np.exp(-((distance / (0.4 * radius)) ** 2))
    return np.asarray(ring * polygon_mask(side, eye, feather=0.004 * side), np.float32)


def hair_mask(image: Pixels, points: Landmarks) -> Mask:
    """Mask the hair, which is segmented from a band above the forehead (GrabCut; Rother et al., 2004).

    The segmentation runs on a small picture. A guided filter (He et al., 2010) fits its edge to the strands in the
    large picture.

    Raises:
        ValueError: No hair can be distinguished from skin and background.
    """
    side = len(image)
    small = np.asarray(cv2.resize(image, (HAIR_SIDE, HAIR_SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    points = points * np.float32(HAIR_SIDE / side)
    centre = points[27:31].mean(0)

    def scaled_face(factor: float) -> NDArray[np.bool_]:
        return polygon_mask(HAIR_SIDE, centre + factor * (points[RIM] - centre)) > 0.5

    skin, face = scaled_face(0.85), polygon_mask(HAIR_SIDE, points[RIM]) > 0.5
    lower, upper = (centre + factor * (points[FOREHEAD] - centre) for factor in (1.1, 1.3))
    band = (polygon_mask(HAIR_SIDE, np.concatenate([lower, upper[::-1]])) > 0.5) & ~face
    if band.sum() < 20:
        raise ValueError("no hair is seen: the picture ends at the forehead")
    lab = to_lab(small)
    hair_colour, skin_colour = (np.median(lab[where], axis=0) for where in (band, skin))
    if np.linalg.norm(hair_colour - skin_colour) < MIN_HAIR_CONTRAST:
        raise ValueError("no hair can be distinguished from the skin")
    hair_coloured = np.linalg.norm(lab - hair_colour, axis=-1) < HAIR_COLOUR_RANGE
    chin = int(points[8, 1])
    near, far = scaled_face(1.4), scaled_face(1.9)
    near[chin:] = False
    labels = np.where(near | (far & hair_coloured), cv2.GC_PR_FGD, np.where(far, cv2.GC_PR_BGD, cv2.GC_BGD))
    labels = labels.astype(np.uint8)
    labels[band & hair_coloured], labels[skin] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)
    cv2.grabCut(small, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    hair = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)) | (far & hair_coloured & ~skin)
    _, components = cv2.connectedComponents(hair.astype(np.uint8))
    hair &= np.isin(components, np.unique(components[band & hair]))
    background = hair_coloured[:chin][~far[:chin]]
    if not 0.04 < hair.mean() < 0.45 or hair[band].mean() < 0.5 or (background.size and background.mean() > 0.2):
        raise ValueError("no hair can be distinguished from the background")
    large = cv2.resize(hair.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    edge = cv2.ximgproc.guidedFilter(image, large, max(2, round(0.03 * side)), 150.0)
    # Pixels that are more like the skin than like the hair are removed.
    fine = cv2.GaussianBlur(to_lab(image), (0, 0), 0.006 * side)
    doubt = np.linalg.norm(fine - hair_colour, axis=-1) - np.linalg.norm(fine - skin_colour, axis=-1)
    return np.asarray(((edge - 0.1) / 0.8).clip(0, 1) / (1 + np.exp(doubt / 4)), np.float32)
