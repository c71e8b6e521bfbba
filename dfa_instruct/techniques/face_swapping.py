"""Face swapping: the donor's inner face, warped onto the target's landmarks and blended in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from dfa_instruct.face.colour import to_lab, to_rgb
from dfa_instruct.face.landmarks import CONTOUR, FOREHEAD, MIRRORED
from dfa_instruct.records import Face, Forgery, Landmarks, Pixels
from dfa_instruct.techniques.warping import blend, fade_inwards, hull, piecewise_affine, polygon_mask, usable, yaw
from dfa_instruct.vocabulary import Category

MAX_YAW_DIFFERENCE = 0.5


@dataclass(frozen=True, slots=True)
class FaceSwapping:
    """The donor's face, warped onto the target's landmarks, is blended in.

    `blend_in` gets the target's image, the donor's as it was warped, the mask of the inner face and the chance; it
    returns the picture and its parameters.
    """

    name: str
    blend_in: Callable[
        [Pixels, Pixels, NDArray[np.float32], np.random.Generator], tuple[NDArray[np.uint8], dict[str, Any]]
    ]
    category: Category = "face_swapping"

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Swap the donor's (`other`) face into `target`; see `Technique`."""
        (image, points), (donor, source) = usable(target), usable(other)
        if abs(yaw(points) + yaw(source)) < abs(yaw(points) - yaw(source)):
            # the donor looks the other way: its mirror image does not
            donor, source = np.ascontiguousarray(donor[:, ::-1]), source[MIRRORED]
            source[:, 0] = donor.shape[1] - 1 - source[:, 0]
        if abs(yaw(points) - yaw(source)) > MAX_YAW_DIFFERENCE:
            raise ValueError("target and donor look in too different directions")
        donor = piecewise_affine(donor, source, points)
        reach = round(float(rng.uniform(0.82, 0.92)), 3)
        inner = polygon_mask(len(image), inner_face(points, reach))
        swapped, parameters = self.blend_in(image, donor, inner, rng)
        return Forgery(swapped, points, {"reach": reach, **parameters})


def poisson(
    image: Pixels, donor: Pixels, inner: NDArray[np.float32], rng: np.random.Generator
) -> tuple[Pixels, dict[str, Any]]:
    """Keep the donor's gradients and the target's rim (Pérez et al., 2003)."""
    mask = np.uint8(255) * (inner > 0.5)
    donor = transfer_colour(donor, image, inner > 0.5)
    # seamlessClone needs a rim around the mask
    mask[:2] = mask[-2:] = mask[:, :2] = mask[:, -2:] = 0
    x, y, width, height = cv2.boundingRect(mask)
    # it puts the middle of the mask's bounding box at the point given, and it scribbles on the mask
    cloned = cv2.seamlessClone(donor, image, mask.copy(), (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return np.where(mask[..., None] > 0, cloned, image), {}


def feathered(
    image: Pixels, donor: Pixels, inner: NDArray[np.float32], rng: np.random.Generator
) -> tuple[Pixels, dict[str, Any]]:
    """Lay the donor on under a soft mask, its colours moved to the target's (Reinhard et al., 2001)."""
    feather = round(float(rng.uniform(0.015, 0.03)) * len(image), 3)
    mask = fade_inwards(inner, feather)
    return blend(transfer_colour(donor, image, inner > 0.5), image, mask), {"feather": feather}


def colour_transferred(
    image: Pixels, donor: Pixels, inner: NDArray[np.float32], rng: np.random.Generator
) -> tuple[Pixels, dict[str, Any]]:
    """Map the donor's colours onto the target's as one cloud onto another, and blend each band of detail by itself.

    The map is linear and of least cost (Pitié and Kokaram, 2007), the bands are those of Burt and Adelson (1983).
    """
    share = round(float(rng.uniform(0.8, 1.0)), 3)
    mapped = blend(map_colours(donor, image, inner > 0.5), donor, np.full_like(inner, share))
    return blend_bands(mapped, image, fade_inwards(inner, 0.01 * len(image))), {"transfer": share}


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


def map_colours(image: Pixels, reference: Pixels, where: NDArray[np.bool_]) -> Pixels:
    """Give `image` the mean and covariance that `reference` has in L*a*b* inside `where`."""
    lab, wanted = (to_lab(i) for i in (image, reference))
    a, b = (np.cov(i[where].T) + np.eye(3) for i in (lab, wanted))
    root = _root(a)
    inverse = np.linalg.inv(root)
    transform = inverse @ _root(root @ b @ root) @ inverse
    values, vectors = eigh(transform)  # lest a flat donor's grain grow
    transform = vectors @ np.diag(values.clip(0.5, 1.5)) @ vectors.T
    moved = (lab - lab[where].mean(0)) @ transform.astype(np.float32) + wanted[where].mean(0)
    return np.rint(to_rgb(np.asarray(moved, np.float32))).astype(np.uint8)


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square root of a symmetric positive matrix."""
    values, vectors = eigh(matrix)
    return np.asarray(vectors @ np.diag(np.sqrt(values.clip(0))) @ vectors.T)


def blend_bands(over: Pixels, under: Pixels, mask: NDArray[np.float32]) -> Pixels:
    """Lay `over` on `under` where `mask` is 1; the coarser the detail, the wider the seam.

    Nothing changes beyond a seam of a twentieth of the side around the mask.
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
    width = 2 * round(reach) + 1
    around = cv2.dilate((mask > 0.02).astype(np.float32), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
    return blend(mixed, under, fade_inwards(np.asarray(around, np.float32), reach / 3))
