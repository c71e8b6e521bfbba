"""Face swapping: the donor's inner face is warped onto the target's landmarks and blended in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from dfa_instruct.face.colour import to_lab, to_rgb
from dfa_instruct.face.landmarks import CONTOUR, FOREHEAD, MIRRORED
from dfa_instruct.records import Face, Forgery, Landmarks, Pixels
from dfa_instruct.techniques import Technique
from dfa_instruct.techniques.warping import (
    Mask,
    blend,
    fade_inwards,
    grow,
    hull,
    piecewise_affine,
    polygon_mask,
    usable,
    yaw,
)
from dfa_instruct.vocabulary import Category

MAX_YAW_DIFFERENCE = 0.5
"""The largest difference in `yaw` between target and donor."""
Blended = tuple[Pixels, dict[str, Any]]
"""A forged image and the parameters of the blending."""


@dataclass(frozen=True, slots=True)
class FaceSwapping:
    """A technique that warps the donor's face onto the target's landmarks and blends it in.

    Args:
        name: The technique's name.
        blend_in: A function of the target's image, the donor's warped image, the mask of the inner face and the random
            generator. It returns the forged image and its parameters.
    """

    name: str
    blend_in: Callable[[Pixels, Pixels, Mask, np.random.Generator], Blended]
    category: Category = "face_swapping"

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Swap the face of the donor, `other`, into `target`, see `Technique`."""
        (image, points), (donor, donor_points) = usable(target), usable(other)
        if abs(yaw(points) + yaw(donor_points)) < abs(yaw(points) - yaw(donor_points)):
            # The donor looks the other way, so its mirror image fits better.
            donor, donor_points = np.ascontiguousarray(donor[:, ::-1]), donor_points[MIRRORED]
            donor_points[:, 0] = donor.shape[1] - 1 - donor_points[:, 0]
        if abs(yaw(points) - yaw(donor_points)) > MAX_YAW_DIFFERENCE:
            raise ValueError("target and donor look in too different directions")
        donor = piecewise_affine(donor, donor_points, points)
        reach = round(float(rng.uniform(0.82, 0.92)), 3)
        swapped, parameters = self.blend_in(image, donor, polygon_mask(len(image), inner_face(points, reach)), rng)
        return Forgery(swapped, points, {"reach": reach, **parameters})


def poisson(image: Pixels, donor: Pixels, inner: Mask, rng: np.random.Generator) -> Blended:
    """Blend the donor's gradients into the target (Pérez et al., 2003)."""
    mask = np.uint8(255) * (inner > 0.5)
    donor = transfer_colour(donor, image, inner > 0.5)
    # seamlessClone needs a margin around the mask, centres the mask's bounding box on the given point, and changes
    # the mask that it gets.
    mask[:2] = mask[-2:] = mask[:, :2] = mask[:, -2:] = 0
    x, y, width, height = cv2.boundingRect(mask)
    cloned = cv2.seamlessClone(donor, image, mask.copy(), (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return np.where(mask[..., None] > 0, cloned, image), {}


def feathered(image: Pixels, donor: Pixels, inner: Mask, rng: np.random.Generator) -> Blended:
    """Blend the donor in under a soft mask, with its colours moved to the target's (Reinhard et al., 2001)."""
    feather = round(float(rng.uniform(0.015, 0.03)) * len(image), 3)
    mask = fade_inwards(inner, feather)
    return blend(transfer_colour(donor, image, inner > 0.5), image, mask), {"feather": feather}


def colour_transferred(image: Pixels, donor: Pixels, inner: Mask, rng: np.random.Generator) -> Blended:
    """Map the distribution of the donor's colours onto the target's, and blend each band of detail separately.

    The map is the linear optimal transport of Pitié and Kokaram (2007), and the bands are those of Burt and Adelson
    (1983).
    """
    share = round(float(rng.uniform(0.8, 1.0)), 3)
    mapped = blend(map_colours(donor, image, inner > 0.5), donor, np.full_like(inner, share))
    return blend_bands(mapped, image, fade_inwards(inner, 0.01 * len(image))), {"transfer": share}


def inner_face(landmarks: Landmarks, reach: float) -> Landmarks:
    """Return the convex hull of the face, shape (n, 2), scaled to `reach` and further below the hairline."""
    centre = landmarks[27:31].mean(0)
    rim = np.concatenate([reach * (landmarks[CONTOUR] - centre), 0.85 * reach * (landmarks[FOREHEAD] - centre)])
    return hull(centre + rim)


def transfer_colour(image: Pixels, reference: Pixels, where: NDArray[np.bool_]) -> Pixels:
    """Give `image` the mean and standard deviation that `reference` has in L*a*b* inside `where`."""
    lab, wanted = to_lab(image), to_lab(reference)
    spread = wanted[where].std(0) / (lab[where].std(0) + 1e-3)
    lab = (lab - lab[where].mean(0)) * spread.clip(0.6, 1.2) + wanted[where].mean(0)
    return np.rint(to_rgb(lab)).astype(np.uint8)


def map_colours(image: Pixels, reference: Pixels, where: NDArray[np.bool_]) -> Pixels:
    """Give `image` the mean and covariance that `reference` has in L*a*b* inside `where`."""
    lab, wanted = to_lab(image), to_lab(reference)
    covariance, wanted_covariance = (np.cov(values[where].T) + np.eye(3) for values in (lab, wanted))
    root = _root(covariance)
    inverse = np.linalg.inv(root)
    transform = inverse @ _root(root @ wanted_covariance @ root) @ inverse
    values, vectors = eigh(transform)
    # The limits keep the grain of a donor with flat colours from growing.
    transform = vectors @ np.diag(values.clip(0.5, 1.5)) @ vectors.T
    mapped = (lab - lab[where].mean(0)) @ transform.astype(np.float32) + wanted[where].mean(0)
    return np.rint(to_rgb(np.asarray(mapped, np.float32))).astype(np.uint8)


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the square root of a symmetric positive matrix."""
    values, vectors = eigh(matrix)
    return np.asarray(vectors @ np.diag(np.sqrt(values.clip(0))) @ vectors.T)


def blend_bands(over: Pixels, under: Pixels, mask: Mask) -> Pixels:
    """Mix two images by a mask, with a wider seam for coarser detail.

    Pixels more than a twentieth of the side away from the mask do not change.
    """
    top, bottom, weight = over.astype(np.float32), under.astype(np.float32), mask
    bands = []
    for _ in range(max(1, round(np.log2(len(mask) / 32)))):
        smaller = [np.asarray(cv2.pyrDown(i), np.float32) for i in (top, bottom, weight)]
        size = (top.shape[1], top.shape[0])
        fine = [i - cv2.pyrUp(s, dstsize=size) for i, s in zip((top, bottom), smaller[:2], strict=True)]
        bands.append(fine[1] + weight[..., None] * (fine[0] - fine[1]))
        top, bottom, weight = smaller
    mixed = bottom + weight[..., None] * (top - bottom)
    for band in reversed(bands):
        mixed = band + cv2.pyrUp(mixed, dstsize=(band.shape[1], band.shape[0]))
    reach = 0.05 * len(mask)
    return blend(mixed, under, fade_inwards(grow((mask > 0.02).astype(np.float32), reach), reach / 3))


TECHNIQUES: Final[tuple[Technique, ...]] = (
    FaceSwapping("delaunay_swap", poisson),
    FaceSwapping("feathered_swap", feathered),
    FaceSwapping("colour_transferred_swap", colour_transferred),
)
