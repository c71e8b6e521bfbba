"""Face reenactment: the target's expression or pose is moved towards a driver's by warping the target's own pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.face.landmarks import CONTOUR, EYES, INNER_LIPS, LEFT_BROW, MIRRORED, OUTER_LIPS, RIGHT_BROW
from dfa_instruct.records import Face, Forgery, Landmarks, Pixels
from dfa_instruct.techniques.warping import blend, border, held, piecewise_affine, polygon_mask, usable, yaw
from dfa_instruct.vocabulary import Category

LEAST_MOVE, MOST_MOVE = 0.03, 0.06
"""How far, as a share of the square's side, the landmark that moves most must and may move."""
MOST_EXAGGERATION = 3.0
"""How many times a small difference may be enlarged to be seen."""
LEAST_TURN, MOST_TURN = np.radians((4, 11))
"""By how many radians a head must and may turn."""
MOST_YAW_OF_TURN = 0.6
"""Of `yaw`, before and after: beyond it one side of the face is too narrow to be spread."""
YAW_OF_TURN = 1.35
"""`yaw` of a head that is turned by a right angle, were nothing hidden; by the depth of nose and ears."""
_DEPTH_OF_RIGHT_HALF = {
    range(9): [0, -8, -10, 1, 16, 32, 56, 75, 77],
    range(17, 22): [78, 91, 102, 111, 115],
    range(27, 31): [113, 127, 144, 147],
    range(31, 34): [106, 116, 118],
    range(36, 42): [78, 88, 91, 86, 89, 86],
    (48, 49, 50, 51, 57, 58, 59): [81, 108, 114, 115, 105, 104, 99],
    (60, 61, 62, 66, 67): [84, 101, 106, 103, 98],
    range(68, 75): [17, 38, 58, 78, 96, 106, 109],
}
DEPTH = np.zeros(81)
"""Of each landmark before the ears, in distances between the eyes: the mean of FaceLandmarker's over frontal faces."""
for _indices, _hundredths in _DEPTH_OF_RIGHT_HALF.items():
    DEPTH[list(_indices)] = DEPTH[MIRRORED[list(_indices)]] = np.array(_hundredths) / 100


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression without the bones beneath it: widths in distances between the eyes, heights in lengths of the nose.

    Both shrink alike with the pose, so that turned and frontal faces compare.
    """

    mouth_opening: float
    mouth_width: float
    smile: float
    eye_opening: float
    brow_height: float

    @classmethod
    def of(cls, landmarks: Landmarks) -> Expression:
        """Measure 81 landmarks."""
        p = Frame(landmarks).inside(landmarks)
        eyes = p[[37, 38, 43, 44], 1], p[[41, 40, 47, 46], 1]
        brows = np.concatenate([p[RIGHT_BROW, 1], p[LEFT_BROW, 1]])
        return cls(
            mouth_opening=float((p[65:68, 1] - p[61:64, 1]).mean()),
            mouth_width=float(p[54, 0] - p[48, 0]),
            smile=float(p[[51, 57], 1].mean() - p[[48, 54], 1].mean()),
            eye_opening=float((eyes[1] - eyes[0]).mean()),
            brow_height=float(-brows.mean()),
        )


class Frame:
    """A face's own axes: origin between the eyes, x along them in eye distances, y down in lengths of the nose."""

    def __init__(self, landmarks: Landmarks) -> None:
        right, left = landmarks[[36, 39]].mean(0), landmarks[[42, 45]].mean(0)
        self.origin = (right + left) / 2
        across = left - right
        down = np.array([-across[1], across[0]]) / (np.linalg.norm(across) + 1e-6)
        self.axes = np.stack([across, down * max(float((landmarks[33] - self.origin) @ down), 1.0)])

    def inside(self, points: Landmarks) -> NDArray[np.float64]:
        """Image coordinates → the face's own, shape (n, 2)."""
        return np.linalg.solve(self.axes.T, (points - self.origin).T.astype(np.float64)).T

    def outside(self, vectors: NDArray[np.float64]) -> Landmarks:
        """Displacements in the face's own coordinates → in pixels, shape (n, 2)."""
        return (vectors @ self.axes).astype(np.float32)


