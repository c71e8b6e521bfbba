"""The embedded sample: portraits that this module draws, with no real person in them.

A portrait is painted in layers (background, neck and clothes, hair, head, features) in the frontal frame of
`dfa_instruct.faces.TEMPLATE`, lit by one lamp over a height field, turned by its depth, and taken by a camera with
defocus, exposure and grain. Bones, colours, hair, beard, freckles and glasses belong to the identity; pose, light,
expression, background and camera to the picture. Colours are linear light until the camera develops them.
Lengths are shares of the aligned square's side; x counts from the midline to image right, y downwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfa_instruct import faces
from dfa_instruct.records import FaceRecord, Landmarks, Pixels

Floats = NDArray[np.float32]

MARGIN = 0.1  # of the side, drawn on all sides beyond the aligned square
SIDE = 1 + 2 * MARGIN

LEFT_HALF = {
    tuple(range(9)): [(254, 473), (255, 526), (253, 580), (230, 700), (205, 752), (175, 795), (118, 848), (52, 878),
                      (0, 884)],
    tuple(range(17, 22)): [(211, 411), (188, 393), (154, 382), (109, 383), (55, 388)],
    tuple(range(27, 31)): [(0, 452), (0, 508), (0, 557), (0, 587)],
    tuple(range(31, 34)): [(63, 622), (30, 630), (0, 634)],
    tuple(range(36, 42)): [(164, 466), (138, 449), (104, 448), (66, 470), (99, 475), (133, 475)],
    (48, 49, 50, 51, 57, 58, 59): [(100, 707), (57, 687), (25, 682), (0, 687), (0, 752), (29, 750), (60, 738)],
    (60, 61, 62, 66, 67): [(90, 707), (45, 705), (0, 707), (0, 708), (45, 706)],
    tuple(range(68, 75)): [(250, 418), (238, 375), (216, 336), (180, 305), (128, 285), (69, 276), (0, 275)],
}  # fmt: skip
"""Landmarks of the image's left half and midline → thousandths of the side: to the left of the midline, down."""

MIRROR = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1)]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65, *range(80, 67, -1)]
)
"""The landmark at each one's place on the other half of the face."""

SKIN_TONES = np.array([(244, 208, 190), (228, 184, 156), (204, 152, 116), (160, 108, 76), (112, 72, 50), (72, 46, 35)])
HAIR_TONES = np.array([(24, 20, 19), (46, 32, 25), (78, 50, 32), (122, 82, 48), (190, 152, 98), (142, 66, 32)])
EYE_TONES = np.array([(52, 32, 20), (84, 54, 30), (112, 92, 52), (92, 112, 84), (86, 118, 146), (112, 128, 136)])
STYLES = ("short", "swept", "long", "fringe", "curly", "tied", "buzz", "bald")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")


def _linear(colour: ArrayLike) -> Floats:
    return ((np.asarray(colour, np.float32) / 255) ** 2.2).astype(np.float32)


@dataclass(frozen=True)
class Person:
    """What stays the same in all pictures of an identity; most are deviations, about -1 to 1."""

    bones: Floats
    masculine: float
    age: float
    skin: Floats
    lips: Floats
    hair: Floats
    iris: Floats
    style: str
    beard: str
    freckles: float
    glasses: int
    parting: float
    texture_seed: int


@dataclass(frozen=True)
class Shot:
    """What differs from picture to picture: pose in radians, expression from 0 to 1, light and camera."""

    yaw: float
    pitch: float
    roll: float
    light: Floats
    key: Floats
    fill: Floats
    opening: float
    smile: float
    brows: float
    lids: float
    gaze: Floats
    exposure: float
    defocus: float
    grain: float


def _person(rng: np.random.Generator) -> Person:
    masculine = float(rng.random())
    age = float(rng.random() ** 1.4)
    melanin = rng.random()
    skin = np.array([np.interp(melanin, np.linspace(0, 1, 6), SKIN_TONES[:, c]) for c in range(3)])
    skin = _linear(np.clip(skin + rng.normal(0, 1, 3) * (4, 3, 5), 25, 250))
    dark = melanin > 0.5
    hair = _linear(HAIR_TONES[rng.integers(0, 2 if dark else 6)] * rng.uniform(0.85, 1.15))
    grey = np.clip((age - 0.55) * 3, 0, 1) * (rng.random() < 0.75)
    hair = hair * (1 - grey) + _linear((176, 174, 172)) * grey
    iris = _linear(EYE_TONES[rng.integers(0, 2 if dark else 6)] * rng.uniform(0.85, 1.15))
    weights = np.array([3, 2, 0.4, 0.3, 1, 0.3, 1.2, 1.5] if masculine > 0.5 else [0.6, 0.6, 3, 2, 1.4, 2, 0.2, 0.1])
    style = STYLES[rng.choice(len(STYLES), p=weights / weights.sum())]
    beard = BEARDS[rng.choice(5, p=[0.4, 0.25, 0.08, 0.09, 0.18])] if masculine > 0.5 else "none"
    rouge = rng.uniform(0.1, 0.55) if masculine < 0.5 else 0.12
    lips = skin * np.array((0.86, 0.60, 0.60)) * (1 - rouge) + _linear((176, 46, 62)) * rouge
    return Person(
        bones=np.clip(rng.normal(0, 0.6, 20), -1.3, 1.3).astype(np.float32),
        masculine=masculine,
        age=age,
        skin=skin,
        lips=lips.astype(np.float32),
        hair=hair.astype(np.float32),
        iris=iris,
        style=style,
        beard=beard,
        freckles=float(rng.uniform(0.4, 1) * (rng.random() < 0.3)),
        glasses=int(rng.choice(4, p=[0.72, 0.1, 0.1, 0.08])),
        parting=float(rng.uniform(-0.12, 0.12)),
        texture_seed=int(rng.integers(2**31)),
    )


