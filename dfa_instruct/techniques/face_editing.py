"""Face editing: one attribute of the target's face changes under a soft mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.face.colour import to_lab, to_rgb
from dfa_instruct.face.landmarks import EYES, FOREHEAD, INNER_LIPS, OUTER_LIPS
from dfa_instruct.records import Face, Forgery, Landmarks, Pixels
from dfa_instruct.techniques import Technique
from dfa_instruct.techniques.masks import hair_mask, iris_mask, skin_mask
from dfa_instruct.techniques.warping import (
    Mask,
    blend,
    fade_inwards,
    fixed_points,
    grow,
    hull,
    pixel_grid,
    polygon_mask,
    remap,
    thin_plate,
    usable,
)
from dfa_instruct.vocabulary import Category

LIP_COLOURS = {"red": (40, 52, 28), "plum": (28, 34, -4), "coral": (58, 44, 34), "brown": (36, 24, 20)}
"""Colours in L*a*b*."""
MIN_LIP_SHIFT = 18
"""The smallest distance in L*a*b* from the present colour. It is less than half of the largest distance between two lip
colours, so that at least one of them can always be used."""
SKIN_TONES = {
    "tanned": (0.88, 1.15, 1.3),
    "pale": (1.12, 0.7, 0.7),
    "flushed": (0.93, 1.7, 1.15),
    "sallow": (0.92, 0.6, 1.3),
}
"""Factors in L*a*b*, so that dark and light skin change alike."""
IRIS_COLOURS = {"blue": (48, -4, -34), "green": (48, -26, 22), "amber": (50, 18, 44), "violet": (42, 26, -36)}
"""Colours in L*a*b*."""
HAIR_COLOURS = {"blond": (62, 6, 34), "copper": (38, 28, 34), "black": (12, 1, 1), "silver": (66, 0, 2)}
"""Colours in L*a*b*."""
MIN_HAIR_SHIFT = 22
"""The smallest distance in L*a*b* from the present colour."""
EYE_SHAPES = {
    "round": (0.97, 1.45, 0.0),
    "narrow": (1.0, 0.55, 0.0),
    "upturned": (1.06, 0.95, 0.2),
    "downturned": (1.04, 0.95, -0.2),
}
"""Factors of width and opening, and the rise of the outer corner in widths of the eye."""
LIP_SHAPES = {
    "thin": (1.0, 0.5, 0.0),
    "wide": (1.25, 1.0, 0.04),
    "narrow": (0.78, 1.1, 0.0),
    "upturned": (1.06, 1.0, 0.16),
    "downturned": (1.0, 1.0, -0.14),
}
"""Factors of width and fullness, and the rise of the corners in widths of the mouth."""

MIN_DIFFERENCE = 12
"""The smallest visible difference of a pixel, in levels of 255."""
MIN_VISIBLE_SHARE = 0.0008
"""The smallest share of the pixels that must differ visibly. Nobody can see a smaller change."""


@dataclass(frozen=True, slots=True)
class FaceEditing:
    """A technique that changes one attribute of the target's face.

    Args:
        name: The technique's name.
        edit: A function of the image, its landmarks (which it may change) and the random generator.
    """

    name: str
    edit: Callable[[Pixels, Landmarks, np.random.Generator], Forgery]
    category: Category = "face_editing"

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Edit `target`, see `Technique`."""
        image, points = usable(target)
        forgery = self.edit(image, points.copy(), rng)
        difference = cv2.absdiff(forgery.image, image).max(axis=2)
        if (difference > MIN_DIFFERENCE).mean() < MIN_VISIBLE_SHARE:
            raise ValueError("the edit would hardly be seen")
        return forgery


