"""Face swapping: the donor's inner face, warped onto the target's landmarks and blended in."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.records import FaceRecord, Forgery, Landmarks, Pixels
from dfa_instruct.techniques.colour import to_lab, to_rgb
from dfa_instruct.techniques.warp import (
    CONTOUR,
    FOREHEAD,
    blend,
    fade_inwards,
    hull,
    piecewise_affine,
    polygon_mask,
    usable,
    yaw,
)
from dfa_instruct.vocabulary import Category

MAX_YAW_DIFFERENCE = 0.5

MIRRORED = np.concatenate(
    [
        np.arange(17)[::-1],  # contour
        np.arange(17, 27)[::-1],  # eyebrows
        np.r_[27:31, 35:30:-1],  # nose
        np.array([45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]),  # eyes
        np.r_[54:47:-1, 59:54:-1, 64:59:-1, 67:64:-1],  # lips
        np.arange(68, 81)[::-1],  # forehead
    ]
)
"""Which landmark of a face each landmark of its mirror image is."""


class DelaunaySwap:
    """Piecewise affine warp over a Delaunay triangulation, Poisson blending (Pérez et al., 2003)."""

    name = "delaunay_swap"
    category: Category = "face_swapping"

    def forge(self, target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator) -> Forgery:
        """Swap the donor's (`other`) face into `target`; see `Technique`."""
        image, points, donor, reach = _fit_donor(target, other, rng)
        inner = polygon_mask(len(image), inner_face(points, reach)) > 0.5
        donor = transfer_colour(donor, image, inner)
        mask = np.uint8(255) * inner
        # seamlessClone needs a rim around the mask
        mask[:2] = mask[-2:] = mask[:, :2] = mask[:, -2:] = 0
        x, y, width, height = cv2.boundingRect(mask)
        # it puts the middle of the mask's bounding box at the point given, and it scribbles on the mask
        cloned = cv2.seamlessClone(donor, image, mask.copy(), (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
        return Forgery(np.where(mask[..., None] > 0, cloned, image), points, {"reach": reach})


class FeatheredSwap:
    """The same warp under a feathered mask, the donor's colours moved to the target's (Reinhard et al., 2001)."""

    name = "feathered_swap"
    category: Category = "face_swapping"

    def forge(self, target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator) -> Forgery:
        """Swap the donor's (`other`) face into `target`; see `Technique`."""
        image, points, donor, reach = _fit_donor(target, other, rng)
        feather = round(float(rng.uniform(0.015, 0.03)) * len(image), 3)
        inner = polygon_mask(len(image), inner_face(points, reach))
        mask = fade_inwards(inner, feather)
        return Forgery(
            blend(transfer_colour(donor, image, inner > 0.5), image, mask), points, {"reach": reach, "feather": feather}
        )


def _fit_donor(
    target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator
) -> tuple[Pixels, Landmarks, Pixels, float]:
    """Return the target's image and landmarks, the donor's image warped onto them, and the mask's reach."""
    (image, points), (donor, source) = usable(target), usable(other)
    if abs(yaw(points) + yaw(source)) < abs(yaw(points) - yaw(source)):
        # the donor looks the other way: its mirror image does not
        donor, source = np.ascontiguousarray(donor[:, ::-1]), source[MIRRORED]
        source[:, 0] = donor.shape[1] - 1 - source[:, 0]
    if abs(yaw(points) - yaw(source)) > MAX_YAW_DIFFERENCE:
        raise ValueError("target and donor look in too different directions")
    return image, points, piecewise_affine(donor, source, points), round(float(rng.uniform(0.82, 0.92)), 3)


def inner_face(landmarks: Landmarks, reach: float) -> Landmarks:
    """Convex hull of the face drawn in to `reach` of its contour, and further where the hair begins; shape (n, 2)."""
    centre = landmarks[27:31].mean(0)
    rim = np.concatenate([reach * (landmarks[CONTOUR] - centre), 0.85 * reach * (landmarks[FOREHEAD] - centre)])
    return hull(centre + rim)


def transfer_colour(image: Pixels, reference: Pixels, where: NDArray[np.bool_]) -> Pixels:
    """Give `image` the mean and deviation that `reference` has in L*a*b* inside `where`."""
    lab, wanted = (to_lab(i) for i in (image, reference))
    spread = wanted[where].std(0) / (lab[where].std(0) + 1e-3)
    lab = (lab - lab[where].mean(0)) * spread.clip(0.6, 1.2) + wanted[where].mean(0)
    return np.rint(to_rgb(lab)).astype(np.uint8)