def _shot(rng: np.random.Generator) -> Shot:
    light = np.array([rng.uniform(-0.9, 0.9), rng.uniform(-0.85, -0.1), rng.uniform(0.6, 1.0)])
    warmth = rng.normal(0, 0.09)
    strength = rng.uniform(0.75, 1.05)
    fill = rng.uniform(0.28, 0.5)
    return Shot(
        yaw=float(np.clip(rng.normal(0, 0.17), -0.36, 0.36)),
        pitch=float(np.clip(rng.normal(0, 0.1), -0.2, 0.2)),
        roll=float(np.clip(rng.normal(0, 0.07), -0.16, 0.16)),
        light=(light / np.linalg.norm(light)).astype(np.float32),
        key=(strength * np.array((1 + warmth, 1, 1 - warmth))).astype(np.float32),
        fill=(fill * np.array((1 - 0.6 * warmth, 1, 1 + 0.8 * warmth))).astype(np.float32),
        opening=float(max(0, rng.uniform(-0.9, 0.9))),
        smile=float(max(-0.15, rng.uniform(-0.6, 1))),
        brows=float(rng.normal(0, 0.4)),
        lids=float(rng.uniform(-0.5, 0.5)),
        gaze=rng.normal(0, (0.005, 0.002)).astype(np.float32),
        exposure=float(rng.normal(0, 0.14)),
        defocus=float(rng.uniform(0.2, 0.8)),
        grain=float(rng.uniform(0.010, 0.018)),
    )


def _shape(person: Person, shot: Shot) -> Floats:
    """Place the 81 landmarks in the frontal frame: the average face, then the bones, then the expression."""
    half = np.zeros((81, 2), np.float32)
    for indices, points in LEFT_HALF.items():
        half[list(indices)] = np.array(points, np.float32) / (-1000, 1000)
    b, male = person.bones, person.masculine
    x, y = half[:, 0].copy(), half[:, 1].copy()
    outline = np.r_[0:17, 68:81]
    x[outline] *= 1 + 0.055 * b[0]
    x[:9] *= 1 + (0.05 * b[1] + 0.10 * (male - 0.5)) * np.clip((y[:9] - 0.55) / 0.25, 0, 1.2)
    y[:9] += (0.018 * b[2] + 0.02 * (male - 0.5)) * np.clip((y[:9] - 0.65) / 0.23, 0, 1)
    y[68:81] += 0.018 * b[3] - 0.02 * person.age * male
    centre = np.array((-0.115, 0.462))
    eye = slice(36, 42)
    x[eye] = centre[0] + (x[eye] - centre[0]) * (1 + 0.07 * b[4]) - 0.006 * b[5]
    y[eye] = centre[1] + (y[eye] - centre[1]) * (1 + 0.2 * b[6] + 0.12 * (0.5 - male)) + 0.06 * b[7] * (x[eye] + 0.115)
    y[17:22] += 0.010 * b[8] + 0.012 * (male - 0.4) + np.array((0, -1, -1.2, -0.5, 0.3)) * 0.006 * b[9]
    x[31:34] *= 1 + 0.14 * b[10] + 0.08 * (male - 0.5)
    y[28:34] += 0.010 * b[11] * np.array((0.3, 0.8, 1, 1, 1, 1))
    lips = np.r_[48:68]
    x[lips] *= 1 + 0.08 * b[12]
    middle = 0.707
    y[lips] = middle + (y[lips] - middle) * (1 + 0.25 * b[13] - 0.2 * person.age + 0.15 * (0.5 - male))
    y[lips] += 0.006 * b[14]

    smile, opening = shot.smile, shot.opening
    corner = np.clip(np.abs(x[lips]) / 0.1, 0, 1.2)
    x[lips] *= 1 + 0.16 * smile
    y[lips] += (0.006 - 0.026 * corner**2) * smile
    teeth = 0.016 * max(0.0, smile - 0.35)
    upper, lower = [50, 51, 49, 61, 62], [57, 58, 59, 66, 67]
    y[upper] -= 0.4 * teeth + 0.004 * opening
    y[lower] += (0.6 * teeth + 0.055 * opening) * np.array((1, 0.97, 0.72, 1, 0.85))
    x[lips] *= 1 - 0.08 * opening
    y[3:9] += 0.034 * opening * np.array((0.2, 0.45, 0.6, 0.85, 1, 1))
    y[17:22] -= 0.011 * shot.brows * np.array((0.6, 0.8, 1, 1, 1))
    y[eye] = centre[1] + 0.008 + (y[eye] - centre[1] - 0.008) * (1 + 0.4 * shot.lids - 0.25 * max(0.0, smile))
    half = np.stack([x, y], 1)
    mirrored = half[MIRROR] * (-1, 1)
    drawn = np.zeros(81, bool)
    drawn[[i for indices in LEFT_HALF for i in indices]] = True
    return np.where(drawn[:, None], half, mirrored).astype(np.float32)


def _depth(x: Floats, y: Floats) -> Floats:
    """How far a point of the head lies before the plane of the ears; smooth, for turning the head."""
    dome = 0.27 * np.clip(1 - (x / 0.3) ** 2 - (np.abs(y - 0.48) / 0.52) ** 2.5, -0.15, 1)
    return dome + 0.075 * np.exp(-((x / 0.05) ** 2) - ((y - 0.585) / 0.07) ** 2)


def _turn(points: Floats, shot: Shot) -> Floats:
    """By how much the head's turning shifts points of the frontal frame, shape (..., 2) to the same shape."""
    x, y = points[..., 0], points[..., 1]
    z = _depth(x, y)
    neck = np.clip(y - 0.86, 0, None)  # the trunk stays upright where the head leans
    dx = (np.cos(shot.yaw) - 1) * x + np.sin(shot.yaw) * z + np.tan(shot.roll) * neck
    dy = (np.cos(shot.pitch) - 1) * (y - 0.6) + np.sin(shot.pitch) * z
    return np.stack([dx, dy], -1).astype(np.float32)


def _curve(points: ArrayLike, closed: bool = True, steps: int = 8) -> Floats:
    """Draw a Catmull-Rom spline through points, shape (n, 2), to `steps` times as many."""
    p = np.asarray(points, np.float32)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.concatenate([curve.reshape(-1, 2), p[1:2] if closed else p[-1:]]).astype(np.float32)


def _ellipse(x: float, y: float, a: float, b: float) -> Floats:
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return np.stack([x + a * np.cos(angle), y + b * np.sin(angle)], 1).astype(np.float32)


