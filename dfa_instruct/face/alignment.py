"""Align a face: rotate, scale and cut a picture so that eyes, nose and mouth come to fixed places of a square."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.face.landmarks import LEFT_EYE, RIGHT_EYE
from dfa_instruct.records import Landmarks, Pixels

TEMPLATE: NDArray[np.float32] = np.array(
    [[0.385, 0.46], [0.615, 0.46], [0.5, 0.59], [0.405, 0.71], [0.595, 0.71]], np.float32
)
"""The positions of the right eye, left eye, nose tip and mouth corners in an aligned face, as shares of the square's
side."""

MIN_MARGIN = -0.25
"""The smallest margin, as a share of the square. A smaller margin would cut off the mouth, too."""
GREY = (127, 127, 127)
"""The colour of the parts of an aligned square that lie outside the picture."""

Transform = NDArray[np.float64]
"""A similarity transform from pixels of a picture to pixels of the aligned square, shape (2, 3)."""


def anchors(landmarks: Landmarks) -> NDArray[np.float32]:
    """Return the centres of the right and the left eye, the nose tip and the mouth corners, shape (5, 2)."""
    return np.stack(
        [landmarks[RIGHT_EYE].mean(0), landmarks[LEFT_EYE].mean(0), landmarks[30], landmarks[48], landmarks[54]]
    ).astype(np.float32)


def alignment(landmarks: Landmarks, size: int, margin: float = 0.0) -> Transform:
    """Return the similarity transform that maps the anchors of a face as closely as possible to `TEMPLATE`.

    Args:
        landmarks: The landmarks of a face in pixels of its picture, shape (81, 2).
        size: The side of the aligned square in pixels.
        margin: The margin that is added on each side, as a share of the square of `TEMPLATE`.
    """
    return _similarity(anchors(landmarks), (TEMPLATE + margin) * size / (1 + 2 * margin))


def margin_inside(height: int, width: int, landmarks: Landmarks) -> float:
    """Return the largest margin for which the aligned square of a face lies inside its picture.

    The height, the width and the landmarks of the picture are in pixels. The margin is a share of the square, as in
    `alignment`. It is negative if the square does not fit without a margin.
    """
    to_square = alignment(landmarks, 256) / 256
    to_picture = np.linalg.inv(to_square[:, :2])
    x, y = to_picture @ (0.5 - to_square[:, 2])
    distance = min(x, y, width - 1 - x, height - 1 - y)  # from the square's centre to the nearest border
    return float(distance / np.abs(to_picture).sum(1).max() - 0.5)


def alignment_onto(landmarks: Landmarks, aligned: Landmarks) -> Transform:
    """Return the similarity transform that maps a face to a face that is already aligned, using all landmarks."""
    return _similarity(landmarks, aligned)


def cropped_alignment(height: int, width: int, size: int) -> Transform:
    """Return the transform that maps the central square of an already cropped face to the aligned square.

    The height and the width of the picture and the size of the square are in pixels.
    """
    scale = size / min(height, width)
    shift = [scale * (min(height, width) - side) / 2 for side in (width, height)]
    # Coordinates refer to the centres of pixels, which lie half a pixel from their edges.
    half = (scale - 1) / 2
    return np.array([[scale, 0, shift[0] + half], [0, scale, shift[1] + half]], np.float64)


def _similarity(source: NDArray[np.float32], target: NDArray[np.float32]) -> Transform:
    """Fit a similarity transform with OpenCV's least median of squares."""
    transform, _ = cv2.estimateAffinePartial2D(source, target.astype(np.float32), method=cv2.LMEDS)
    return np.asarray(transform, np.float64)


def warp(image: Pixels, transform: Transform, size: int) -> Pixels:
    """Return the aligned square of a picture, shape (size, size, 3). Its parts outside the picture are `GREY`."""
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale < 0.5:  # INTER_LINEAR alone would cause aliasing: shrink with INTER_AREA first
        shrunk = cv2.resize(image, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA)
        image = np.asarray(shrunk, np.uint8)
        transform = transform @ np.array([[1 / (2 * scale), 0, 0], [0, 1 / (2 * scale), 0], [0, 0, 1]])
    square = cv2.warpAffine(image, transform, (size, size), flags=cv2.INTER_LINEAR, borderValue=GREY)
    return np.asarray(square, np.uint8)


def move(landmarks: Landmarks, transform: Transform) -> Landmarks:
    """Map landmarks from the picture to the aligned square."""
    return (landmarks @ transform[:, :2].T + transform[:, 2]).astype(np.float32)


def align(image: Pixels, landmarks: Landmarks, size: int, margin: float = 0.0) -> tuple[Pixels, Landmarks]:
    """Rotate, scale and shift a face into its aligned square. For the arguments, see `alignment`.

    Returns:
        The aligned square, shape (size, size, 3), and the landmarks in its pixels, shape (81, 2).
    """
    transform = alignment(landmarks, size, margin)
    return warp(image, transform, size), move(landmarks, transform)
