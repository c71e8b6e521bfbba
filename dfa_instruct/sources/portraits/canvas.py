"""Colours, outlines, noise, and a canvas to paint them on in layers.

Lengths are fractions of the side of the aligned square in the frontal frame of `dfa_instruct.face.alignment.TEMPLATE`:
x is measured from the midline towards the right of the image, y downwards from the top. Colours are in linear light,
shape (3, 1, 1) or (3, pixels, pixels).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]

MARGIN = 0.1  # the width of the border drawn around the aligned square
SIDE = 1 + 2 * MARGIN


def linear(red: float, green: float, blue: float) -> Floats:
    """Convert a screen colour, 0 to 255, to linear light."""
    return (tint(red, green, blue) / np.float32(255)) ** 2


def tint(red: float, green: float, blue: float) -> Floats:
    """Return a colour, or a factor for each channel, shape (3, 1, 1)."""
    return np.array((red, green, blue), np.float32).reshape(3, 1, 1)


def xy(x: float, y: float) -> Floats:
    """Return a point, shape (2,)."""
    return np.array((x, y), np.float32)


def curve(points: ArrayLike, closed: bool = False, steps: int = 6) -> Floats:
    """Return a Catmull-Rom spline through points, shape (n, 2), with `steps` pieces between neighbours."""
    p = np.asarray(points, np.float32)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    spline = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d)))
    return np.concatenate([spline.reshape(-1, 2), p[-2:-1]])


def ellipse(centre: ArrayLike, a: float, b: float, power: float = 2) -> Floats:
    """Return the outline of a (super)ellipse with the semi-axes a and b, shape (33, 2)."""
    angle = np.linspace(0, 2 * np.pi, 33)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    return (np.asarray(centre) + np.sign(circle) * np.abs(circle) ** (2 / power) * (a, b)).astype(np.float32)


def ribbon(spine: Floats, thick: ArrayLike) -> Floats:
    """Return the outline of a band below a line."""
    return np.concatenate([spine, (spine + np.asarray(thick, np.float32) * xy(0, 1))[::-1]])


def grid(pixels: int) -> tuple[Floats, Floats]:
    """Return x, shape (1, pixels), and y, shape (pixels, 1), of the pixels of a canvas."""
    steps = (np.arange(pixels, dtype=np.float32) + np.float32(0.5)) * np.float32(SIDE / pixels) - np.float32(MARGIN)
    return steps[None] - np.float32(0.5), steps[:, None]


def noise(rng: np.random.Generator, pixels: int, *octaves: int) -> Floats:
    """Return smooth noise of about unit deviation, the sum of grids with `octaves` cells per side."""
    total = np.zeros((1, 1), np.float32)
    for cells in octaves:
        coarser = cv2.resize(total, (cells, cells), interpolation=cv2.INTER_CUBIC)
        total = coarser + rng.standard_normal((cells, cells), np.float32)
    full = cv2.resize(total, (pixels, pixels), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full * np.float32(len(octaves) ** -0.5), np.float32)


def bump(x: Floats, y: Floats, at: ArrayLike, a: float, b: float) -> Floats:
    """Return a hill of height 1 at a point, with the half widths a and b."""
    cx, cy = np.asarray(at, np.float32)
    return np.exp(-(((x - cx) / a) ** 2)) * np.exp(-(((y - cy) / b) ** 2))


class Canvas:
    """A square picture with premultiplied colour and coverage, shape (4, pixels, pixels)."""

    def __init__(self, pixels: int) -> None:
        self.layers = np.zeros((4, pixels, pixels), np.float32)
        self.pixels = pixels
        self.scale = pixels / SIDE

    def to_pixels(self, points: Floats) -> Floats:
        """Convert points of the frontal frame to pixels."""
        return (points + xy(0.5 + MARGIN, MARGIN)) * np.float32(self.scale) - np.float32(0.5)

    def cover(self, points: Floats, blur: float = 0, width: int = 0) -> tuple[Floats, tuple[slice, slice]]:
        """Rasterise the area inside an outline, or the line along it.

        Args:
            points: The outline, shape (k, 2), or several lines, shape (m, k, 2).
            blur: The standard deviation of the blur.
            width: The width of the line, in pixels of a canvas of 256 pixels; 0 fills the area.

        Returns:
            The coverage of each pixel in the box around the outline, and that box.
        """
        width = max(1, round(width * self.pixels / 256)) if width else 0
        at = self.to_pixels(points).reshape(-1, *points.shape[-2:])
        reach = 3 * blur * self.scale + width + 2
        left, top = (int(v) for v in np.clip(at.min((0, 1)) - reach, 0, self.pixels - 1))
        right, bottom = (int(v) for v in np.clip(at.max((0, 1)) + reach, (left + 1, top + 1), self.pixels))
        share = np.zeros((bottom - top, right - left), np.uint8)
        fixed = np.rint((at - xy(left, top)) * 16).astype(np.int32)
        if width:
            cv2.polylines(share, fixed, False, 255, width, cv2.LINE_AA, 4)
        else:
            cv2.fillPoly(share, fixed, 255, cv2.LINE_AA, 4)
        part = share.astype(np.float32) / np.float32(255)
        if blur:
            cv2.GaussianBlur(part, (0, 0), blur * self.scale, part, borderType=cv2.BORDER_REPLICATE)
        return part, (slice(top, bottom), slice(left, right))

    def mask(self, points: Floats, blur: float = 0) -> Floats:
        """Return the coverage of each pixel by the area inside an outline, shape (pixels, pixels)."""
        full = np.zeros((self.pixels, self.pixels), np.float32)
        part, box = self.cover(points, blur)
        full[box] = part
        return full

    def lay(self, share: Floats, colour: Floats, box: tuple[slice, slice] = (slice(None), slice(None))) -> None:
        """Blend a colour into each pixel of the box, weighted by its coverage."""
        part = self.layers[:, *box]
        part *= 1 - share
        part[:3] += share * (colour if colour.shape[-1] == 1 else colour[:, *box])
        part[3] += share

    def paint(
        self, points: Floats, colour: Floats, opacity: float = 1, blur: float = 0, width: int = 0,
        within: Floats | None = None,
    ) -> None:  # fmt: skip
        """Paint the area inside an outline or, with a width, the line along it; `within` is a mask."""
        part, box = self.cover(points, blur, width)
        self.lay(part * np.float32(opacity) * (1 if within is None else within[box]), colour, box)