class Canvas:
    """A square of premultiplied RGBA in linear light, painted in the frontal frame."""

    def __init__(self, pixels: int) -> None:
        self.rgba = np.zeros((pixels, pixels, 4), np.float32)
        self.scale = pixels / SIDE

    def pixels(self, points: Floats) -> Floats:
        """Turn points of the frontal frame into pixels, shape (n, 2)."""
        return (points + np.float32((0.5 + MARGIN, MARGIN))) * np.float32(self.scale) - np.float32(0.5)

    def mask(self, points: Floats, blur: float = 0, width: int = 0) -> tuple[Floats, tuple[slice, slice]]:
        """Rasterise an outline, or with a width a line, into the box around it: its share of each pixel."""
        n = len(self.rgba)
        at = self.pixels(points)
        reach = 3 * blur * self.scale + width + 2
        left, top = np.clip(np.floor(at.min(0) - reach), 0, n - 1).astype(int)
        right, bottom = np.clip(np.ceil(at.max(0) + reach), 1, n).astype(int)
        area = np.zeros((max(bottom - top, 1), max(right - left, 1)), np.uint8)
        fixed = np.rint((at - (left, top)) * 16).astype(np.int32)[None]
        if width:
            cv2.polylines(area, fixed, False, 255, width, cv2.LINE_AA, 4)
        else:
            cv2.fillPoly(area, fixed, 255, cv2.LINE_AA, 4)
        share = area.astype(np.float32) / 255
        if blur:
            share = cv2.GaussianBlur(share, (0, 0), blur * self.scale, borderType=cv2.BORDER_REPLICATE)
        return share, (slice(top, top + area.shape[0]), slice(left, left + area.shape[1]))

    def paint(
        self, points: Floats, colour: Floats, opacity: float = 1, blur: float = 0, width: int = 0,
        within: Floats | None = None,
    ) -> None:  # fmt: skip
        """Lay a colour, shape (3,) or (pixels, pixels, 3), over an outline or a line."""
        share, box = self.mask(points, blur, width)
        share = share * np.float32(opacity)
        self.lay(share if within is None else share * within[box], colour, box)

    def lay(self, share: Floats, colour: Floats, box: tuple[slice, slice] = (slice(None), slice(None))) -> None:
        """Lay a colour where a mask says, by its share."""
        part = self.rgba[box]
        part *= 1 - share[..., None]
        part[..., :3] += share[..., None] * (colour if colour.ndim == 1 else colour[box])
        part[..., 3] += share


def _noise(rng: np.random.Generator, pixels: int, cells: int, across: int | None = None) -> Floats:
    """Smooth noise of about unit deviation, with so many cells down (and across) the canvas."""
    grid = rng.standard_normal((cells, across or cells), np.float32)
    return np.asarray(cv2.resize(grid, (pixels, pixels), interpolation=cv2.INTER_CUBIC), np.float32)


def _grid(pixels: int) -> tuple[Floats, Floats]:
    """x, shape (1, pixels), and y, shape (pixels, 1), of the canvas's pixels."""
    steps = ((np.arange(pixels, dtype=np.float32) + 0.5) / pixels * SIDE - MARGIN).astype(np.float32)
    return steps[None] - np.float32(0.5), steps[:, None]


def _bump(x: Floats, y: Floats, at: ArrayLike, a: float, b: float) -> Floats:
    cx, cy = np.asarray(at, np.float32)
    return np.exp(-(((x - cx) / a) ** 2)) * np.exp(-(((y - cy) / b) ** 2))


def _head_outline(points: Floats, lift: float = 0) -> Floats:
    """The head without hair: the contour below, the skull above; with `lift` all of it so much wider."""
    angle = np.linspace(0, np.pi, 13)[1:-1]
    half = points[16, 0]
    skull = np.stack([(half + 0.012) * np.cos(angle), points[16, 1] - 0.39 * np.sin(angle)], 1)
    outline = np.concatenate([points[0:17], skull.astype(np.float32)])
    if lift:
        centre = np.float32((0, 0.48))
        away = outline - centre
        outline = outline + lift * away / np.linalg.norm(away, axis=1, keepdims=True)
    return _curve(outline)


def _head_height(points: Floats, person: Person, shot: Shot, pixels: int) -> Floats:
    """Height of the face over the plane of the ears, shape (pixels, pixels)."""
    x, y = _grid(pixels)
    outline = _head_outline(points, 0.015)
    right = outline[outline[:, 0] > 0]
    right = right[np.argsort(right[:, 1])]
    width = np.interp(y, right[:, 1], right[:, 0]).astype(np.float32)
    middle, reach = (points[8, 1] + 0.08) / 2, (points[8, 1] - 0.08) / 2 + 0.012
    z = (
        0.26
        * np.sqrt(np.clip(1 - (x / width) ** 2, 0, 1))
        * np.sqrt(np.clip(1 - np.abs((y - middle) / reach) ** 3.5, 0, 1))
    )
    tip, base = points[30], points[33]
    male, age = person.masculine, person.age
    bridge = np.clip((y - points[27, 1] + 0.03) / (tip[1] - points[27, 1] + 0.03), 0, 1)
    falls = 1 / (1 + np.exp((y - base[1] + 0.012) / 0.008))
    wide = 0.020 + 0.016 * bridge
    z += (0.015 + 0.062 * bridge) * (bridge > 0) * falls * np.exp(-((x / wide) ** 2))
    z += 0.022 * _bump(x, y, tip, 0.032, 0.028)
    smile = max(0.0, shot.smile)
    for side in (-1, 1):
        eye = points[36:42].mean(0) if side < 0 else points[42:48].mean(0)
        brow = points[17:22].mean(0) if side < 0 else points[22:27].mean(0)
        wing = points[31] if side < 0 else points[35]
        corner = points[48] if side < 0 else points[54]
        z += 0.024 * _bump(x, y, wing + (-0.008 * side, -0.008), 0.020, 0.020)
        z -= 0.030 * _bump(x, y, eye + (-0.018 * side, -0.004), 0.070, 0.034)
        z += 0.017 * _bump(x, y, eye, 0.045, 0.026)
        z += (0.008 + 0.010 * male) * _bump(x, y, brow + (0, 0.004), 0.08, 0.02)
        z += (0.014 + 0.014 * smile) * _bump(x, y, (0.155 * side, 0.585 - 0.01 * smile), 0.06, 0.05)
        z -= 0.007 * age * _bump(x, y, eye + (0, 0.042), 0.05, 0.010)
        fold = (corner + wing) / 2 + (0.025 * side, -0.005)
        along = (x - fold[0]) * side - 0.55 * (y - fold[1])
        z -= (0.004 + 0.006 * age + 0.010 * smile) * np.exp(-((along / 0.013) ** 2) - ((y - fold[1]) / 0.05) ** 2)
        z -= 0.008 * _bump(x, y, corner + (0.012 * side, 0), 0.018, 0.018)
    top, bottom, middle_lip = points[51], points[57], points[[62, 66]].mean(0)
    z += 0.016 * _bump(x, y, (0, (top[1] + points[62, 1]) / 2), 0.075, 0.017)
    z += 0.020 * _bump(x, y, (0, (bottom[1] + points[66, 1]) / 2), 0.060, 0.020)
    z -= 0.014 * _bump(x, y, middle_lip, 0.085, 0.008)
    z -= 0.012 * _bump(x, y, bottom + (0, 0.022), 0.06, 0.016)
    z += (0.016 + 0.01 * male) * _bump(x, y, points[8] - (0, 0.05), 0.06, 0.04)
    z -= 0.004 * _bump(x, y, (0, (base[1] + top[1]) / 2), 0.010, 0.02)
    if age > 0.35:
        lines = sum(_bump(x, y, (0, 0.325 + 0.025 * i), 0.12, 0.005) for i in range(3))
        z -= 0.006 * (age - 0.35) * lines
    return cv2.GaussianBlur(z.astype(np.float32), (0, 0), 0.004 * pixels)