def displacement(landmarks: Landmarks, change: Expression) -> Landmarks:
    """How far each landmark moves, in pixels, when the expression changes by `change`; shape (81, 2)."""
    frame = Frame(landmarks)
    p = frame.inside(landmarks)
    move = np.zeros_like(p)
    lips = slice(OUTER_LIPS.start, INNER_LIPS.stop)
    aside = (p[lips, 0] - p[[48, 54], 0].mean()) / (np.ptp(p[lips, 0]) / 2 + 1e-6)
    lower = np.isin(np.arange(48, 68), [55, 56, 57, 58, 59, 65, 66, 67])
    upper = np.isin(np.arange(48, 68), [49, 50, 51, 52, 53, 61, 62, 63])
    arch = np.sqrt((1 - aside**2).clip(0))
    # the jaw does most of the opening; the corners go with it a little
    move[lips, 1] = change.mouth_opening * np.where(lower, 0.72 * arch, np.where(upper, -0.28 * arch, 0.1))
    move[lips, 1] -= change.smile * aside**2
    move[lips, 0] = change.mouth_width / 2 * aside
    move[CONTOUR, 1] = 0.6 * change.mouth_opening * np.sin(np.pi * (np.arange(17) - 2) / 12).clip(0)
    for eye in EYES:
        upper_lid, lower_lid = p[eye][[1, 2], 1], p[eye][[5, 4], 1]
        open_now = (lower_lid - upper_lid).mean() + 1e-6
        move[eye, 1] = change.eye_opening * ((p[eye, 1] - p[eye, 1].mean()) / open_now).clip(-0.7, 0.4)
        move[eye][[0, 3]] = 0
    move[RIGHT_BROW, 1] = move[LEFT_BROW, 1] = -change.brow_height
    return frame.outside(move)


def expression_change(
    target: Landmarks,
    driver: Landmarks,
    side: int,
    rng: np.random.Generator,
    parts: Sequence[str] = tuple(Expression.__slots__),
) -> tuple[Landmarks, dict[str, float]]:
    """Return where the target's landmarks go, shape (81, 2), and what moves them there.

    `parts` are the fields of `Expression` that change.

    Raises:
        ValueError: the driver's expression is so near the target's that even exaggerated it would not be seen.
    """
    now, wanted = Expression.of(target), Expression.of(driver)
    strength = float(rng.uniform(0.9, 1.2))
    difference = {key: (value - asdict(now)[key]) * (key in parts) for key, value in asdict(wanted).items()}
    # much of what brows and lids differ by is the person, not the expression
    difference["brow_height"] *= 0.4
    difference["eye_opening"] *= 0.7

    def moved(factor: float) -> tuple[Landmarks, dict[str, float]]:
        change = {key: factor * value for key, value in difference.items()}
        # nothing closes beyond closed, and no eye opens without end
        change["mouth_opening"] = max(change["mouth_opening"], -now.mouth_opening)
        change["eye_opening"] = min(max(change["eye_opening"], -0.8 * now.eye_opening), 0.5 * now.eye_opening)
        return displacement(target, Expression(**change)), change

    shift, change = moved(strength)
    most = float(np.linalg.norm(shift, axis=1).max()) / side
    if not LEAST_MOVE <= most <= MOST_MOVE:
        strength *= min((LEAST_MOVE if most < LEAST_MOVE else MOST_MOVE) / (most + 1e-9), MOST_EXAGGERATION)
        shift, change = moved(strength)
    if np.linalg.norm(shift, axis=1).max() / side < 0.9 * LEAST_MOVE:
        raise ValueError("the driver has nearly the target's expression: there is nothing to reenact")
    return target + shift, {key: round(value, 4) for key, value in {"strength": strength, **change}.items()}


def open_mouth(image: Pixels, before: Landmarks, after: Landmarks, driver: Face) -> Pixels:
    """Darken what lies between lips that were parted: behind closed lips a picture holds no teeth to show."""
    side = len(image)
    was, now = (float((p[65:68, 1] - p[61:64, 1]).mean()) for p in (before, after))
    if now < 0.012 * side or was > 0.4 * now:
        return image
    mask = polygon_mask(side, after[INNER_LIPS], feather=0.005 * side)
    lips = image[polygon_mask(side, after[OUTER_LIPS]) > 0.5].mean(0)
    # the light falls in from below: the tongue shows a little of the lips' colour
    top, bottom = after[INNER_LIPS, 1].min(), after[INNER_LIPS, 1].max()
    depth = 0.22 + 0.28 * ((np.arange(side) - top) / (bottom - top)).clip(0, 1)
    inside = np.broadcast_to(depth[:, None, None] * lips, image.shape)
    return blend(inside, image, mask)


