"""Warps that move a face's landmarks, masks that are drawn from landmarks, and blending."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import Delaunay

from dfa_instruct.face.landmarks import LEFT_EYE, RIGHT_EYE, RIM
from dfa_instruct.records import Face, Landmarks, Pixels

Mask = NDArray[np.float32]
"""A soft mask of an aligned square, from 0 to 1, shape (side, side)."""

MAX_YAW = 0.9
"""The `yaw` at which the far eye begins to disappear."""
MAX_FOLDED = 0.02
"""The share of the warped area that may lie in inverted triangles. Slivers between closed lips do no harm."""


def usable(face: Face | None) -> tuple[Pixels, Landmarks]:
    """Return the image and the landmarks of a face that a technique can use.

    Raises:
        ValueError: There is no face, it has no landmarks, or it is turned so far that half of it is hidden.
    """
    if face is None or face.landmarks is None:
        raise ValueError("this technique needs a face with landmarks")
    if abs(yaw(face.landmarks)) > MAX_YAW:
        raise ValueError("the face is turned too far aside")
    return face.image, face.landmarks


def yaw(landmarks: Landmarks) -> float:
    """Return how far a face is turned aside: 0 if it is frontal, ±1 if the nose reaches the face's contour."""
    axis = landmarks[LEFT_EYE].mean(0) - landmarks[RIGHT_EYE].mean(0)
    axis /= np.linalg.norm(axis) + 1e-6
    nose, right, left = landmarks[30] @ axis, landmarks[0:4].mean(0) @ axis, landmarks[13:17].mean(0) @ axis
    return float((2 * nose - right - left) / (abs(left - right) + 1e-6))


def border_points(side: int, points_per_side: int = 4) -> Landmarks:
    """Return evenly spaced points on the border of the square, shape (4 · points_per_side, 2)."""
    t = np.arange(points_per_side, dtype=np.float32) / points_per_side * (side - 1)
    e, z = np.full_like(t, side - 1), np.zeros_like(t)
    return np.concatenate([np.stack(p, 1) for p in ((t, z), (e, t), (e - t, e), (z, e - t))])


def fixed_points(landmarks: Landmarks, side: int) -> Landmarks:
    """Return points that no change of a face moves: a ring around the face and the border of the square, (n, 2)."""
    centre = landmarks[30]
    ring = centre + 1.35 * (landmarks[RIM[::2]] - centre)
    return np.concatenate([ring[((ring > 2) & (ring < side - 3)).all(1)], border_points(side)]).astype(np.float32)


def piecewise_affine(
    image: Pixels, source: Landmarks, destination: Landmarks, fixed: Landmarks | None = None
) -> Pixels:
    """Warp an image by an affine map for each triangle between the points.

    All triangles share one dense inverse map, so that there are no seams between them. Pixels outside the convex hull
    of the destination do not move.

    Args:
        image: The square image.
        source: Points in the image, shape (n, 2).
        destination: Where these points move to, shape (n, 2).
        fixed: More points, which stay where they are, shape (m, 2).

    Raises:
        ValueError: More than `MAX_FOLDED` of the area lies in triangles that fold over.
    """
    if fixed is not None:
        source, destination = (np.concatenate([points, fixed]) for points in (source, destination))
    # The triangulation of the mean positions is symmetric: it does not favour closed lips over open ones.
    triangles = Delaunay((source + destination) / 2).simplices
    corners = np.concatenate([destination, np.ones_like(destination[:, :1])], 1)[triangles].astype(np.float64)
    area, source_area = (_signed_area(points[triangles]) for points in (destination, source))
    if np.abs(area[area * source_area < 0]).sum() > MAX_FOLDED * np.abs(area).sum():
        raise ValueError("the landmarks of the two faces do not fit onto each other: the triangles fold over")
    # A triangle is painted with its edges. Small triangles are painted first, so that slivers lose the shared pixels.
    order = np.argsort(np.abs(area), kind="stable")
    order = order[np.abs(area[order]) > 0.02]
    affine = np.linalg.solve(corners[order], source[triangles[order]].astype(np.float64))
    affine = np.concatenate([np.array([[[1, 0], [0, 1], [0, 0]]]), affine]).astype(np.float32)
    owner = np.zeros(image.shape[:2], np.int32)
    for index, triangle in enumerate(np.rint(destination[triangles[order]] * 16).astype(np.int32), start=1):
        cv2.fillConvexPoly(owner, triangle, index, shift=4)
    x, y = pixel_grid(len(image))
    inverse = affine[owner]
    return remap(image, x[..., None] * inverse[..., 0, :] + y[..., None] * inverse[..., 1, :] + inverse[..., 2, :])


def thin_plate(image: Pixels, source: Landmarks, destination: Landmarks, fixed: Landmarks | None = None) -> Pixels:
    """Warp an image by a thin plate spline, the smoothest warp that moves the points.

    The spline is evaluated on a coarse grid and enlarged. The arguments are those of `piecewise_affine`.
    """
    if fixed is not None:
        source, destination = (np.concatenate([points, fixed]) for points in (source, destination))
    side = len(image)
    spline = RBFInterpolator(
        destination / side, (source - destination).astype(np.float64), kernel="thin_plate_spline", smoothing=1e-5
    )
    knots = 33
    at = (np.arange(knots) + 0.5) / knots
    coarse = spline(np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)).reshape(knots, knots, 2)
    offset = cv2.resize(coarse.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return remap(image, np.stack(pixel_grid(side), -1) + offset)


def pixel_grid(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the x and the y coordinate of every pixel, each of shape (side, side)."""
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    return x, y


def _signed_area(triangles: NDArray[np.float32]) -> NDArray[np.float32]:
    a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return np.asarray((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2, np.float32)


def remap(image: Pixels, inverse: NDArray[np.float32]) -> Pixels:
    """Fill each pixel with the pixel of `image` at the position (x, y) in `inverse`, shape (height, width, 2)."""
    x, y = np.ascontiguousarray(inverse[..., 0], np.float32), np.ascontiguousarray(inverse[..., 1], np.float32)
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def polygon_mask(side: int, *polygons: Landmarks, feather: float = 0.0) -> Mask:
    """Return a mask that is 1 in the polygons, with edges blurred by `feather` pixels."""
    mask = np.zeros((side, side), np.float32)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.rint(polygon * 16).astype(np.int32)], 1.0, lineType=cv2.LINE_AA, shift=4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), feather), np.float32) if feather else mask


def grow(mask: Mask, radius: float) -> Mask:
    """Enlarge a mask by `radius` pixels in every direction."""
    return np.asarray(cv2.dilate(mask, _disc(radius)), np.float32)


def fade_inwards(mask: Mask, feather: float) -> Mask:
    """Blur a mask's edge by `feather` pixels without enlarging the mask."""
    core = cv2.erode(mask, _disc(1.5 * feather))
    return np.asarray(cv2.GaussianBlur(core, (0, 0), feather) * mask, np.float32)


def _disc(radius: float) -> NDArray[np.uint8]:
    width = 2 * round(radius) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)), np.uint8)


def hull(points: Landmarks) -> Landmarks:
    """Return the corners of the convex hull, shape (n, 2)."""
    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], np.float32)


def blend(over: NDArray[Any], under: Pixels, mask: Mask) -> Pixels:
    """Mix two images: `over` where the mask is 1, and `under` where it is 0."""
    mixed = under + mask[..., None] * (over.astype(np.float32) - under)
    return np.rint(mixed.clip(0, 255)).astype(np.uint8)
