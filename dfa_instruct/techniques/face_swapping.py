"""Face swapping: the donor's inner face is warped onto the target's landmarks and blended in.

`SelfBlending` has no donor. It leaves the same traces as a swap, but the face stays that of the same person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from dfa_instruct.face.colour import to_lab, to_rgb
from dfa_instruct.face.landmarks import CONTOUR, FOREHEAD, MIRRORED, RIM
from dfa_instruct.records import Face, Forgery, Landmarks, Pixels
from dfa_instruct.techniques import Technique
from dfa_instruct.techniques.warping import (
    Mask,
    blend,
    fade_inwards,
    grow,
    hull,
    piecewise_affine,
    pixel_grid,
    polygon_mask,
    remap,
    usable,
    yaw,
)
from dfa_instruct.vocabulary import Category

MAX_YAW_DIFFERENCE = 0.5
"""The largest difference in `yaw` between target and donor."""
RATIOS = (0.5, 0.75, 1.0, 1.0)
"""The blending ratios that `SelfBlending` draws from. The paper also has 0.25, at which hardly anything can be seen."""
MAX_DRAWS = 10
"""The largest number of self-blended faces that are drawn to find one in which the change can be seen."""
MIN_CHANGE = 3.0
"""The smallest visible change of a self-blended face: the mean inside the mask, in levels of 255."""
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


class SelfBlending:
    """A technique that blends a changed copy of a face into its own picture (Shiohara and Yamasaki, 2022).

    The copy has another colour, other detail, and is slightly shifted and scaled. The forgery shows the target's
    identity and nobody else's, with the seam of a swap and statistics inside the seam that differ from those outside.

    The paper changes either the copy or the picture. Here, it is always the copy, so that the forgery equals its bona
    fide face outside the mask. As in any swap, the landmarks stay those of the target, although the copy is shifted by
    up to a fiftieth of the side and scaled by up to 3 %.
    """

    name: ClassVar[str] = "self_blended"
    category: ClassVar[Category] = "face_swapping"
    needs_other: ClassVar[bool] = False

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Blend a changed copy of `target` into `target`, see `Technique`. `other` is ignored."""
        image, points = usable(target)
        for _ in range(MAX_DRAWS):
            outline = deformed_hull(points, rng)
            feather = round(float(rng.uniform(0.006, 0.03)) * len(image), 3)
            mask = fade_inwards(polygon_mask(len(image), outline), feather)
            inside = mask > 0.5
            if not inside.any():
                continue
            copy, parameters = changed_copy(image, inside, rng)
            ratio = float(rng.choice(RATIOS))
            forged = blend(copy, image, ratio * mask)
            if cv2.absdiff(forged, image)[inside].mean() > MIN_CHANGE:
                return Forgery(forged, points, {"ratio": ratio, "feather": feather, **parameters})
        raise ValueError("the blend would hardly be seen")


def deformed_hull(points: Landmarks, rng: np.random.Generator) -> Landmarks:
    """Randomly scale and deform the hull of the face, of its inner part or of its features, shape (n, 2)."""
    part = (points[RIM], inner_face(points, 0.9), points[17:68])[rng.integers(3)]
    outline = hull(part)
    centre = outline.mean(0)
    angle = np.arctan2(*(outline - centre).T)
    # Waves along the outline, one to four of them, deform it smoothly.
    waves = [rng.normal(0, 0.03) * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in range(1, 5)]
    scale = rng.uniform(0.85, 1.0) + np.sum(waves, axis=0)
    return np.asarray(centre + scale[:, None] * (outline - centre), np.float32)


def changed_copy(image: Pixels, face: NDArray[np.bool_], rng: np.random.Generator) -> Blended:
    """Randomly change the colour, the detail and the position of a picture.

    Args:
        image: The picture, shape (side, side, 3).
        face: Where the face is, shape (side, side). The contrast changes around the mean lightness there, and the scale
            around its centre.
        rng: The random generator.
    """
    side = len(image)
    contrast, saturation = (round(float(rng.uniform(0.85, 1.15)), 3) for _ in range(2))
    tint = rng.uniform(-7, 7, 3).round(1)
    lab = to_lab(image)
    lightness = lab[face][:, 0].mean()
    lab[..., 0] = lightness + contrast * (lab[..., 0] - lightness)
    lab[..., 1:] *= saturation
    copy = np.rint(to_rgb(lab + tint.astype(np.float32))).astype(np.uint8)

    detail = ("downscaled", "sharpened")[rng.integers(2)]
    if detail == "downscaled":
        amount = round(float(rng.uniform(1.5, 3.0)), 3)
        small = cv2.resize(copy, None, fx=1 / amount, fy=1 / amount, interpolation=cv2.INTER_AREA)
        copy = np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
    else:
        amount = round(float(rng.uniform(0.6, 1.5)), 3)
        soft = cv2.GaussianBlur(copy, (0, 0), 0.008 * side)
        copy = np.asarray(cv2.addWeighted(copy, 1 + amount, soft, -amount, 0), np.uint8)

    scale = round(float(rng.uniform(0.97, 1.03)), 3)
    shift = (rng.uniform(-1, 1, 2) * (0.02, 0.01) * side).round(2)
    centre = np.argwhere(face).mean(0)[::-1]
    inverse = centre + (np.stack(pixel_grid(side), -1) - centre - shift) / scale
    parameters = {"contrast": contrast, "saturation": saturation, "tint": tint.tolist(), detail: amount}
    return remap(copy, inverse), {**parameters, "scale": scale, "shift": shift.tolist()}


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
    """Blend in the donor under a soft mask, with colours moved to those of the target (Reinhard et al., 2001)."""
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
    """Return the convex hull of the face, shape (n, 2), scaled by `reach`, and by 0.85 · `reach` at the forehead."""
    centre = landmarks[27:31].mean(0)
    rim = np.concatenate([reach * (landmarks[CONTOUR] - centre), 0.85 * reach * (landmarks[FOREHEAD] - centre)])
    return hull(centre + rim)


def transfer_colour(image: Pixels, reference: Pixels, where: NDArray[np.bool_]) -> Pixels:
    """Shift and scale the colours of an image so that they resemble those of a reference in an area.

    Inside `where`, the mean in L*a*b* becomes that of the reference. The standard deviation is scaled towards that of
    the reference, by a factor between 0.6 and 1.2.
    """
    lab, wanted = to_lab(image), to_lab(reference)
    spread = wanted[where].std(0) / (lab[where].std(0) + 1e-3)
    lab = (lab - lab[where].mean(0)) * spread.clip(0.6, 1.2) + wanted[where].mean(0)
    return np.rint(to_rgb(lab)).astype(np.uint8)


def map_colours(image: Pixels, reference: Pixels, where: NDArray[np.bool_]) -> Pixels:
    """Give `image` the mean and covariance that `reference` has in L*a*b* inside `where`.

    Along each axis, the colours are scaled by at least 0.5 and at most 1.5.
    """
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
    """Blend `over` onto `under` inside the mask, with a wider seam for coarser detail.

    More than a twentieth of the side outside the mask, the result equals `under`.
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
    SelfBlending(),
)