def drivers_mouth(image: Pixels, before: Landmarks, after: Landmarks, driver: Face) -> Pixels:
    """Show the driver's teeth and tongue between lips that were parted, as bright as the target's lips are lit."""
    side = len(image)
    theirs = usable(driver)[1]
    if any((p[65:68, 1] - p[61:64, 1]).mean() < 0.012 * side for p in (after, theirs)):
        return open_mouth(image, before, after, driver)
    still = border(side)
    lips = slice(OUTER_LIPS.start, INNER_LIPS.stop)
    laid_over = piecewise_affine(
        driver.image, np.concatenate([theirs[lips], still]), np.concatenate([after[lips], still])
    )
    skin = polygon_mask(side, after[OUTER_LIPS]) - polygon_mask(side, after[INNER_LIPS]) > 0.5
    light = (image[skin].mean(0) + 8) / (laid_over[skin].mean(0) + 8)
    mask = polygon_mask(side, after[INNER_LIPS], feather=0.005 * side)
    return blend(laid_over * (light.mean() * 0.5 + light * 0.5).clip(0.4, 1.4), image, mask)


def turn(
    target: Landmarks, driver: Landmarks, side: int, rng: np.random.Generator
) -> tuple[Landmarks, dict[str, float]]:
    """Return where the target's landmarks go, shape (81, 2), when the head turns to where the driver looks.

    The landmarks get the depth of a common head, which turns about the axis between its ears.

    Raises:
        ValueError: the driver looks where the target does, or the turn would hide half of the face.
    """
    wanted = (yaw(driver) - yaw(target)) / YAW_OF_TURN
    angle = float(rng.uniform(0.8, 1.0) * np.arcsin(np.clip(wanted, -np.sin(MOST_TURN), np.sin(MOST_TURN))))
    if abs(angle) < LEAST_TURN:
        raise ValueError("the driver looks where the target does: there is nothing to reenact")
    frame = Frame(target)
    across = frame.axes[0]
    # from the middle between the ears, in distances between the eyes
    x = (target - target[[0, 16]].mean(0)) @ across / (across @ across)
    # a head that is turned already shows its depth
    turned = np.arcsin(np.clip(yaw(target) / YAW_OF_TURN, -0.8, 0.8))
    depth = DEPTH * np.cos(turned)
    shift = x * (np.cos(angle) - 1) + depth * np.sin(angle)
    after = (target + shift[:, None] * across).astype(np.float32)
    if max(abs(yaw(target)), abs(yaw(after))) > MOST_YAW_OF_TURN:
        raise ValueError("the face would be turned too far aside")
    return after, {"degrees": round(float(np.degrees(angle)), 2)}


Move = Callable[[Landmarks, Landmarks, int, np.random.Generator], tuple[Landmarks, dict[str, float]]]


@dataclass(frozen=True, slots=True)
class FaceReenactment:
    """The target's landmarks take the driver's expression or pose, and the picture is taken along.

    `move` says where the landmarks go. `warp` gets the image and where landmarks and held points were and are to be:
    `piecewise_affine` bends at the triangles' sides, `thin_plate` bends everything a little. `fill` shows what was
    behind the lips.
    """

    name: str
    move: Move
    warp: Callable[[Pixels, Landmarks, Landmarks], Pixels]
    fill: Callable[[Pixels, Landmarks, Landmarks, Face], Pixels]
    category: Category = "face_reenactment"

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Drive `target` by `other`; see `Technique`."""
        (image, before), (_, driver) = usable(target), usable(other)
        after, parameters = self.move(before, driver, len(image), rng)
        still = held(before, len(image))
        warped = self.warp(image, np.concatenate([before, still]), np.concatenate([after, still]))
        assert other is not None
        return Forgery(self.fill(warped, before, after, other), after, parameters)


mouth_change: Move = partial(expression_change, parts=("mouth_opening", "mouth_width", "smile"))
"""What `expression_change` does below the nose alone, as to speech."""
