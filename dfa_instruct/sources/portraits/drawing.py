"""Draw the portraits of the embedded sample, which show no real person.

A portrait is painted in layers (background, back hair, neck and clothes, head with its features, front hair, glasses)
in the frontal frame of `dfa_instruct.face.alignment.TEMPLATE`. A height field is lit by one lamp, the head is turned by
its depth, and the camera adds defocus, exposure and grain. The identity determines bones, colours, hair, beard,
freckles and glasses. The picture determines pose, light, expression, background and camera.

Lengths and colours have the units of `dfa_instruct.sources.portraits.canvas` until the last step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from dfa_instruct.face import alignment
from dfa_instruct.face.landmarks import MIRRORED
from dfa_instruct.records import Face, Landmarks, Pixels
from dfa_instruct.sources.portraits.canvas import (
    SIDE,
    Canvas,
    Floats,
    bump,
    curve,
    ellipse,
    grid,
    linear,
    noise,
    ribbon,
    tint,
    xy,
)

RELIEF = 128  # the side of the height fields in pixels; they are smooth, so the light is computed on them and enlarged

LEFT_HALF = {
    range(9): [(254, 473), (255, 526), (253, 580), (230, 700), (205, 752), (175, 793), (118, 844), (52, 874), (0, 880)],
    range(17, 22): [(211, 411), (188, 392), (154, 380), (109, 381), (55, 387)],
    range(27, 31): [(0, 452), (0, 508), (0, 557), (0, 587)],
    range(31, 34): [(63, 622), (30, 630), (0, 634)],
    range(36, 42): [(164, 466), (138, 446), (104, 444), (66, 471), (99, 479), (133, 478)],
    (48, 49, 50, 51, 57, 58, 59): [(100, 707), (57, 686), (25, 681), (0, 686), (0, 752), (29, 750), (60, 738)],
    (60, 61, 62, 66, 67): [(90, 707), (45, 705), (0, 707), (0, 708), (45, 706)],
    range(68, 75): [(250, 422), (238, 381), (216, 343), (180, 313), (128, 293), (69, 284), (0, 283)],
}
"""The landmarks in the left half of the image and on the midline, in thousandths of the side: the distance from the
midline, and the distance from the top."""


SKIN_TONES = np.array([(244, 208, 190), (230, 186, 158), (208, 157, 122), (166, 114, 82), (122, 80, 57), (86, 56, 43)])
HAIR_TONES = np.array([(26, 22, 21), (48, 34, 27), (80, 52, 34), (122, 82, 50), (190, 152, 100), (140, 68, 36)])
IRIS_TONES = np.array([(52, 32, 20), (84, 54, 30), (112, 92, 52), (92, 112, 84), (86, 118, 146), (112, 128, 136)])
HAIR_STYLES = ("short", "swept", "long", "fringe", "curly", "tied", "buzz", "bald")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")


@dataclass(frozen=True)
class Person:
    """The properties that all pictures of an identity share."""

    bones: list[float]  # deviations of about -1 to 1
    masculine: float
    age: float
    skin: Floats
    lips: Floats
    hair: Floats
    iris: Floats
    style: str
    beard: str
    freckles: float
    glasses: int  # 0: none
    parting: float
    texture_seed: int


@dataclass(frozen=True)
class Shot:
    """The properties of a single picture: pose in radians, lamp, expression and camera."""

    yaw: float
    pitch: float
    roll: float
    light: Floats  # the unit vector towards the lamp: right, down, towards the camera
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
    masculine, age, melanin = rng.random(), rng.random() ** 1.4, rng.random()
    tones = [np.interp(melanin, np.linspace(0, 1, 6), channel) for channel in SKIN_TONES.T]
    skin = linear(*np.clip(tones + rng.normal(0, (4, 3, 5)), 25, 250))
    palette = 2 if melanin > 0.5 else 6
    hair = linear(*HAIR_TONES[rng.integers(palette)] * rng.uniform(0.85, 1.15))
    grey = np.float32(np.clip((age - 0.55) * 3, 0, 1) * (rng.random() < 0.75))
    iris = linear(*IRIS_TONES[rng.integers(palette)] * rng.uniform(0.85, 1.15))
    chances = np.array([3, 2, 0.4, 0.3, 1, 0.3, 1.2, 1.2] if masculine > 0.5 else [0.6, 0.6, 3, 2, 1.4, 2, 0.2, 0.1])
    style = HAIR_STYLES[rng.choice(8, p=chances / chances.sum())]
    beard = BEARDS[rng.choice(5, p=[0.4, 0.25, 0.08, 0.09, 0.18])] if masculine > 0.5 else "none"
    rouge = np.float32(rng.uniform(0.1, 0.5) if masculine < 0.5 else 0.12)
    return Person(
        bones=np.clip(rng.normal(0, 0.6, 17), -1.3, 1.3).tolist(),
        masculine=masculine,
        age=age,
        skin=skin,
        lips=skin * tint(0.86, 0.58, 0.58) * (1 - rouge) + linear(176, 46, 62) * rouge,
        hair=hair * (1 - grey) + linear(148, 146, 144) * grey,
        iris=iris,
        style=style,
        beard=beard,
        freckles=rng.uniform(0.4, 1) * (rng.random() < 0.3),
        glasses=int(rng.choice(4, p=[0.72, 0.1, 0.1, 0.08])),
        parting=rng.uniform(-0.12, 0.12),
        texture_seed=int(rng.integers(2**31)),
    )


def _shot(rng: np.random.Generator) -> Shot:
    light = np.array([rng.uniform(-0.95, 0.95), rng.uniform(-0.9, -0.15), rng.uniform(0.5, 0.95)])
    warmth, key, fill = rng.normal(0, 0.08), rng.uniform(0.9, 1.2), rng.uniform(0.16, 0.36)
    return Shot(
        yaw=float(np.clip(rng.normal(0, 0.17), -0.36, 0.36)),
        pitch=float(np.clip(rng.normal(0, 0.1), -0.2, 0.2)),
        roll=float(np.clip(rng.normal(0, 0.07), -0.16, 0.16)),
        light=(light / np.linalg.norm(light)).astype(np.float32),
        key=tint(1 + warmth, 1, 1 - warmth) * np.float32(key),
        fill=tint(1 - 0.6 * warmth, 1, 1 + 0.8 * warmth) * np.float32(fill),
        opening=max(0, rng.uniform(-0.9, 0.9)),
        smile=max(-0.15, rng.uniform(-0.6, 1)),
        brows=rng.normal(0, 0.4),
        lids=rng.uniform(-0.4, 0.5),
        gaze=rng.normal(0, (0.005, 0.002)).astype(np.float32),
        exposure=rng.normal(0, 0.2),
        defocus=rng.uniform(0.2, 0.7),
        grain=rng.uniform(0.014, 0.024),
    )


def _shape(person: Person, shot: Shot) -> Floats:
    """Return the 81 landmarks in the frontal frame: those of the average face, changed by bones and expression."""
    (wide, jaw, chin, forehead, eye_wide, eye_tall, eye_tilt, brow_low, brow_arch, nose_wide, nose_long, mouth_wide,
     lip_full, mouth_low, _, _, _) = person.bones  # fmt: skip
    male, smile, opening = person.masculine - 0.5, shot.smile, shot.opening
    half = np.zeros((81, 2), np.float32)
    for indices, points in LEFT_HALF.items():
        half[list(indices)] = np.array(points, np.float32) / (-1000, 1000)
    missing = half[:, 1] == 0
    x, y = half.T
    x[np.r_[0:17, 68:81]] *= 1 + 0.055 * wide
    x[:9] *= 1 + (0.05 * jaw + 0.10 * male) * np.clip((y[:9] - 0.55) / 0.25, 0, 1.2)
    y[:9] += (0.018 * chin + 0.02 * male) * np.clip((y[:9] - 0.65) / 0.23, 0, 1)
    y[68:] += 0.016 * forehead - 0.02 * person.age * person.masculine
    eye, brow, lips = slice(36, 42), slice(17, 22), slice(48, 68)
    x[eye] += (x[eye] + 0.115) * 0.07 * eye_wide
    openness = (1 + 0.18 * eye_tall - 0.12 * male) * (1 + 0.3 * shot.lids - 0.2 * max(0, smile))
    y[eye] = 0.466 + (y[eye] - 0.466) * openness + 0.06 * eye_tilt * (x[eye] + 0.115)
    y[brow] += 0.009 * brow_low + 0.012 * male - 0.006 * brow_arch * np.array((0, 1, 1.2, 0.5, -0.3))
    y[brow] -= 0.011 * shot.brows * np.array((0.6, 0.8, 1, 1, 1))
    x[31:34] *= 1 + 0.14 * nose_wide + 0.08 * male
    y[28:34] += 0.010 * nose_long * np.array((0.3, 0.8, 1, 1, 1, 1))

    y[lips] = 0.707 + (y[lips] - 0.707) * (1 + 0.25 * lip_full - 0.2 * person.age - 0.15 * male) + 0.006 * mouth_low
    x[lips] *= (1 + 0.08 * mouth_wide) * (1 + 0.16 * smile) * (1 - 0.08 * opening)
    y[lips] += (0.006 - 0.026 * np.clip(np.abs(x[lips]) / 0.1, 0, 1.2) ** 2) * smile
    teeth = 0.016 * max(0, smile - 0.35)
    y[[50, 51, 49, 61, 62]] -= 0.4 * teeth + 0.004 * opening
    y[[57, 58, 59, 66, 67]] += (0.6 * teeth + 0.055 * opening) * np.array((1, 0.97, 0.72, 1, 0.85))
    y[3:9] += 0.034 * opening * np.array((0.2, 0.45, 0.6, 0.85, 1, 1))
    half[missing] = half[MIRRORED[missing]] * xy(-1, 1)
    return half


def _turn(points: Floats, shot: Shot) -> Floats:
    """Return how far the turning of the head shifts points of the frontal frame, shape (..., 2)."""
    x, y = points[..., 0], points[..., 1]
    depth = 0.27 * np.clip(1 - (x / 0.3) ** 2 - ((y - 0.48) / 0.52) ** 2, -0.15, 1)
    depth += 0.075 * np.exp(-((x / 0.05) ** 2) - ((y - 0.585) / 0.07) ** 2)
    neck = np.clip(y - 0.86, 0, None)  # the trunk stays upright when the head leans
    dx = (np.cos(shot.yaw) - 1) * x + np.sin(shot.yaw) * depth + np.tan(shot.roll) * neck
    dy = (np.cos(shot.pitch) - 1) * (y - 0.6) + np.sin(shot.pitch) * depth
    return np.stack([dx, dy], -1).astype(np.float32)


def _head_outline(points: Floats, lift: float = 0) -> Floats:
    """Return the outline of the head without hair: the contour, and the skull above it, raised by `lift`."""
    angle = np.linspace(0, np.pi, 15)[1:-1]
    half, level = points[16]
    skull = np.stack([np.sign(np.cos(angle)) * (half + 0.010) * np.abs(np.cos(angle)) ** 0.86,
                      level - 0.36 * np.sin(angle) ** 0.86], 1).astype(np.float32)  # fmt: skip
    skull *= 1 + lift / np.linalg.norm(skull - xy(0, 0.45), axis=1, keepdims=True) * xy(1, 0)
    skull[:, 1] -= lift * np.sin(angle)
    return curve(np.concatenate([points[:17], skull]), closed=True)


def _face_height(points: Floats, person: Person, shot: Shot) -> Floats:
    """Return the height of the face above the plane of the ears, shape (RELIEF, RELIEF)."""
    x, y = grid(RELIEF)
    male, age, smile = person.masculine, person.age, max(0, shot.smile)
    right = _head_outline(points)
    right = right[right[:, 0] > 0]
    right = right[np.argsort(right[:, 1])]
    width = np.interp(y, right[:, 1], right[:, 0] + 0.015).astype(np.float32)
    top, chin = right[0, 1], points[8, 1]
    across = np.abs((y - (chin + top) / 2) / ((chin - top) / 2 + 0.012))
    z = 0.26 * np.sqrt(np.clip(1 - (x / width) ** 2, 0, 1) * np.clip(1 - across**3.5, 0, 1))

    start, tip, base = points[27, 1] - 0.03, points[30], points[33]
    bridge = np.clip((y - start) / (tip[1] - start), 0, 1)
    ends = 1 / (1 + np.exp((y - tip[1] - 0.018) / 0.010))
    z += (0.014 + 0.048 * bridge) * (bridge > 0) * ends * np.exp(-((x / (0.019 + 0.012 * bridge)) ** 2))
    z += 0.030 * bump(x, y, tip, 0.034, 0.030)
    for side, eye, brow, wing, corner in (
        (-1, points[36:42].mean(0), points[17:22].mean(0), points[31], points[48]),
        (1, points[42:48].mean(0), points[22:27].mean(0), points[35], points[54]),
    ):
        z += 0.026 * bump(x, y, wing - xy(0.010 * side, 0.010), 0.021, 0.020)
        z -= 0.034 * bump(x, y, eye - xy(0.022 * side, 0.004), 0.066, 0.036)
        z += 0.018 * bump(x, y, eye, 0.042, 0.024)
        z += (0.008 + 0.012 * male) * bump(x, y, brow + xy(0, 0.004), 0.08, 0.02)
        z += (0.016 + 0.016 * smile) * bump(x, y, xy(0.155 * side, 0.585 - 0.01 * smile), 0.06, 0.05)
        z -= 0.008 * age * bump(x, y, eye + xy(0, 0.042), 0.05, 0.010)
        fold = (corner + wing) / 2 + xy(0.025 * side, -0.005)
        along = ((x - fold[0]) * side - 0.55 * (y - fold[1])) / 0.013
        z -= (0.004 + 0.006 * age + 0.010 * smile) * np.exp(-(along**2) - ((y - fold[1]) / 0.05) ** 2)
        z -= 0.008 * bump(x, y, corner + xy(0.012 * side, 0), 0.018, 0.018)
    above, below = points[[51, 62]].mean(0), points[[57, 66]].mean(0)
    z += 0.016 * bump(x, y, above, 0.075, 0.017) + 0.022 * bump(x, y, below, 0.060, 0.020)
    z -= 0.014 * bump(x, y, points[[62, 66]].mean(0), 0.085, 0.008)
    z -= 0.014 * bump(x, y, points[57] + xy(0, 0.022), 0.06, 0.016)
    z -= 0.004 * bump(x, y, (base + points[51]) / 2, 0.010, 0.02)
    z += (0.018 + 0.01 * male) * bump(x, y, points[8] - xy(0, 0.05), 0.06, 0.04)
    for line in range(3):  # wrinkles on the forehead
        z -= 0.008 * max(0, age - 0.35) * bump(x, y, xy(0, 0.325 + 0.025 * line), 0.12, 0.005)
    return np.asarray(cv2.GaussianBlur(z.astype(np.float32), (0, 0), 0.5), np.float32)


def _light(height: Floats, shot: Shot, pixels: int) -> tuple[Floats, Floats]:
    """Return the light that a height field receives, shape (3, pixels, pixels), and the share that it mirrors."""
    step = SIDE / RELIEF
    gx = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / (8 * step))
    gy = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / (8 * step))
    upright = 1 / np.sqrt(1 + gx**2 + gy**2)
    lx, ly, lz = shot.light.tolist()
    facing = (lz - gx * lx - gy * ly) * upright
    hx, hy, hz = (np.array((lx, ly, lz + 1)) / np.sqrt(2 + 2 * lz)).tolist()  # halfway between lamp and camera
    mirrored = np.clip((hz - gx * hx - gy * hy) * upright, 0, 1) ** 16
    shadow = np.zeros_like(height)
    for k in (2, 4, 7, 11, 16):  # step towards the lamp: higher points there cast a shadow here
        way = np.array([[1, 0, -k * lx], [0, 1, -k * ly]])
        there = cv2.warpAffine(height, way, (RELIEF, RELIEF), borderMode=cv2.BORDER_REPLICATE)
        shadow = np.maximum(shadow, there - height - np.float32(k * step * lz))
    shadow = 1 - 0.75 * cv2.GaussianBlur(np.clip(shadow / 0.03, 0, 1), (0, 0), 1.5)
    hollow = np.clip(1 + 9 * (height - cv2.blur(height, (15, 15))), 0.5, 1.15)
    wrap = tint(0.38, 0.27, 0.21)  # red light penetrates skin most deeply, so it reaches furthest around curves
    lit = np.clip((facing + wrap) / (1 + wrap), 0, None) * (shot.key * shadow)
    lit += shot.fill * ((0.8 - 0.25 * gy * upright) * hollow)
    planes = np.stack([cv2.resize(plane, (pixels, pixels)) for plane in (*lit, mirrored * shadow)])
    return planes[:3], planes[3]


def _skin(person: Person, points: Floats, rng: np.random.Generator, pixels: int) -> Floats:
    """Return the colour of the skin without light: blotches, pores, blood near the surface, freckles."""
    x, y = grid(pixels)
    tone = 1 + 0.06 * noise(rng, pixels, 7, 22, 60) + (0.045 + 0.03 * person.age) * noise(rng, pixels, pixels // 2)
    blood = 0.06 * noise(rng, pixels, 12) + 0.22 * bump(x, y, points[30], 0.045, 0.04)
    for side in (-1, 1):
        blood += 0.26 * bump(x, y, xy(0.15 * side, 0.6), 0.07, 0.06)
        tone -= 0.10 * (0.6 + person.age) * bump(x, y, xy(0.115 * side, 0.49), 0.06, 0.03)
    if person.freckles:
        spots = np.clip(noise(rng, pixels, pixels // 3) - 1.35, 0, 0.8) * person.freckles
        tone *= 1 - 0.6 * spots * np.clip(1.5 * bump(x, y, xy(0, 0.56), 0.24, 0.13), 0, 1)
    return np.asarray(person.skin * tone * (1 + blood * tint(0.35, -0.45, -0.35)), np.float32)


def _strands(person: Person, rng: np.random.Generator, pixels: int) -> Floats:
    """Return the brightness of hair, about 0.2 to 1.9, combed from the crown, combed down the sides, or curled."""
    x, y = grid(pixels)
    waves = noise(rng, pixels, 10)
    contrast = np.float32(0.18 if person.style == "curly" else 0.25)
    across, along = 11 * noise(rng, pixels, 14, 30, 44), 12 * y
    if person.style == "long":
        arch = np.hypot(1.1 * (x - person.parting), np.minimum(y - 0.5, 0), dtype=np.float32)
        across = 240 * arch + 1.5 * waves + 90 * (x > person.parting).astype(np.float32)
        along = (7 * y + 4.2 * np.abs(x)).astype(np.float32)
    elif person.style != "curly":
        angle = np.arctan2(x - person.parting, 0.22 + np.abs(y - 0.1), dtype=np.float32)
        across = 170 * angle + 5 * waves
        along = 12 * np.hypot(x - person.parting, y - 0.1, dtype=np.float32)
    table = rng.standard_normal((64, 512), np.float32)
    table += 4.5 * cv2.GaussianBlur(table, (0, 0), 2)
    at = (np.asarray(across + 256, np.float32), np.asarray(along + 20 + 0 * across, np.float32))
    strands = 1 + contrast * cv2.remap(table, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    if person.style == "long":
        strands *= 1 - 0.6 * bump(x, y, xy(person.parting, 0.1), 0.007, 0.2)
    return np.clip(strands, 0.2, 1.9)


def _brows(face: Canvas, person: Person, points: Floats, rng: np.random.Generator) -> None:
    colour = person.hair * np.float32(0.5) + np.float32(0.002)
    thick = 0.010 + 0.010 * person.masculine + 0.003 * person.bones[14]
    for row in (points[17:22], points[26:21:-1]):  # from the temple to the nose
        spine = curve(row)
        share = np.linspace(0, 1, len(spine), dtype=np.float32)[:, None]
        taper = thick * (0.25 + 0.75 * np.sin(np.pi * (0.12 + 0.72 * share)))
        face.paint(ribbon(spine - taper / 2 * xy(0, 1), taper), colour, 0.6, 0.0035)
        i = rng.integers(0, len(spine), 46)
        roots = spine[i] + taper[i] * rng.uniform(-0.5, 0.5, (46, 1)) * (0, 1)
        outward = np.sign(row[0, 0]) * rng.uniform(0.008, 0.018, 46)
        tips = roots + np.stack([outward, 0.002 - 0.014 * share[i, 0] + rng.normal(0, 0.002, 46)], 1)
        face.paint(np.stack([roots, tips], 1), colour, 0.6, width=1)


def _eyes(face: Canvas, person: Person, shot: Shot, points: Floats, rng: np.random.Generator) -> None:
    dark = person.hair * np.float32(0.1) + linear(24, 15, 13)
    shade = person.skin * tint(0.62, 0.50, 0.46)
    crease = xy(0, -0.020 - 0.004 * person.bones[15])
    for rim in (points[36:42], points[[45, 44, 43, 42, 47, 46]]):  # outer corner, top, inner corner, bottom
        outer, inner = rim[0], rim[3]
        outward = np.sign(outer[0])
        lid, under = curve(rim[:4]), curve(rim[[0, 5, 4, 3]])
        face.paint(ribbon(lid, crease[1]), shade, 0.55 - 0.25 * person.masculine, 0.006)
        face.paint(lid + crease, shade * np.float32(0.6), 0.55, 0.002, width=1)
        face.paint(under + xy(0, 0.017), shade, 0.25 + 0.4 * person.age, 0.003, width=1)
        within = face.mask(np.concatenate([lid, under[::-1]]))
        face.lay(within, linear(190, 180, 174))
        face.paint(ellipse(inner, 0.012, 0.010), linear(190, 120, 110), 0.8, 0.003, within=within)
        centre = rim[[1, 2, 4, 5]].mean(0) + shot.gaze + xy(-0.002 * outward, -0.001)
        face.paint(ellipse(centre, 0.0240, 0.0240), person.iris * np.float32(0.2), 0.95, 0.001, within=within)
        face.paint(ellipse(centre, 0.0195, 0.0195), person.iris, 1, 0.002, within=within)
        across = centre + xy(-0.009 * shot.light[0], 0.008)  # the lamp's light gathers on the iris's far side
        face.paint(ellipse(across, 0.012, 0.007), person.iris * np.float32(1.6), 0.6, 0.003, within=within)
        face.paint(ellipse(centre, 0.0090, 0.0090), linear(9, 7, 7), 1, 0.001, within=within)
        face.paint(lid + xy(0, 0.004), linear(40, 26, 24), 0.55, 0.004, width=3, within=within)
        face.paint(lid, dark, 0.9, 0.001, width=2)
        face.paint(under, shade * np.float32(0.5), 0.55, 0.0015, width=1)
        roots = lid[rng.integers(0, int(0.85 * len(lid)), 10 + int(14 * (1 - person.masculine)))]
        sweep = np.clip((roots[:, 0] - inner[0]) / (outer[0] - inner[0]), 0, 1)
        lashes = np.stack([outward * 0.014 * sweep, -rng.uniform(0.006, 0.013, len(roots))], 1)
        face.paint(np.stack([roots, roots + lashes], 1), dark, 0.55, width=1)


def _nose(face: Canvas, person: Person, points: Floats) -> None:
    shade = person.skin * tint(0.55, 0.42, 0.40)
    for side, wing in ((-1, points[31]), (1, points[35])):
        face.paint(ellipse(wing * xy(0.52, 1), 0.016, 0.007), person.skin * tint(0.15, 0.09, 0.08), 0.85, 0.003)
        rim = [wing + xy(dx * side, dy) for dx, dy in ((0.004, -0.030), (0.012, -0.012), (0.002, 0.006))]
        face.paint(curve(rim), shade, 0.5, 0.003, width=2)
    face.paint(curve(points[31:36] + xy(0, 0.004)), shade, 0.4, 0.004, width=2)


def _mouth(face: Canvas, person: Person, points: Floats, rng: np.random.Generator) -> None:
    above, below = curve(points[48:55]), curve(points[[48, 59, 58, 57, 56, 55, 54]])
    over, under = curve(points[60:65]), curve(points[[60, 67, 66, 65, 64]])  # the inner lips
    grooves = cv2.resize(rng.standard_normal((24, 110), np.float32), (face.pixels, face.pixels))
    colour = person.lips * (1 + np.float32(0.10) * grooves)
    face.paint(np.concatenate([above, over[::-1]]), colour * np.float32(0.78), 0.9, 0.0025)
    face.paint(np.concatenate([under, below[::-1]]), colour, 0.9, 0.003)
    face.paint(points[[56, 57, 58]] + xy(0, 0.008), person.skin * np.float32(0.5), 0.35, 0.006, width=2)
    top, bottom = points[62, 1], points[66, 1]
    if bottom - top < 0.007:
        face.paint(over, person.lips * np.float32(0.14), 0.85, 0.0015, width=2)
        return
    gap = face.mask(np.concatenate([over, under[::-1]]))
    face.lay(gap, linear(52, 18, 18))
    tongue = ellipse(xy(0, bottom + 0.006), 0.05, 0.4 * (bottom - top))
    face.paint(tongue, linear(150, 70, 72), 0.8, 0.006, within=gap)
    bite = top + min(0.034, 0.9 * (bottom - top))
    edge = curve([(0.075, bite - 0.008), (0.03, bite), (-0.03, bite), (-0.075, bite - 0.008)])
    face.paint(np.concatenate([over - xy(0, 0.004), edge]), linear(198, 189, 174), 0.95, 0.0015, within=gap)
    seams = np.array([[(0.0165 * k, top - 0.01), (0.0165 * k, bite)] for k in range(-4, 5)], np.float32)
    face.paint(seams, linear(140, 118, 108), 0.35, width=1, within=gap)
    for side in (-1, 1):
        face.paint(ellipse(xy(0.085 * side, top), 0.03, 0.03), linear(40, 14, 14), 0.7, 0.01, within=gap)
    face.paint(over, linear(60, 20, 20), 0.5, 0.002, width=2, within=gap)


def _beard(face: Canvas, person: Person, points: Floats, strands: Floats, rng: np.random.Generator) -> None:
    if person.masculine < 0.5:
        return
    lift = xy(0, -0.012)
    outlines = {
        "full": (np.concatenate([points[2:15], points[[54, 53, 52, 50, 49, 48]] + lift]), 0.016),
        "moustache": (np.concatenate([points[48:55], points[[54, 51, 48]] - xy(0, 0.034)]), 0.006),
        "goatee": (np.concatenate([points[6:11], points[[54]], points[[57]] + xy(0, 0.014), points[[48]]]), 0.012),
    }
    parts = {"moustache": ["moustache"], "goatee": ["moustache", "goatee"]}.get(person.beard, ["full", "moustache"])
    area = np.max([face.mask(curve(outlines[part][0], True), outlines[part][1]) for part in parts], axis=0)
    area *= 1 - face.mask(curve(points[48:60], True), 0.004)
    opacity = {"none": 0.10, "stubble": 0.38}.get(person.beard, 0.9)
    if opacity > 0.5:
        area = np.clip(area * 1.6 - 0.25 + 0.25 * (strands - 1), 0, 1)
    bristles = np.clip(1 + 0.45 * noise(rng, face.pixels, face.pixels), 0, 1.7)
    colour = (person.hair * np.float32(0.8) + np.float32(0.003)) * (0.5 + 0.5 * strands)
    face.lay(np.clip(area * opacity * bristles, 0, 0.95), colour)


def _hair_outlines(person: Person, points: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the outline of the hair, and of the opening in it that shows the face."""
    volume = rng.uniform(0.5, 1)
    lift = {"short": 0.035, "swept": 0.055, "long": 0.045, "fringe": 0.05, "curly": 0.10, "tied": 0.020}
    reach = {"long": 1.15, "fringe": rng.choice([0.84, 1.15]), "curly": rng.choice([0.72, 0.95])}.get(person.style, 0.5)
    cap = _head_outline(points, lift.get(person.style, 0.006) * volume)
    cap = cap[cap[:, 1] < (0.46 if reach < 0.6 else 0.3)]
    cap = cap[
        np.argsort(np.arctan2(cap[:, 0], 0.5 - cap[:, 1]))
    ]  # from the left of the image over the top to the right
    side = float(cap[-1, 0])
    line = points[68:81] + xy(0, -0.008) + rng.normal(0, 0.003, (13, 2)) * (0, 1)
    if reach > 0.6:  # the hair covers the ears
        wide = max(side, 0.315) * (1 + 0.2 * volume)
        falls = [
            (wide * out, 0.46 + down * (reach - 0.46)) for out, down in ((0.93, 0.1), (1, 0.4), (1.02, 0.8), (0.95, 1))
        ]
        fall = curve([cap[-1], *falls, (0.8 * wide, reach + 0.02)])[6:]
        inset = {"long": 0.90, "fringe": 0.90}.get(person.style, 0.97)
        cheeks = [(line[-1, 0] * inset, 0.6), (line[-1, 0] * inset * 0.97, 0.8), (0.2, 1.2)]
    else:
        line[[3, 4, 8, 9], 1] -= 0.010 + 0.025 * person.age * person.masculine  # the hairline recedes at the temples
        fall, inset = np.array([(side - 0.006, 0.50)], np.float32), 1.0
        cheeks = [(points[16, 0] * 0.985, 0.45), (points[16, 0] * 0.97, 0.54), (0.5, 0.58), (0.5, 1.2)]
    if person.style == "fringe":
        line[:, 1] = np.maximum(line[:, 1], 0.36 + 0.3 * line[:, 0] ** 2)
    elif person.style in ("long", "swept"):
        line[:, 1] += 0.22 * np.abs(line[:, 0] - person.parting) - 0.035
    right = np.array(cheeks, np.float32)
    opening = np.concatenate([line * xy(inset, 1), right, right[::-1] * xy(-1, 1)])
    return np.concatenate([fall[::-1] * xy(-1, 1), cap, fall]), curve(opening, True, 4)


