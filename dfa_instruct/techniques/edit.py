"""Face editing: one attribute of the target's face changes, under a soft mask."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.records import FaceRecord, Forgery, Landmarks, Pixels
from dfa_instruct.techniques.colour import to_lab, to_rgb
from dfa_instruct.techniques.warp import (
    CONTOUR,
    FOREHEAD,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    blend,
    fade_inwards,
    hull,
    pixel_grid,
    polygon_mask,
    remap,
    usable,
)
from dfa_instruct.vocabulary import Category

LIP_COLOURS = {"red": (40, 52, 28), "plum": (28, 34, -4), "coral": (58, 44, 34), "brown": (36, 24, 20)}
"""Colours in L*a*b*."""
LEAST_SHIFT = 18
"""Distance in L*a*b* from the lips as they are, less than half of the distance between the farthest two colours."""
SKIN_TONES = {
    "tanned": (0.88, 1.15, 1.3),
    "pale": (1.12, 0.7, 0.7),
    "flushed": (0.93, 1.7, 1.15),
    "sallow": (0.92, 0.6, 1.3),
}
"""Factors in L*a*b*, so that dark and light skin change alike."""
IRIS_COLOURS = {"blue": (48, -4, -34), "green": (48, -26, 22), "amber": (50, 18, 44), "violet": (42, 26, -36)}
"""Colours in L*a*b*."""


class Lips:
    """The lips take another colour and grow fuller."""

    name = "lips"
    category: Category = "face_editing"

    def forge(self, target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator) -> Forgery:
        """Edit `target`; see `Technique`."""
        image, points = usable(target)
        side = len(image)
        fullness = round(float(rng.uniform(1.15, 1.35)), 3)
        centre, radius = points[OUTER_LIPS].mean(0), np.ptp(points[OUTER_LIPS], axis=0) / 2
        image = magnify(image, centre, (1.5 * radius[0], 2.2 * radius[1] + 0.02 * side), (1.0, fullness))
        points = points.copy()
        points[48:68, 1] = centre[1] + fullness * (points[48:68, 1] - centre[1])
        outer = polygon_mask(side, points[OUTER_LIPS], feather=0.008 * side)
        mask = outer * (1 - polygon_mask(side, points[INNER_LIPS], feather=0.004 * side))
        lab = to_lab(image)
        inside = mask > 0.5
        now = np.median(lab[inside], axis=0)
        # a colour that the lips have already would be no edit
        colour = str(rng.choice([c for c, lab_c in LIP_COLOURS.items() if np.linalg.norm(now - lab_c) > LEAST_SHIFT]))
        wanted = np.array(LIP_COLOURS[colour], np.float32)
        # lightness keeps its relief; chroma keeps a little of its own
        lab[..., 0] += 0.6 * (wanted[0] - lab[inside][:, 0].mean())
        lab[..., 1:] = 0.25 * lab[..., 1:] + 0.75 * wanted[1:]
        return Forgery(blend(to_rgb(lab), image, 0.9 * mask), points, {"colour": colour, "fullness": fullness})


class Skin:
    """The skin is smoothed as beauty filters do, and changes its tone."""

    name = "skin"
    category: Category = "face_editing"

    def forge(self, target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator) -> Forgery:
        """Edit `target`; see `Technique`."""
        image, points = usable(target)
        side = len(image)
        tone, smoothing = str(rng.choice(list(SKIN_TONES))), round(float(rng.uniform(0.6, 0.9)), 3)
        mask = skin_mask(image, points)
        smooth = np.asarray(cv2.bilateralFilter(image, 0, 45, 0.018 * side), np.uint8)
        lab = to_lab(blend(smooth, image, np.full(mask.shape, smoothing, np.float32)))
        lab *= np.array(SKIN_TONES[tone], np.float32)
        return Forgery(blend(to_rgb(lab), image, mask), points, {"tone": tone, "smoothing": smoothing})


class Eyes:
    """The irises take another colour and the eyes grow."""

    name = "eyes"
    category: Category = "face_editing"

    def forge(self, target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator) -> Forgery:
        """Edit `target`; see `Technique`."""
        image, points = usable(target)
        points = points.copy()
        colour, growth = str(rng.choice(list(IRIS_COLOURS))), round(float(rng.uniform(1.15, 1.35)), 3)
        for eye in (RIGHT_EYE, LEFT_EYE):
            centre, width = points[eye].mean(0), float(np.linalg.norm(points[eye][3] - points[eye][0]))
            image = magnify(image, centre, (width, width), (growth, growth))
            points[eye] = centre + growth * (points[eye] - centre)
        mask = iris_mask(image, points[RIGHT_EYE]) + iris_mask(image, points[LEFT_EYE])
        lab, wanted = to_lab(image), np.array(IRIS_COLOURS[colour], np.float32)
        lab[..., 0] = 0.5 * lab[..., 0] + 0.5 * wanted[0]
        lab[..., 1:] = 0.2 * lab[..., 1:] + 0.8 * wanted[1:]
        image = blend(to_rgb(lab), image, mask)
        return Forgery(image, points, {"colour": colour, "growth": growth})


def magnify(
    image: Pixels, centre: NDArray[np.float32], radii: tuple[float, float], factors: tuple[float, float]
) -> Pixels:
    """Enlarge what is around `centre` by `factors` (x, y), fading to nothing on the ellipse of `radii`."""
    pixels = np.stack(pixel_grid(len(image)), -1)
    offset = pixels - centre
    fade = (1 - np.linalg.norm(offset / np.array(radii, np.float32), axis=-1, keepdims=True)).clip(0, 1)
    fade = fade * fade * (3 - 2 * fade)
    return remap(image, pixels - offset * (1 - 1 / np.array(factors, np.float32)) * fade)


def skin_mask(image: Pixels, points: Landmarks) -> NDArray[np.float32]:
    """Where the face shows skin: inside its contour, off eyes, brows and mouth, and of the cheeks' colour."""
    side = len(image)
    mask = fade_inwards(polygon_mask(side, hull(points[np.r_[CONTOUR, FOREHEAD]])), 0.015 * side)
    brows = (hull(points[brow]) for brow in (RIGHT_BROW, LEFT_BROW))
    mask *= 1 - polygon_mask(side, points[RIGHT_EYE], points[LEFT_EYE], points[OUTER_LIPS], *brows, feather=0.01 * side)
    lab = cv2.GaussianBlur(to_lab(image), (0, 0), 0.008 * side)
    distance = (lab - np.median(lab[mask > 0.9], axis=0)) / np.array([40, 14, 14], np.float32)
    return np.asarray(mask * np.exp(-((distance**2).sum(-1) ** 2)), np.float32)


def iris_mask(image: Pixels, eye: Landmarks) -> NDArray[np.float32]:
    """Where the iris shows between the lids: around the darkest part of the eye, the pupil left out."""
    side = len(image)
    opening = polygon_mask(side, eye)
    dark = np.where(opening > 0.5, 255 - image.mean(-1), 0.0) ** 4
    x, y = pixel_grid(side)
    width = float(np.linalg.norm(eye[3] - eye[0]))
    centre = np.array([(x * dark).sum(), (y * dark).sum()]) / (dark.sum() + 1e-6)
    centre = 0.5 * centre + 0.5 * eye.mean(0)
    distance = np.hypot(x - centre[0], y - centre[1])
    radius = 0.2 * width
    ring = 1 / (1 + np.exp((distance - radius) / (0.06 * radius + 0.2)))
    ring *= 1 - 0.8 * np.exp(-((distance / (0.4 * radius)) ** 2))
    return np.asarray(ring * polygon_mask(side, eye, feather=0.004 * side), np.float32)