def _light(height: Floats, shot: Shot, pixels: int, gloss: float) -> tuple[Floats, Floats]:
    """Light that a height field receives and mirrors, both of shape (pixels, pixels, 3)."""
    step = SIDE / len(height)
    gx = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / (8 * step))
    gy = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / (8 * step))
    upright = 1 / np.sqrt(1 + gx**2 + gy**2)
    lx, ly, lz = shot.light
    facing = (lz - gx * lx - gy * ly) * upright
    half = shot.light + (0, 0, 1)
    hx, hy, hz = half / np.linalg.norm(half)
    mirrored = gloss * np.clip((hz - gx * hx - gy * hy) * upright, 0, 1) ** 22
    shadow = np.zeros_like(height)
    for k in (2, 4, 7, 11, 16):  # walk towards the lamp: whatever stands higher there throws a shadow here
        way = np.float32([[1, 0, -k * lx], [0, 1, -k * ly]])
        there = cv2.warpAffine(height, way, height.shape, borderMode=cv2.BORDER_REPLICATE)
        rise = k * step * lz
        shadow = np.maximum(shadow, np.clip((there - height - rise) / 0.03, 0, 1))
    shadow = 1 - 0.75 * cv2.GaussianBlur(shadow, (0, 0), 1.5)
    hollow = np.clip(1 + 9 * (height - cv2.blur(height, (15, 15))), 0.55, 1.15)
    # red light goes deepest into skin, so it reaches furthest around the turn
    wrap = np.float32((0.42, 0.30, 0.24))
    lit = np.clip((facing[..., None] + wrap) / (1 + wrap), 0, None) * shot.key * shadow[..., None]
    lit += shot.fill * ((0.8 - 0.25 * gy * upright) * hollow)[..., None]
    shine = (mirrored * shadow)[..., None] * shot.key
    return cv2.resize(lit, (pixels, pixels)), cv2.resize(shine, (pixels, pixels))