def lips(image: Pixels, points: Landmarks, rng: np.random.Generator) -> Forgery:
    """Give the lips another colour and make them fuller."""
    side = len(image)
    fullness = _uniform(rng, 1.15, 1.35)
    centre, radius = points[OUTER_LIPS].mean(0), np.ptp(points[OUTER_LIPS], axis=0) / 2
    image = magnify(image, centre, (1.5 * radius[0], 2.2 * radius[1] + 0.02 * side), (1.0, fullness))
    points[48:68, 1] = centre[1] + fullness * (points[48:68, 1] - centre[1])
    outer = polygon_mask(side, points[OUTER_LIPS], feather=0.008 * side)
    mask = outer * (1 - polygon_mask(side, points[INNER_LIPS], feather=0.004 * side))
    lab = to_lab(image)
    inside = mask > 0.5
    colour = _other_colour(rng, LIP_COLOURS, np.median(lab[inside], axis=0), MIN_LIP_SHIFT)
    wanted = np.array(LIP_COLOURS[colour], np.float32)
    # The lightness keeps its relief, and the chroma keeps a little of its own.
    lab[..., 0] += 0.6 * (wanted[0] - lab[inside][:, 0].mean())
    lab[..., 1:] = 0.25 * lab[..., 1:] + 0.75 * wanted[1:]
    return Forgery(blend(to_rgb(lab), image, 0.9 * mask), points, {"colour": colour, "fullness": fullness})


def skin(image: Pixels, points: Landmarks, rng: np.random.Generator) -> Forgery:
    """Smooth the skin as beauty filters do and change its tone."""
    tone, smoothing = _choice(rng, SKIN_TONES), _uniform(rng, 0.6, 0.9)
    mask = skin_mask(image, points)
    smooth = np.asarray(cv2.bilateralFilter(image, 0, 45, 0.018 * len(image)), np.uint8)
    lab = to_lab(blend(smooth, image, np.full(mask.shape, smoothing, np.float32)))
    lab *= np.array(SKIN_TONES[tone], np.float32)
    return Forgery(blend(to_rgb(lab), image, mask), points, {"tone": tone, "smoothing": smoothing})


def eyes(image: Pixels, points: Landmarks, rng: np.random.Generator) -> Forgery:
    """Give the irises another colour and enlarge the eyes."""
    colour, growth = _choice(rng, IRIS_COLOURS), _uniform(rng, 1.15, 1.35)
    for eye in EYES:
        centre, width = points[eye].mean(0), float(np.linalg.norm(points[eye][3] - points[eye][0]))
        image = magnify(image, centre, (width, width), (growth, growth))
        points[eye] = centre + growth * (points[eye] - centre)
    mask = iris_mask(image, points[EYES[0]]) + iris_mask(image, points[EYES[1]])
    lab, wanted = to_lab(image), np.array(IRIS_COLOURS[colour], np.float32)
    lab[..., 0] = 0.5 * lab[..., 0] + 0.5 * wanted[0]
    lab[..., 1:] = 0.2 * lab[..., 1:] + 0.8 * wanted[1:]
    return Forgery(blend(to_rgb(lab), image, mask), points, {"colour": colour, "growth": growth})


def hair_tone(image: Pixels, points: Landmarks, rng: np.random.Generator) -> Forgery:
    """Dye the hair.

    Raises:
        ValueError: No hair can be distinguished from skin and background.
    """
    mask = hair_mask(image, points)
    lab = to_lab(image)
    now = np.median(lab[mask > 0.5], axis=0)
    colour, share = _other_colour(rng, HAIR_COLOURS, now, MIN_HAIR_SHIFT), _uniform(rng, 0.75, 0.95)
    wanted = np.array(HAIR_COLOURS[colour], np.float32)
    # Dark hair that becomes lighter keeps its strands, and light hair that becomes darker loses some.
    relief = (lab[..., 0] - now[0]) * np.clip((wanted[0] + 15) / (now[0] + 15), 0.5, 1.3)
    lightness = 0.8 * wanted[0] + 0.2 * now[0] + relief
    lab[..., 0] = lightness
    # Dark hair and highlights show little colour.
    lab[..., 1:] = 0.15 * lab[..., 1:] + (wanted[1:] * (lightness / max(wanted[0], 1)).clip(0, 1.15)[..., None])
    return Forgery(blend(to_rgb(lab), image, share * mask), points, {"colour": colour, "share": share})


