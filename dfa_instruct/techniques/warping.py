"""Warping a face by its landmarks, and the masks that landmarks span."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import Delaunay

from dfa_instruct.face.landmarks import LEFT_EYE, RIGHT_EYE, RIM
from dfa_instruct.records import Face, Landmarks, Pixels

MAX_YAW = 0.9
"""Of `yaw`: about where the far eye begins to hide."""
MAX_FOLDED = 0.02
"""Share of the warped area that may lie in triangles turned inside out: slivers between closed lips do no harm."""


def usable(face: Face | None) -> tuple[Pixels, Landmarks]:
    """Return the image and the landmarks of a face that a technique needs.

    Raises:
        ValueError: there is no face, it has no landmarks, or it is turned so far that half of it is hidden.
    """
    if face is None or face.landmarks is None:
        raise ValueError("this technique needs a face with landmarks")
    if abs(yaw(face.landmarks)) > MAX_YAW:
        raise ValueError("the face is turned too far aside")
    return face.image, face.landmarks


def yaw(landmarks: Landmarks) -> float:
    """How far a face is turned aside: 0 frontal, ±1 where the nose reaches the face's contour."""
    axis = landmarks[LEFT_EYE].mean(0) - landmarks[RIGHT_EYE].mean(0)
    axis /= np.linalg.norm(axis) + 1e-6
    nose, right, left = landmarks[30] @ axis, landmarks[0:4].mean(0) @ axis, landmarks[13:17].mean(0) @ axis
    return float((2 * nose - right - left) / (abs(left - right) + 1e-6))


def border(side: int, a_side: int = 4) -> Landmarks:
    """Points around the square's border, shape (4 · a_side, 2), which a warp holds fast."""
    t = np.arange(a_side, dtype=np.float32) / a_side * (side - 1)
    e, z = np.full_like(t, side - 1), np.zeros_like(t)
    return np.concatenate([np.stack(p, 1) for p in ((t, z), (e, t), (e - t, e), (z, e - t))])


def held(landmarks: Landmarks, side: int) -> Landmarks:
    """Points that no change of a face moves: a ring around it, and the square's border; shape (n, 2)."""
    centre = landmarks[30]
    ring = centre + 1.35 * (landmarks[RIM[::2]] - centre)
    return np.concatenate([ring[((ring > 2) & (ring < side - 3)).all(1)], border(side)]).astype(np.float32)


def piecewise_affine(image: Pixels, source: Landmarks, destination: Landmarks) -> Pixels:
    """Move `source` points, shape (n, 2), to `destination`, every triangle between them by its own affine map.

    All triangles share one dense inverse map, so that there is no seam between two of them. Pixels outside
    the destination's convex hull stay.

    Raises:
        ValueError: triangles fold over by the move.
    """
    # triangulated half-way, so that lips which close or open do not decide alone how they are cut up
    triangles = Delaunay((source + destination) / 2).simplices
    corners = np.concatenate([destination, np.ones_like(destination[:, :1])], 1)[triangles].astype(np.float64)
    area, moved = (_signed_area(points[triangles]) for points in (destination, source))
    if np.abs(area[area * moved < 0]).sum() > MAX_FOLDED * np.abs(area).sum():
        raise ValueError("the landmarks of the two faces do not fit onto each other: the triangles fold over")
    # a painted triangle takes its sides' pixels along: the small ones go first, lest slivers own more than is theirs
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


def thin_plate(image: Pixels, source: Landmarks, destination: Landmarks) -> Pixels:
    """Move `source` points to `destination`, shape (n, 2), by the smoothest warp (thin plate spline).

    The spline is evaluated on a coarse grid and enlarged.
    """
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
    """Return every pixel's x and y, each of shape (side, side)."""
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    return x, y


def _signed_area(triangles: NDArray[np.float32]) -> NDArray[np.float32]:
    a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return np.asarray((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2, np.float32)


def remap(image: Pixels, inverse: NDArray[np.float32]) -> Pixels:
    """Fetch each pixel from where `inverse`, shape (height, width, 2), says (x, y)."""
    x, y = np.ascontiguousarray(inverse[..., 0], np.float32), np.ascontiguousarray(inverse[..., 1], np.float32)
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def polygon_mask(side: int, *polygons: Landmarks, feather: float = 0.0) -> NDArray[np.float32]:
    """Fill polygons with 1 on a square of zeros, shape (side, side), edges blurred by `feather` pixels."""
    mask = np.zeros((side, side), np.float32)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.rint(polygon * 16).astype(np.int32)], 1.0, lineType=cv2.LINE_AA, shift=4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), feather), np.float32) if feather else mask


def fade_inwards(mask: NDArray[np.float32], feather: float) -> NDArray[np.float32]:
    """Soften a mask's edge by `feather` pixels without letting it grow."""
    width = 2 * round(1.5 * feather) + 1
    core = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
    return np.asarray(cv2.GaussianBlur(core, (0, 0), feather) * mask, np.float32)


def hull(points: Landmarks) -> Landmarks:
    """Return the corners of the convex hull, shape (n, 2)."""
    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], np.float32)


def blend(over: NDArray[Any], under: Pixels, mask: NDArray[np.float32]) -> Pixels:
    """Lay `over` on `under` where `mask`, shape (height, width), is 1."""
    mixed = under + mask[..., None] * (over.astype(np.float32) - under)
    return np.rint(mixed.clip(0, 255)).astype(np.uint8)