def _hair(
    canvas: Canvas, person: Person, points: Floats, strands: Floats, shot: Shot, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Return the colour of the lit hair, its coverage in front of the head, and its coverage behind the head."""
    n = canvas.pixels
    outer, opening = _hair_outlines(person, points, rng)
    loose = person.style in ("short", "swept", "curly")
    ragged: Floats = np.float32(0.5 if loose else 0.28) * (strands - 1)
    if person.style == "curly":
        ragged = ragged + np.float32(0.25) * noise(rng, n, 26)
    whole, shown = canvas.mask(outer, 0.010 if loose else 0.004), canvas.mask(opening, 0.010)
    whole = np.clip((whole + ragged - 0.35) * 3, 0, 1) * (whole > 0.02)
    front = whole * np.clip((0.75 - shown + 0.8 * ragged) * 1.8, 0, 1) * (shown < 0.98)
    if person.style == "buzz":
        front = front * np.clip(0.5 + 0.22 * noise(rng, n, n), 0, 1)
    if person.style == "bald":  # at most a ring of hair remains
        front = front * np.clip((grid(n)[1] - 0.28) / 0.1, 0, 1) * np.float32(0.6 * (person.age > 0.3))
    x, y = grid(RELIEF)
    half = float(np.abs(outer[:, 0]).max()) + 0.02
    height = 0.3 * np.sqrt(np.clip(1 - (x / half) ** 2 - (np.minimum(y - 0.55, 0) / 0.62) ** 2, 0.02, 1))
    height += 0.010 * cv2.resize(cv2.GaussianBlur(strands, (0, 0), 0.008 * n), (RELIEF, RELIEF))
    lit, shine = _light(height, shot, n)
    colour = person.hair * (0.25 + 0.75 * strands) * lit
    colour += shot.key * (0.5 + person.hair) * (np.float32(0.06) * shine * strands * strands)
    return colour, front, whole


def _trunk(canvas: Canvas, person: Person, shot: Shot, points: Floats, skin: Floats, rng: np.random.Generator) -> None:
    """Paint the neck, the clothes and the ears, which are behind the head."""
    n = canvas.pixels
    x, y = grid(RELIEF)
    half, ear = 0.125 + 0.04 * person.masculine, float(points[16, 0]) + 0.012
    height = 0.16 * np.sqrt(np.clip(1 - (x / (half + 0.02)) ** 2, 0, 1)) * np.clip((y - 0.7) / 0.1, 0, 1)
    height = np.maximum(height, 0.10 * np.clip(1 - (x / 0.8) ** 2, 0, 1) * np.clip((y - 0.93) / 0.1, 0, 1))
    for side in (-1, 1):
        height += 0.05 * bump(x, y, xy(ear * side, 0.52), 0.032, 0.07)
        height -= 0.04 * bump(x, y, xy(ear * side, 0.515), 0.016, 0.045)
    lit, _ = _light(cv2.GaussianBlur(height, (0, 0), 1.2), shot, n)
    skin = skin * lit
    dusk = person.skin * tint(0.34, 0.24, 0.21) * shot.fill  # the colour of skin that receives hardly any light
    neck = [(half, 0.7), (half, 0.92), (0.55, 1.06), (0.6, 1.3)]
    canvas.paint(curve([(-a, b) for a, b in neck] + neck[::-1], True), skin)
    chin = points[2:15] + xy(-0.05 * shot.light[0], 0.055)
    canvas.paint(chin, dusk, 0.62, 0.022, within=canvas.layers[3].copy())
    dye = rng.uniform(10, 235) + rng.uniform(-60, 60, 3)
    weave = 1 + 0.12 * noise(rng, n, 8, n // 2)
    drop = rng.uniform(0.99, 1.10)
    collar = [(0.07, drop - 0.015), (half + 0.02, 0.945), (0.36, 0.985), (0.60, 1.05), (0.62, 1.3)]
    edge = curve([(-a, b) for a, b in collar[::-1]] + [(0, drop)] + collar)
    cloth = linear(*np.clip(dye, 8, 245)) * weave * lit
    canvas.paint(edge, cloth)
    canvas.paint(edge[12:-12], cloth * np.float32(0.5), 0.7, 0.003, width=3)
    for side in (-1, 1):
        to = xy(side * ear, 1)
        rim = np.array([(0.95, 0.435), (1.06, 0.43), (1.14, 0.47), (1.10, 0.55), (1.01, 0.615), (0.93, 0.60)]) * to
        canvas.paint(curve(rim, True), skin * tint(1, 0.93, 0.92))
        bowl = np.array([(1.01, 0.46), (1.08, 0.465), (1.07, 0.52), (1.01, 0.56)]) * to
        canvas.paint(curve(bowl, True), dusk, 0.5, 0.006)


def _glints(canvas: Canvas, shot: Shot, points: Floats) -> None:
    for rim in (points[36:42], points[42:48]):
        if rim[4:, 1].mean() - rim[1:3, 1].mean() > 0.014:
            at = rim[[1, 2, 4, 5]].mean(0) + shot.gaze + 0.010 * shot.light[:2]
            canvas.paint(ellipse(at, 0.0036, 0.0036), shot.key, 0.85, 0.001)


def _glasses(canvas: Canvas, person: Person, shot: Shot, points: Floats) -> None:
    if not person.glasses:
        return
    rng = np.random.default_rng([person.texture_seed, 2])
    frame = linear(*((20, 18, 18), (78, 44, 26), (150, 126, 92))[person.glasses - 1]) * (shot.key * 0.6 + shot.fill)
    thin = 2 if person.glasses == 3 else 3
    tall, power = rng.uniform(0.055, 0.07), rng.uniform(2, 4.5)
    lines = [curve([(-0.03, 0.462), (0, 0.452), (0.03, 0.462)])]
    for side, eye in ((-1, points[36:42].mean(0)), (1, points[42:48].mean(0))):
        lens = ellipse(eye + xy(0.005 * side, 0.008), 0.092, tall, power)
        canvas.paint(lens, shot.key, 0.025)
        canvas.paint(lens[19:26], shot.key, 0.10, 0.004)
        hinge = eye + xy(0.096 * side, -0.02)
        lines += [lens, np.stack([hinge, xy(points[16, 0] * 1.02 * side, hinge[1] - 0.005)])]
    for line in lines:
        canvas.paint(line - xy(0.014 * shot.light[0], -0.016), np.zeros_like(frame), 0.25, 0.004, width=thin)
    for line in lines:
        canvas.paint(line, frame, 0.95, 0.0008, width=thin)


def _background(rng: np.random.Generator, shot: Shot, pixels: int) -> Floats:
    """Return a wall, a room, foliage or lights at night, out of focus."""
    n = pixels // 4
    tones = [linear(*np.clip(rng.uniform(25, 220) + rng.uniform(-45, 45, 3), 5, 250)) for _ in range(4)]
    angle = rng.uniform(0, 2 * np.pi)
    x, y = grid(n)
    slope = np.clip(0.5 + 0.8 * (x * float(np.cos(angle)) + (y - 0.5) * float(np.sin(angle))), 0, 1)
    scene = tones[0] * (1 - slope) + tones[1] * slope
    kind = rng.integers(4)
    if kind == 1:  # a room with vertical and horizontal edges
        for k in range(6):
            left, top, wide, tall = *rng.integers(0, n, 2), *rng.integers(n // 8, n // 2, 2)
            scene[:, top : top + tall, left : left + wide] = tones[k % 4] * np.float32(rng.uniform(0.5, 1.4))
    elif kind == 2:
        scene *= np.clip(0.5 + 0.42 * noise(rng, n, 14, 30), 0.1, 2) * tint(0.8, 1.1, 0.6)
    elif kind == 3:
        scene *= np.float32(0.3)
        for k in range(12):
            lamp = bump(x, y, rng.uniform((-0.6, -0.1), (0.6, 1.1)), *[rng.uniform(0.02, 0.07)] * 2)
            scene += np.clip(3 * lamp, 0, 1) * tones[k % 4] * np.float32(rng.uniform(0.6, 1.6))
    scene *= 1 + np.float32(0.05) * noise(rng, n, 5)
    blurred = cv2.GaussianBlur(cv2.merge(list(scene)), (0, 0), n * rng.uniform(0.008, 0.03))
    full = cv2.resize(blurred, (pixels, pixels), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)
    return np.asarray(np.clip(full, 0, None) * (np.float32(0.5) * shot.key + shot.fill), np.float32)


def _portrait(person: Person, shot: Shot, pixels: int, rng: np.random.Generator) -> tuple[Floats, Landmarks]:
    """Return the scene in front of the camera, shape (pixels, pixels, 3), and the landmarks in pixels."""
    small = pixels // 4  # enough for everything that changes slowly
    points = _shape(person, shot)
    texture = np.random.default_rng(person.texture_seed)  # hair, pores and freckles stay the same in all pictures
    skin = _skin(person, points, texture, pixels)
    strands = _strands(person, texture, pixels)
    face = Canvas(pixels)
    face.layers[:3] = skin
    _beard(face, person, points, strands, texture)
    _nose(face, person, points)
    _mouth(face, person, points, texture)
    _brows(face, person, points, texture)
    _eyes(face, person, shot, points, texture)
    lit, shine = _light(_face_height(points, person, shot), shot, pixels)
    oil = np.clip(0.05 + 0.025 * noise(texture, pixels, pixels // 2), 0, 0.15)

    canvas = Canvas(pixels)
    hair, front, whole = _hair(canvas, person, points, strands, shot, np.random.default_rng([person.texture_seed, 1]))
    if person.style in ("long", "fringe", "curly"):
        canvas.lay(whole, hair * np.float32(0.5))
    _trunk(canvas, person, shot, points, skin, rng)
    drop = np.array([[1, 0, -0.03 * small * shot.light[0]], [0, 1, 0.02 * small]])
    under = cv2.warpAffine(cv2.resize(front, (small, small), interpolation=cv2.INTER_AREA), drop, (small, small))
    under = cv2.resize(cv2.GaussianBlur(under, (0, 0), 0.012 * small), (pixels, pixels))
    head = (face.layers[:3] * lit + shot.key * (shine * oil)) * (1 - 0.5 * under)
    canvas.paint(_head_outline(points), head, 1, 0.002)
    _glints(canvas, shot, points)
    canvas.lay(front, hair)
    _glasses(canvas, person, shot, points)

    there = np.stack(np.broadcast_arrays(*grid(small)), -1)
    source = there
    for _ in range(6):  # `_turn` maps frontal to turned points; drawing needs the inverse
        source = there - _turn(source, shot)
    back = cv2.resize(source - there, (pixels, pixels)) * np.float32(canvas.scale)
    steps = np.arange(pixels, dtype=np.float32)
    turned = cv2.remap(
        cv2.merge(list(canvas.layers)), back[..., 0] + steps, back[..., 1] + steps[:, None], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    scene = turned[..., :3] + (1 - turned[..., 3:]) * _background(rng, shot, pixels).transpose(1, 2, 0)
    return np.asarray(scene, np.float32), canvas.to_pixels(points + _turn(points, shot))


def _photograph(
    scene: Floats, landmarks: Landmarks, shot: Shot, size: int, rng: np.random.Generator
) -> tuple[Pixels, Landmarks]:
    """Blur the scene, adapt the exposure partly to the brightness of the face, align it, and add grain."""
    scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), shot.defocus * size / 128), np.float32)
    left, top, wide, tall = cv2.boundingRect(landmarks[:48])
    metered = float(scene[top : top + tall, left : left + wide].mean())
    scene = scene * np.float32(1.2 * (0.3 / metered) ** 0.4 * 2**shot.exposure)
    developed = np.sqrt(scene * (1 + scene / 6) / (1 + 0.55 * scene))
    image, landmarks = alignment.align(np.clip(255 * developed, 0, 255).astype(np.uint8), landmarks, size)
    grain = rng.standard_normal((size, size, 3), np.float32) * np.array((0.7, 0.6, 0.8), np.float32)
    grain += rng.standard_normal((size, size, 1), np.float32)
    grain *= np.float32(255 * shot.grain) * (0.55 + 0.45 * np.sqrt(image / np.float32(255)))
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8), landmarks


def draw_person(identity: int, pictures: int = 6, size: int = 128, seed: int = 0) -> list[Face]:
    """Draw the aligned pictures of one identity, shape (size, size, 3).

    A picture depends only on the seed, the number of the identity and the number of the picture.
    """
    name = f"sample_{identity:04d}"
    person = _person(np.random.default_rng([seed, identity, 0]))
    records = []
    for picture in range(pictures):
        rng = np.random.default_rng([seed, identity, picture + 1])
        shot = _shot(rng)
        scene, landmarks = _portrait(person, shot, 2 * size, rng)
        image, landmarks = _photograph(scene, landmarks, shot, size, rng)
        records.append(
            Face(
                image=image,
                label="bona_fide",
                category="bona_fide",
                identities=(name,),
                source="sample",
                source_path=f"sample/{name}/{picture:02d}.png",
                source_sha256=hashlib.sha256(image.tobytes()).hexdigest(),
                landmarks=landmarks,
            )
        )
    return records


def draw_sample(identities: int = 120, pictures: int = 6, size: int = 128, seed: int = 0) -> Iterator[Face]:
    """Yield aligned bona fide portraits, identity by identity; see `draw_person`."""
    for identity in range(identities):
        yield from draw_person(identity, pictures, size, seed)
