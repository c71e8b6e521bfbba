"""Face swapping: the donor's inner face, warped onto the target's landmarks and blended in."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.records import FaceRecord, Forgery, Landmarks, Pixels
from dfa_instruct.techniques.warp import (
    CONTOUR,
    FOREHEAD,
    blend,
    landmarks_of,
    piecewise_affine,
    polygon_mask,
    yaw,
)
from dfa_instruct.vocabulary import Category

MAX_YAW_DIFFERENCE = 0.5


class DelaunaySwap:
    """Piecewise affine warp over a Delaunay triangulation, Poisson blending (Pérez et al., 2003)."""

    name = "delaunay_swap"
    category: Category = "face_swapping"

    def forge(self, target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator) -> Forgery:
        """Swap the donor's (`other`) face into `target`; see `Technique`."""
        image, points, donor, reach = _fit_donor(target, other, rng)
        mask = np.uint8(255) * (polygon_mask(len(image), inner_face(points, reach)) > 0.5)
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
        feather = float(rng.uniform(0.015, 0.03)) * len(image)
        hull = polygon_mask(len(image), inner_face(points, reach))
        # shrunk before it is blurred: the feather stays inside the hull
        core = cv2.erode(hull, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(1.5 * feather) + 1,) * 2))
        mask = cv2.GaussianBlur(core, (0, 0), feather) * (hull > 0)
        return Forgery(
            blend(transfer_colour(donor, image, hull > 0.5), image, mask), points, {"reach": reach, "feather": feather}
        )


def _fit_donor(
    target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator
) -> tuple[Pixels, Landmarks, Pixels, float]:
    """Return the target's image and landmarks, the donor's image warped onto them, and the mask's reach."""
    points, source = landmarks_of(target), landmarks_of(other)
    assert target is not None and other is not None
    if abs(yaw(points) - yaw(source)) > MAX_YAW_DIFFERENCE:
        raise ValueError("target and donor look in too different directions")
    return target.image, points, piecewise_affine(other.image, source, points), round(float(rng.uniform(0.82, 0.92)), 3)


def inner_face(landmarks: Landmarks, reach: float) -> Landmarks:
    """Convex hull of the face drawn in to `reach` of its contour, and further where the hair begins; shape (n, 2)."""
    centre = landmarks[27:31].mean(0)
    rim = np.concatenate([reach * (landmarks[CONTOUR] - centre), 0.85 * reach * (landmarks[FOREHEAD] - centre)])
    return cv2.convexHull((centre + rim).astype(np.float32))[:, 0]


def transfer_colour(image: Pixels, reference: Pixels, where: NDArray[np.bool_]) -> Pixels:
    """Give `image` the mean and deviation that `reference` has in L*a*b* inside `where`."""
    lab, wanted = (cv2.cvtColor(np.float32(i) / 255, cv2.COLOR_RGB2LAB) for i in (image, reference))
    spread = wanted[where].std(0) / (lab[where].std(0) + 1e-3)
    lab = (lab - lab[where].mean(0)) * spread.clip(0.6, 1.6) + wanted[where].mean(0)
    return np.rint(255 * cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB).clip(0, 1)).astype(np.uint8)