def _skin(person: Person, points: Floats, rng: np.random.Generator, pixels: int) -> Floats:
    """Skin before light, shape (pixels, pixels, 3): blotches, pores, blood near the surface, freckles, stubble's shade."""
    x, y = _grid(pixels)
    tone = 1 + 0.035 * _noise(rng, pixels, 7) + 0.03 * _noise(rng, pixels, 22) + 0.028 * _noise(rng, pixels, 60)
    tone += (0.03 + 0.025 * person.age) * _noise(rng, pixels, pixels // 2)
    blood = 0.05 * _noise(rng, pixels, 12)
    for side in (-1, 1):
        blood += 0.28 * _bump(x, y, (0.15 * side, 0.6), 0.07, 0.06)
    blood += 0.22 * _bump(x, y, points[30], 0.045, 0.04)
    shaded = -0.10 * (_bump(x, y, (-0.115, 0.49), 0.06, 0.03) + _bump(x, y, (0.115, 0.49), 0.06, 0.03))
    tone = np.clip(tone + shaded * (0.6 + person.age), 0.5, 1.5)
    if person.freckles:
        spots = np.clip(_noise(rng, pixels, pixels // 3) - 1.35, 0, 0.8) * person.freckles
        tone *= 1 - 0.5 * spots * np.clip(_bump(x, y, (0, 0.56), 0.24, 0.13) * 1.5, 0, 1)
    return np.asarray(
        person.skin * tone[..., None] * (1 + blood[..., None] * np.float32((0.35, -0.45, -0.35))), np.float32
    )


def _strands(person: Person, rng: np.random.Generator, pixels: int) -> Floats:
    """Hair's texture, about 0.2 to 1.6: combed from the crown, along the sides, or curled."""
    x, y = _grid(pixels)
    if person.style == "curly":
        u = x + 0.035 * _noise(rng, pixels, 22) + np.zeros_like(y)
        v = y + 0.035 * _noise(rng, pixels, 22) + np.zeros_like(x)
        across, along = 90 * u, 40 * v
    elif person.style in ("long", "fringe"):
        u = np.hypot((x - person.parting) * 1.1, np.minimum(y - 0.5, 0)) + 0.006 * _noise(rng, pixels, 9)
        across, along = 300 * u, 7 * (y + 0.6 * np.abs(x))
    else:
        crown = y - 0.1
        turn = np.arctan2(x - person.parting, 0.22 + np.abs(crown)) + 0.05 * _noise(rng, pixels, 10)
        across, along = 130 * turn, 12 * np.hypot(x - person.parting, crown)
    table = rng.standard_normal((64, 512), np.float32)
    table = table + 1.4 * cv2.GaussianBlur(table, (0, 0), 2.5) * 4
    mapped = np.broadcast_arrays(across + 256, along + 20)
    strands = cv2.remap(
        table, mapped[0].astype(np.float32), mapped[1].astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return np.asarray(np.clip(1 + 0.22 * strands, 0.25, 1.9), np.float32)


def _brows(face: Canvas, person: Person, points: Floats, rng: np.random.Generator) -> None:
    colour = person.hair * np.float32(0.55) + np.float32(0.002)
    thick = 0.010 + 0.010 * person.masculine + 0.003 * person.bones[15]
    for row in (points[17:22], points[26:21:-1]):  # from the temple to the nose
        spine = _curve(row, closed=False)
        share = np.linspace(0, 1, len(spine))[:, None]
        taper = thick * (0.25 + 0.75 * np.sin(np.pi * (0.12 + 0.72 * share)))
        band = np.concatenate([spine + (0, 1) * taper * 0.5, (spine - (0, 1) * taper * 0.5)[::-1]])
        face.paint(band.astype(np.float32), colour, 0.62, 0.0035)
        outward = np.sign(row[0, 0])
        for k in range(46):
            i = rng.integers(0, len(spine))
            root = spine[i] + (0, float(taper[i, 0]) * rng.uniform(-0.5, 0.5))
            lean = 1 - i / len(spine)
            tip = root + (outward * rng.uniform(0.008, 0.018), -0.012 + 0.014 * lean + rng.normal(0, 0.002))
            face.paint(np.stack([root, tip]).astype(np.float32), colour, 0.5, width=1)


def _eyes(face: Canvas, person: Person, shot: Shot, points: Floats, rng: np.random.Generator) -> None:
    dark = person.hair * np.float32(0.12) + _linear((22, 14, 12))
    for rim in (points[36:42], points[[45, 44, 43, 42, 47, 46]]):  # outer corner, top, inner corner, bottom
        outer, inner = rim[0], rim[3]
        outward = np.sign(outer[0])
        opening = _curve(rim, steps=6)
        lid = _curve(rim[:4], closed=False)
        under = _curve(rim[[0, 5, 4, 3]], closed=False)
        away = np.float32((0, 0.020 + 0.004 * person.bones[16]))
        shade = person.skin * np.float32((0.62, 0.50, 0.46))
        face.paint(np.concatenate([lid, (lid - away)[::-1]]), shade, 0.30 + 0.25 * (1 - person.masculine), 0.006)
        face.paint(_curve(rim[:4] - away, closed=False), shade * np.float32(0.6), 0.55, 0.002, width=1)
        face.paint(_curve(rim[[0, 5, 4, 3]] + (0, 0.017), closed=False), shade, 0.25 + 0.4 * person.age, 0.003, width=1)
        share, box = face.mask(opening)
        within = np.zeros(face.rgba.shape[:2], np.float32)
        within[box] = share
        face.paint(opening, _linear((226, 218, 212)))
        face.paint(_ellipse(*inner, 0.012, 0.010), _linear((196, 128, 118)), 0.8, 0.003, within=within)
        centre = rim[[1, 2, 4, 5]].mean(0) + shot.gaze + (-0.002 * outward, -0.0015)
        face.paint(_ellipse(*centre, 0.0275, 0.0275), person.iris * np.float32(0.25), 0.95, 0.0015, within=within)
        face.paint(_ellipse(*centre, 0.0225, 0.0225), person.iris, 1, 0.003, within=within)
        below = centre + (-0.3 * shot.light[0] * 0.03, 0.008)
        face.paint(_ellipse(*below, 0.015, 0.009), person.iris * np.float32(1.9), 0.6, 0.004, within=within)
        face.paint(_ellipse(*centre, 0.0105, 0.0105), _linear((9, 7, 7)), 1, 0.001, within=within)
        face.paint(lid + np.float32((0, 0.004)), _linear((40, 26, 24)), 0.7, 0.005, width=3, within=within)
        face.paint(lid, dark, 0.9, 0.001, width=2)
        face.paint(under, shade * np.float32(0.55), 0.55, 0.0015, width=1)
        for k in range(10 + int(12 * (1 - person.masculine))):
            root = lid[rng.integers(0, int(len(lid) * 0.85))]
            sweep = np.clip((root[0] - inner[0]) / (outer[0] - inner[0]), 0, 1)
            tip = root + (outward * 0.014 * sweep, -rng.uniform(0.006, 0.013))
            face.paint(np.stack([root, tip]).astype(np.float32), dark, 0.55, width=1)


def _glints(canvas: Canvas, shot: Shot, points: Floats) -> None:
    for rim in (points[36:42], points[42:48]):
        if rim[4:, 1].mean() - rim[1:3, 1].mean() > 0.012:
            at = rim[[1, 2, 4, 5]].mean(0) + shot.gaze + 0.010 * shot.light[:2]
            canvas.paint(_ellipse(*at, 0.0055, 0.0055), shot.key * np.float32(1.1), 0.9, 0.001)


def _nose(face: Canvas, person: Person, points: Floats) -> None:
    deep = person.skin * np.float32((0.16, 0.10, 0.09))
    shade = person.skin * np.float32((0.55, 0.42, 0.40))
    for side, wing in ((-1, points[31]), (1, points[35])):
        hole = wing * np.float32((0.52, 1)) + np.float32((0, -0.001))
        face.paint(_ellipse(*hole, 0.017, 0.0075), deep, 0.85, 0.003)
        rim = np.stack([wing + (0.004 * side, -0.030), wing + (0.013 * side, -0.012), wing + (0.002 * side, 0.006)])
        face.paint(_curve(rim, closed=False), shade, 0.55, 0.003, width=2)
    face.paint(_curve(points[31:36] + (0, 0.004), closed=False), shade, 0.45, 0.004, width=2)


def _mouth(face: Canvas, person: Person, points: Floats, rng: np.random.Generator) -> None:
    outer, inner = points[48:60], points[60:68]
    upper = np.concatenate([_curve(outer[:7], closed=False), _curve(inner[4::-1], closed=False)])
    lower = np.concatenate(
        [_curve(outer[[6, 7, 8, 9, 10, 11, 0]], closed=False), _curve(inner[[0, 7, 6, 5, 4]], closed=False)]
    )
    crease = 1 + 0.10 * _noise(rng, len(face.rgba), 24, 110)[..., None]
    colour = np.asarray(person.lips * crease, np.float32)
    gap = np.concatenate([_curve(inner[:5], closed=False), _curve(inner[[4, 5, 6, 7, 0]], closed=False)])
    face.paint(upper, colour * np.float32(0.80), 0.9, 0.0025)
    face.paint(lower, colour, 0.9, 0.0030)
    height = inner[6, 1] - inner[2, 1]
    if height > 0.007:
        share, box = face.mask(gap)
        within = np.zeros(face.rgba.shape[:2], np.float32)
        within[box] = share
        face.paint(gap, _linear((52, 18, 18)))
        face.paint(
            _ellipse(0, inner[6, 1] + 0.006, 0.05, 0.4 * height), _linear((150, 70, 72)), 0.8, 0.006, within=within
        )
        bite = inner[2, 1] + min(0.034, 0.9 * height)
        teeth = np.concatenate([_curve(inner[:5] - (0, 0.004), closed=False),
                                np.float32([[0.07, bite - 0.008], [0.03, bite], [-0.03, bite], [-0.07, bite - 0.008]])])  # fmt: skip
        face.paint(teeth, _linear((222, 214, 200)), 0.95, 0.0015, within=within)
        for k in range(-4, 5):
            at = 0.0165 * (k + 0.5 * np.sign(k) * 0) * (1 - 0.03 * abs(k))
            line = np.float32([[at, inner[2, 1] - 0.01], [at, bite]])
            face.paint(line, _linear((150, 128, 118)), 0.35, width=1, within=within)
        for side in (-1, 1):
            face.paint(_ellipse(0.085 * side, inner[2, 1], 0.03, 0.03), _linear((40, 14, 14)), 0.7, 0.01, within=within)
        face.paint(_curve(inner[:5], closed=False), _linear((60, 20, 20)), 0.5, 0.002, width=2, within=within)
    else:
        face.paint(_curve(inner[:5], closed=False), person.lips * np.float32(0.16), 0.85, 0.0015, width=2)
    face.paint(outer[[8, 9, 10]] + np.float32((0, 0.008)), person.skin * np.float32(0.5), 0.35, 0.006, width=2)


def _beard(face: Canvas, person: Person, points: Floats, strands: Floats, rng: np.random.Generator) -> None:
    if person.masculine < 0.5:
        return
    n = len(face.rgba)
    jaw = np.concatenate([points[2:15], points[[54, 53, 52]] + (0, -0.012), points[[50, 49, 48]] + (0, -0.012)])
    jaw[[0, 12]] *= (1.04, 1)
    moustache = np.concatenate([points[48:55] + (0, -0.002), points[54:47:-3] - (0, 0.036)])
    chin = np.concatenate([points[6:11] + (0, 0.01), points[[54]], points[[57]] + (0, 0.014), points[[48]]])
    area = np.zeros((n, n), np.float32)
    for style, outline, blur in (("full", jaw, 0.016), ("moustache", moustache, 0.006), ("goatee", chin, 0.012)):
        if (
            style == person.beard
            or person.beard in ("full", "stubble", "none")
            or (person.beard, style) == ("goatee", "moustache")
        ):
            share, box = face.mask(_curve(outline, steps=4), blur)
            area[box] = np.maximum(area[box], share)
    lips, box = face.mask(_curve(points[48:60]), 0.004)
    area[box] *= 1 - lips
    bristle = np.clip(1 + 0.7 * _noise(rng, n, n), 0, 1.7)
    opacity = {"none": 0.12, "stubble": 0.38}.get(person.beard, 0.9)
    threshold = np.clip(area * 1.6 - 0.25 + 0.25 * (strands - 1), 0, 1) if opacity > 0.5 else area
    colour = person.hair * np.float32(0.8) + np.float32(0.003)
    face.lay(np.clip(threshold * opacity * bristle, 0, 0.95), colour * (0.5 + 0.5 * strands[..., None]))


def _hair_outlines(person: Person, points: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The hair's outer outline, and the opening in it that shows the face."""
    volume = 0.5 + 0.5 * rng.random()
    lift = {"short": 0.03, "swept": 0.045, "long": 0.045, "fringe": 0.05, "curly": 0.10, "tied": 0.022}
    outer = _head_outline(points, lift.get(person.style, 0.008) * volume + 0.004)
    side = 0.50
    if person.style in ("long", "fringe", "curly"):
        side = {"long": 1.15, "fringe": float(rng.choice([0.86, 1.15])), "curly": float(rng.choice([0.7, 0.95]))}[
            person.style
        ]
    upper = outer[outer[:, 1] < min(side, 0.47)]
    upper = upper[np.argsort(np.arctan2(upper[:, 0], 0.5 - upper[:, 1]))]  # from the left over the top to the right
    wide = abs(upper[0, 0]) + (0.03 * volume if side > 0.6 else 0)
    fall = np.float32([[wide * 1.04, 0.6], [wide * 1.08, 0.75], [wide * 1.06, 0.95], [wide * 0.95, 1.12]])
    fall = fall[fall[:, 1] < side]
    if side > 0.6:
        fall = np.concatenate([fall, [[wide * 0.9, side]]]).astype(np.float32)
    else:
        fall = np.float32([[wide - 0.004, side]])
    outer = np.concatenate([fall[::-1] * (-1, 1), upper, fall]).astype(np.float32)
    line = points[68:81].copy()
    low = 0.355 if person.style == "fringe" else None
    if low is not None:
        line[:, 1] = np.maximum(line[:, 1], low + 0.3 * line[:, 0] ** 2)
    elif person.style in ("swept", "long"):
        line[:, 1] -= 0.5 * (line[:, 0] - person.parting) * np.sign(person.parting) * 0.12
    line[:, 1] += rng.normal(0, 0.003, 13)
    inset = {"long": 0.93, "fringe": 0.88, "curly": 0.95}.get(person.style, 1.03)
    temple = line[[0, -1]] * (inset, 1)
    cheeks = np.float32([[temple[1, 0], 0.6], [temple[1, 0] * 0.97, 0.8], [0.2, 1.2]])
    if side < 0.6:
        cheeks = np.float32([[points[16, 0] * 0.985, 0.46], [points[16, 0] * 0.97, 0.54], [0.5, 0.58], [0.5, 1.2]])
    opening = np.concatenate([line * (inset, 1), cheeks, (cheeks * (-1, 1))[::-1]]).astype(np.float32)
    return outer, opening


def _hair(canvas: Canvas, person: Person, points: Floats, strands: Floats, shot: Shot) -> tuple[Floats, Floats, Floats]:
    """Hair in light, shape (pixels, pixels, 3), its share in front of the head and its share behind it."""
    n = len(canvas.rgba)
    rng = np.random.default_rng(person.texture_seed + 1)
    outer, opening = _hair_outlines(person, points, rng)
    ragged = {"curly": 0.55, "bald": 0.0}.get(person.style, 0.28) * (strands - 1)
    if person.style == "curly":
        ragged = ragged + 0.25 * _noise(rng, n, 26)
    shares = []
    for outline, blur in ((outer, 0.012 if person.style == "curly" else 0.005), (opening, 0.007)):
        share = np.zeros((n, n), np.float32)
        part, box = canvas.mask(_curve(outline, steps=4), blur)
        share[box] = part
        shares.append(share)
    whole = np.clip((shares[0] + ragged - 0.35) * 3.0, 0, 1) * (shares[0] > 0.02)
    front = whole * np.clip((1 - shares[1] + 0.8 * ragged - 0.3) * 2.5, 0, 1) * (shares[1] < 0.98)
    if person.style == "buzz":
        front = front * np.clip(0.62 + 0.3 * (strands - 1), 0, 1)
    if person.style == "bald":
        x, y = _grid(n)
        front = front * np.clip((y - 0.28) / 0.1, 0, 1) * 0.6 * float(person.age > 0.3)
        whole = whole * 0
    x, y = _grid(n // 2)
    half = float(np.abs(outer[:, 0]).max()) + 0.02
    height = 0.3 * np.sqrt(np.clip(1 - (x / half) ** 2 - (np.minimum(y - 0.55, 0) / 0.62) ** 2, 0.02, 1))
    height += 0.010 * cv2.resize(cv2.GaussianBlur(strands, (0, 0), 2), (n // 2, n // 2))
    lit, shine = _light(height.astype(np.float32), shot, n, 0.10)
    colour = person.hair * (0.35 + 0.65 * strands[..., None] ** 1.5)
    colour = colour * lit + shine * (0.25 + 0.75 * strands[..., None]) * (0.5 + person.hair)
    return colour.astype(np.float32), front.astype(np.float32), whole.astype(np.float32)


def _trunk(canvas: Canvas, person: Person, shot: Shot, points: Floats, skin: Floats, rng: np.random.Generator) -> None:
    """Neck, clothes and ears, behind the head."""
    n = len(canvas.rgba)
    x, y = _grid(n // 2)
    half = 0.145 + 0.035 * person.masculine
    ear = float(points[16, 0]) + 0.018
    height = 0.16 * np.sqrt(np.clip(1 - (x / (half + 0.02)) ** 2, 0, 1)) * np.clip((y - 0.7) / 0.1, 0, 1)
    height = np.maximum(height, 0.10 * np.clip(1 - (x / 0.8) ** 2 - 0.0 * y, 0, 1) * np.clip((y - 0.93) / 0.1, 0, 1))
    for side in (-1, 1):
        rim = _bump(x, y, (ear * side, 0.53), 0.032, 0.065)
        height += 0.05 * rim - 0.04 * _bump(x, y, (ear * side, 0.525), 0.016, 0.040)
    lit, shine = _light(cv2.GaussianBlur(height, (0, 0), 1.2).astype(np.float32), shot, n, 0.02)
    neck = np.float32([[-half, 0.7], [-half, 0.92], [-0.55, 1.06], [-0.6, 1.3], [0.6, 1.3], [0.55, 1.06], [half, 0.92],
                       [half, 0.7]])  # fmt: skip
    canvas.paint(_curve(neck), np.asarray(skin * lit + shine, np.float32), 1, 0.002)
    chin = points[2:15] + np.float32((-0.05 * shot.light[0], 0.055))
    canvas.paint(chin.astype(np.float32), person.skin * np.float32((0.30, 0.20, 0.17)) * shot.fill, 0.62, 0.022,
                 within=canvas.rgba[..., 3].copy())  # fmt: skip
    colour = _linear(rng.uniform(20, 235, 3)) * np.float32(rng.uniform(0.5, 1))
    weave = 1 + 0.10 * _noise(rng, n, n // 2) + 0.10 * _noise(rng, n, 8)
    drop = rng.uniform(0.99, 1.10)
    collar = np.float32([[-0.62, 1.3], [-0.60, 1.05], [-0.36, 0.985], [-half - 0.02, 0.945], [-0.07, drop - 0.015], [0, drop],
                         [0.07, drop - 0.015], [half + 0.02, 0.945], [0.36, 0.985], [0.60, 1.05], [0.62, 1.3]])  # fmt: skip
    cloth = np.asarray(colour * weave[..., None] * lit, np.float32)
    canvas.paint(_curve(collar, closed=False), cloth, 1, 0.002)
    canvas.paint(_curve(collar[2:9], closed=False), cloth * np.float32(0.5), 0.7, 0.003, width=3)
    for side in (-1, 1):
        outline = np.float32([[0.97, 0.46], [1.08, 0.455], [1.16, 0.49], [1.12, 0.56], [1.02, 0.62], [0.94, 0.60]])
        outline = outline * (side * (ear - 0.01), 1)
        canvas.paint(_curve(outline), np.asarray(skin * lit * np.float32((1, 0.93, 0.92)), np.float32), 1, 0.0015)
        inner = _curve(np.float32([[1.03, 0.48], [1.10, 0.485], [1.09, 0.53], [1.03, 0.57]]) * (side * (ear - 0.01), 1))
        canvas.paint(inner, person.skin * np.float32((0.35, 0.22, 0.2)) * shot.fill, 0.55, 0.006)


def _glasses(canvas: Canvas, person: Person, shot: Shot, points: Floats) -> None:
    if not person.glasses:
        return
    rng = np.random.default_rng(person.texture_seed + 2)
    frame = _linear([(20, 18, 18), (70, 40, 24), (130, 110, 80)][person.glasses - 1])
    thin = 2 if person.glasses == 3 else 3
    tall, square = rng.uniform(0.055, 0.07), rng.uniform(2, 4.5)
    angle = np.linspace(0, 2 * np.pi, 40)
    bow = np.stack([np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / square),
                    np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / square)], 1)  # fmt: skip
    shadow = np.float32((-0.014 * shot.light[0], 0.016))
    lit = shot.key * np.float32(0.6) + shot.fill
    for eye in (points[36:42].mean(0), points[42:48].mean(0)):
        side = np.sign(eye[0])
        lens = (bow * (0.092, tall) + eye + (0.005 * side, 0.008)).astype(np.float32)
        temple = np.float32([[eye[0] + 0.094 * side, eye[1] - 0.02], [points[16, 0] * side * 1.02, eye[1] - 0.025]])
        for line, wide in ((lens, thin), (temple, thin)):
            canvas.paint(line + shadow, np.zeros(3, np.float32), 0.28, 0.004, width=wide)
        canvas.paint(lens, shot.key * np.float32(0.5), 0.05)
        glare = lens[(angle > 3.6) & (angle < 5.0)]
        canvas.paint(glare, shot.key, 0.13, 0.004)
        for line in (lens, temple):
            canvas.paint(line, frame * lit, 0.95, 0.0008, width=thin)
    bridge = np.float32([[-0.03, 0.462], [0, 0.452], [0.03, 0.462]])
    canvas.paint(_curve(bridge, closed=False), frame * lit, 0.95, 0.0008, width=thin)


def _background(rng: np.random.Generator, shot: Shot, pixels: int) -> Floats:
    """A wall, a blurred room, foliage or lights at night, out of focus; linear light, shape (pixels, pixels, 3)."""
    tones = _linear(rng.uniform(15, 235, (4, 3)) * 0.6 + rng.uniform(10, 95))
    across = np.cos(angle := rng.uniform(0, 2 * np.pi)), np.sin(angle)
    x, y = _grid(pixels)
    slope = np.clip(0.5 + 0.8 * (x * across[0] + (y - 0.5) * across[1]), 0, 1)[..., None]
    scene = np.asarray(tones[0] * (1 - slope) + tones[1] * slope, np.float32)
    kind = rng.integers(0, 4)
    if kind == 1:  # a room: upright and level edges
        for k in range(6):
            left, top = rng.integers(0, pixels, 2)
            wide, tall = rng.integers(pixels // 8, pixels // 2, 2)
            scene[top : top + tall, left : left + wide] = tones[k % 4] * np.float32(rng.uniform(0.5, 1.4))
    elif kind == 2:  # foliage
        leaves = 0.5 + 0.35 * _noise(rng, pixels, 14) + 0.25 * _noise(rng, pixels, 30)
        scene = scene * np.clip(leaves, 0.1, 2)[..., None] * np.float32((0.8, 1.1, 0.6))
    elif kind == 3:  # lights
        scene *= np.float32(0.35)
        for k in range(12):
            at = tuple(int(v) for v in rng.integers(0, pixels, 2))
            lamp = tones[k % 4] * rng.uniform(0.8, 2)
            cv2.circle(scene, at, int(rng.integers(pixels // 40, pixels // 12)), lamp.tolist(), -1, cv2.LINE_AA)
    scene += np.float32(0.02) * _noise(rng, pixels, 5)[..., None]
    small = cv2.resize(np.clip(scene, 0, 3), (pixels // 4, pixels // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), pixels / 4 * rng.uniform(0.01, 0.035))
    return np.asarray(cv2.resize(small, (pixels, pixels), interpolation=cv2.INTER_CUBIC), np.float32) * (
        0.5 * shot.key + shot.fill
    )


def _portrait(person: Person, shot: Shot, pixels: int, rng: np.random.Generator) -> tuple[Floats, Landmarks]:
    """Paint one picture before the camera: linear light, shape (pixels, pixels, 3), and the landmarks in pixels."""
    points = _shape(person, shot)
    texture = np.random.default_rng(person.texture_seed)
    skin = _skin(person, points, texture, pixels)
    strands = _strands(person, texture, pixels)

    face = Canvas(pixels)
    face.lay(np.ones((pixels, pixels), np.float32), skin)
    _beard(face, person, points, strands, texture)
    _nose(face, person, points)
    _mouth(face, person, points, texture)
    _brows(face, person, points, texture)
    _eyes(face, person, shot, points, texture)
    height = _head_height(points, person, shot, pixels // 2)
    lit, shine = _light(height, shot, pixels, 0.055)
    oily = np.clip(1 + 0.5 * _noise(texture, pixels, pixels // 2), 0, 3)[..., None]

    canvas = Canvas(pixels)
    hair, front, whole = _hair(canvas, person, points, strands, shot)
    behind = person.style in ("long", "fringe", "curly")
    if behind:
        canvas.lay(whole, hair * np.float32(0.5))
    _trunk(canvas, person, shot, points, skin, rng)
    drop = np.float32([[1, 0, -0.03 * pixels * shot.light[0]], [0, 1, 0.02 * pixels]])
    under = cv2.GaussianBlur(cv2.warpAffine(front, drop, (pixels, pixels)), (0, 0), 0.012 * pixels)[..., None]
    head = (face.rgba[..., :3] * lit + shine * oily) * (1 - 0.5 * under)
    canvas.paint(_head_outline(points), np.asarray(head, np.float32), 1, 0.002)
    _glints(canvas, shot, points)
    canvas.lay(front, hair)
    _glasses(canvas, person, shot, points)

    small = pixels // 4
    x, y = _grid(small)
    there = np.stack(np.broadcast_arrays(x, y), -1)
    source = there
    for _ in range(6):  # the turn maps frontal to turned points; drawing needs its inverse
        source = there - _turn(source, shot)
    back = cv2.resize(source - there, (pixels, pixels)) * canvas.scale
    rows = np.arange(pixels, dtype=np.float32)
    turned = cv2.remap(
        canvas.rgba, back[..., 0] + rows[None], back[..., 1] + rows[:, None], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    scene = turned[..., :3] + (1 - turned[..., 3:]) * _background(rng, shot, pixels)
    return np.asarray(scene, np.float32), canvas.pixels(points + _turn(points, shot))


def _develop(scene: Floats, shot: Shot) -> Pixels:
    """The camera's curve: linear light to 8-bit colour."""
    scene = np.clip(scene * np.float32(1.25 * 2**shot.exposure), 0, None)
    curve = scene * (1 + scene / 6) / (1 + 0.55 * scene)
    return np.asarray(np.clip(255 * curve ** (1 / 2.2), 0, 255), np.uint8)


def _draw(seed: int, identity: int, picture: int, size: int) -> tuple[Pixels, Landmarks]:
    person = _person(np.random.default_rng([seed, identity, 0]))
    rng = np.random.default_rng([seed, identity, picture + 1])
    shot = _shot(rng)
    scene, landmarks = _portrait(person, shot, 2 * size, rng)
    scene = cv2.GaussianBlur(scene, (0, 0), shot.defocus * size / 128 + 0.3)
    image, landmarks = faces.align(_develop(scene, shot), landmarks, size)
    grain = rng.standard_normal((size, size, 3), np.float32) * np.float32((0.7, 0.6, 0.8))
    grain += rng.standard_normal((size, size, 1), np.float32)
    bright = image.astype(np.float32)
    noisy = bright + 255 * shot.grain * grain * (0.55 + 0.45 * np.sqrt(bright / 255))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), landmarks


def draw_sample(identities: int = 120, pictures: int = 6, size: int = 128, seed: int = 0) -> Iterator[FaceRecord]:
    """Yield aligned bona fide portraits, identity by identity.

    A picture depends on the seed, its identity's number and its own number only. Images have shape (size, size, 3).
    """
    for identity in range(identities):
        name = f"sample_{identity:04d}"
        for picture in range(pictures):
            image, landmarks = _draw(seed, identity, picture, size)
            yield FaceRecord(
                image=image,
                label="bona_fide",
                category="bona_fide",
                identities=(name,),
                source="sample",
                source_path=f"sample/{name}/{picture:02d}.png",
                source_sha256=hashlib.sha256(image.tobytes()).hexdigest(),
                landmarks=landmarks,
            )