def age_lines(image: Pixels, points: Landmarks, rng: np.random.Generator) -> Forgery:
    """Add the lines of an old face (see `wrinkles`) and make the skin coarser."""
    side = len(image)
    strength = _uniform(rng, 0.7, 1.1)
    grooves = wrinkles(points, side, rng)
    lab = to_lab(image)
    lightness = lab[..., 0].copy()
    grain = lightness - cv2.GaussianBlur(lightness, (0, 0), 0.02 * side)
    # The light comes from above, so the skin below a groove is brighter.
    ridges = np.roll(grooves, max(1, round(0.011 * side)), axis=0)
    shade = np.maximum(lightness, 45)  # Lines have to be visible on dark skin, too.
    lab[..., 0] += strength * (shade * (0.12 * ridges - 0.36 * grooves) + 0.5 * grain.clip(-6, 6))
    lab[..., 1] += 4 * strength * grooves
    return Forgery(blend(to_rgb(lab), image, skin_mask(image, points)), points, {"strength": strength})


def eye_shape(image: Pixels, points: Landmarks, rng: np.random.Generator) -> Forgery:
    """Make the eyes round or narrow, or raise or lower their outer corners."""
    shape, strength = _choice(rng, EYE_SHAPES), _uniform(rng, 0.85, 1.15)
    after = points.copy()
    for eye, outer in zip(EYES, (0, 3), strict=True):
        after[eye] = reshape(points[eye], points[eye][[outer, 3 - outer]], EYE_SHAPES[shape], strength, one_sided=True)
    return Forgery(warp_locally(image, points, after), after, {"shape": shape, "strength": strength})


def lip_shape(image: Pixels, points: Landmarks, rng: np.random.Generator) -> Forgery:
    """Make the mouth thin, wide or narrow, or raise or lower its corners."""
    shape, strength = _choice(rng, LIP_SHAPES), _uniform(rng, 0.85, 1.15)
    after = points.copy()
    after[48:68] = reshape(points[48:68], points[[48, 54]], LIP_SHAPES[shape], strength, one_sided=False)
    return Forgery(warp_locally(image, points, after), after, {"shape": shape, "strength": strength})


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return round(float(rng.uniform(low, high)), 3)


def _choice(rng: np.random.Generator, names: Iterable[str]) -> str:
    return str(rng.choice(list(names)))


def _other_colour(
    rng: np.random.Generator,
    colours: Mapping[str, tuple[int, int, int]],
    now: NDArray[np.float32],
    min_shift: float,
) -> str:
    """Draw a colour that differs from the present colour by more than `min_shift` in L*a*b*."""
    return _choice(rng, (name for name, lab in colours.items() if np.linalg.norm(now - lab) > min_shift))


def warp_locally(image: Pixels, before: Landmarks, after: Landmarks) -> Pixels:
    """Warp the picture around the landmarks that move, and leave the rest of the picture unchanged.

    Raises:
        ValueError: No landmark moves, for example because the eyes are closed.
    """
    side = len(image)
    moves = np.linalg.norm(after - before, axis=1) > 0.3
    if not moves.any():
        raise ValueError("the part of the face is too small to be reshaped")
    warped = thin_plate(image, before, after, fixed_points(before, side))
    # A spline moves every pixel a little, so pixels far from the moving landmarks are taken from the original.
    mask = polygon_mask(side, hull(np.concatenate([before[moves], after[moves]])))
    return blend(warped, image, fade_inwards(grow(mask, 0.09 * side), 0.02 * side))


def reshape(
    points: Landmarks, corners: Landmarks, shape: tuple[float, float, float], strength: float, one_sided: bool
) -> Landmarks:
    """Move the landmarks of an eye or a mouth, shape (n, 2), by a value of `EYE_SHAPES` or `LIP_SHAPES`.

    Args:
        points: The landmarks.
        corners: The two corners, shape (2, 2).
        shape: The factors of width and opening, and the rise.
        strength: The factor of the whole change.
        one_sided: Whether only the first corner rises, and not both.
    """
    width, opening, rise = shape
    across = corners[0] - corners[1]
    up = np.array([across[1], -across[0]]) * (1 if across[0] > 0 else -1)
    middle = corners.mean(0)
    x, y = ((points - middle) @ axis / (across @ across) for axis in (across, up))
    share = (x + 0.5).clip(0, 1) ** 2 if one_sided else (2 * x) ** 2
    x = x * (1 + strength * (width - 1))
    y = y * (1 + strength * (opening - 1)) + strength * rise * share
    return np.asarray(middle + x[:, None] * across + y[:, None] * up, np.float32)


def _curve(start: NDArray[np.float32], control: NDArray[np.float32], end: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return points on a quadratic Bézier curve, shape (24, 2)."""
    t = np.linspace(0, 1, 24, dtype=np.float32)[:, None]
    return np.asarray((1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end, np.float32)


def wrinkles(points: Landmarks, side: int, rng: np.random.Generator) -> Mask:
    """Draw the grooves of an old face: on the forehead, between the brows, and beside eyes, nose and mouth."""
    across = points[45] - points[36]
    down = np.array([-across[1], across[0]], np.float32)
    scale = 4  # Lines are drawn on a larger canvas, because they are thinner than a pixel.
    canvas = np.zeros((scale * side, scale * side), np.float32)

    def add(line: NDArray[np.float32], depth: float) -> None:
        groove = np.zeros_like(canvas)
        path, depth = np.rint((line + 0.5) * scale * 16).astype(np.int32), depth * float(rng.uniform(0.75, 1.0))
        cv2.polylines(groove, [path], False, depth, max(1, round(0.008 * scale * side)), cv2.LINE_AA, shift=4)
        np.maximum(canvas, groove, out=canvas)

    brows, hairline = points[17:27], points[FOREHEAD][1:-1]
    hairline = hairline[np.linspace(0, len(hairline) - 1, len(brows)).round().astype(int)]
    for height in (0.28, 0.48, 0.68):
        row = brows + (height + float(rng.uniform(-0.04, 0.04))) * (hairline - brows)
        row = row[1:-1] + rng.normal(0, 0.008, (8, 2)).astype(np.float32) * np.linalg.norm(across)
        smooth = cv2.resize(row[:, None], (1, 48), interpolation=cv2.INTER_CUBIC)[:, 0]
        add(np.asarray(cv2.GaussianBlur(smooth, (1, 9), 0), np.float32), 0.7)
    for outer, inner, wing, corner, lid in ((36, 39, 31, 48, (36, 41, 40, 39)), (45, 42, 35, 54, (45, 46, 47, 42))):
        aside = points[outer] - points[inner]
        for angle in (-0.45, -0.05, 0.35):
            start = points[outer] + 0.22 * aside + 0.16 * angle * down
            end = start + 0.38 * aside + 0.3 * (angle + 0.05) * down
            add(_curve(start, (start + end) / 2 - 0.02 * down, end), 0.55)
        nose, mouth = points[wing] + 0.16 * aside - 0.03 * down, points[corner] + 0.3 * aside
        add(_curve(nose, (nose + mouth) / 2 + 0.2 * aside - 0.03 * down, mouth + 0.06 * down), 1.0)
        sunk = points[corner] + 0.06 * aside + 0.03 * down
        add(_curve(sunk, sunk + 0.12 * aside + 0.06 * down, sunk + 0.08 * aside + 0.18 * down), 0.6)
        bag = points[list(lid)]
        deepest = bag[1:3].mean(0) + 0.22 * down
        add(_curve(bag[0] + 0.07 * down, deepest, bag[3] + 0.06 * down), 0.6)
    for brow in (points[21], points[22]):
        start = brow + 0.25 * (points[[21, 22]].mean(0) - brow)
        add(_curve(start - 0.05 * down, start, start + 0.1 * down), 0.6)
    small = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    sharp, soft = (cv2.GaussianBlur(small, (0, 0), reach * side) for reach in (0.004, 0.014))
    return np.asarray(0.75 * sharp + 0.5 * soft, np.float32)


def magnify(
    image: Pixels, centre: NDArray[np.float32], radii: tuple[float, float], factors: tuple[float, float]
) -> Pixels:
    """Enlarge the picture around `centre` by `factors` (x, y), fading out towards the ellipse of `radii`."""
    pixels = np.stack(pixel_grid(len(image)), -1)
    offset = pixels - centre
    fade = (1 - np.linalg.norm(offset / np.array(radii, np.float32), axis=-1, keepdims=True)).clip(0, 1)
    fade = fade * fade * (3 - 2 * fade)
    return remap(image, pixels - offset * (1 - 1 / np.array(factors, np.float32)) * fade)


TECHNIQUES: Final[tuple[Technique, ...]] = tuple(
    FaceEditing(edit.__name__, edit) for edit in (lips, skin, eyes, hair_tone, age_lines, eye_shape, lip_shape)
)
