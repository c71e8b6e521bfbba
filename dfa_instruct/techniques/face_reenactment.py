"""Face reenactment: the target's own pixels are warped until it has the driver's expression or pose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.face.landmarks import CONTOUR, EYES, INNER_LIPS, LEFT_BROW, MIRRORED, OUTER_LIPS, RIGHT_BROW
from dfa_instruct.records import Face, Forgery, Landmarks, Pixels
from dfa_instruct.techniques import Technique
from dfa_instruct.techniques.warping import (
    blend,
    border_points,
    fixed_points,
    piecewise_affine,
    polygon_mask,
    thin_plate,
    usable,
    yaw,
)
from dfa_instruct.vocabulary import Category

MIN_MOVE, MAX_MOVE = 0.03, 0.06
"""The smallest and the largest distance that the fastest landmark may move, as a share of the square's side."""
MAX_EXAGGERATION = 3.0
"""The largest factor by which a small difference in expression may be enlarged to become visible."""
MIN_TURN, MAX_TURN = np.radians((4, 11))
"""The smallest and the largest angle in radians by which a head may turn."""
MAX_YAW_OF_TURN = 0.6
"""The largest `yaw` before and after a turn. Beyond it, one side of the face is too narrow to be widened."""
YAW_PER_SINE = 1.35
"""The `yaw` of a head divided by the sine of its angle, which follows from the depths of nose and ears."""
MIN_LIP_GAP = 0.012
"""The smallest gap between the lips of an open mouth, as a share of the square's side."""
LIPS = slice(OUTER_LIPS.start, INNER_LIPS.stop)

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
"""How far each landmark lies in front of the ears, in interocular distances (FaceLandmarker's mean)."""
for _indices, _hundredths in _DEPTH_OF_RIGHT_HALF.items():
    DEPTH[list(_indices)] = DEPTH[MIRRORED[list(_indices)]] = np.array(_hundredths) / 100


@dataclass(frozen=True, slots=True)
class Expression:
    """The parts of an expression, which do not depend on the person's bones.

    Widths are in interocular distances and heights in lengths of the nose. A turned head foreshortens a width and its
    unit alike, so that turned and frontal faces can be compared.
    """

    mouth_opening: float
    mouth_width: float
    smile: float
    eye_opening: float
    brow_height: float

    @classmethod
    def measure(cls, landmarks: Landmarks) -> Self:
        """Measure the expression of landmarks, shape (81, 2)."""
        p, _ = face_coordinates(landmarks)
        upper_lids, lower_lids = p[[37, 38, 43, 44], 1], p[[41, 40, 47, 46], 1]
        brows = np.concatenate([p[RIGHT_BROW, 1], p[LEFT_BROW, 1]])
        return cls(
            mouth_opening=lip_gap(p),
            mouth_width=float(p[54, 0] - p[48, 0]),
            smile=float(p[[51, 57], 1].mean() - p[[48, 54], 1].mean()),
            eye_opening=float((lower_lids - upper_lids).mean()),
            brow_height=float(-brows.mean()),
        )


def face_coordinates(landmarks: Landmarks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Convert landmarks to the face's own coordinates.

    The origin lies between the eyes. x runs along the eyes in interocular distances, and y down the face in lengths of
    the nose.

    Returns:
        The converted landmarks, shape (81, 2), and the two axes in pixels, shape (2, 2).
    """
    right, left = landmarks[[36, 39]].mean(0), landmarks[[42, 45]].mean(0)
    origin, across = (right + left) / 2, left - right
    down = np.array([-across[1], across[0]]) / (np.linalg.norm(across) + 1e-6)
    axes = np.stack([across, down * max(float((landmarks[33] - origin) @ down), 1.0)])
    return np.linalg.solve(axes.T, (landmarks - origin).T.astype(np.float64)).T, axes


def lip_gap(landmarks: NDArray[np.floating]) -> float:
    """Return the mean distance between the inner edges of the lips, in the unit of the landmarks."""
    return float((landmarks[65:68, 1] - landmarks[61:64, 1]).mean())


def displacement(landmarks: Landmarks, change: Expression) -> Landmarks:
    """Return how far each landmark moves when the expression changes by `change`, in pixels, shape (81, 2)."""
    p, axes = face_coordinates(landmarks)
    move = np.zeros_like(p)
    aside = (p[LIPS, 0] - p[[48, 54], 0].mean()) / (np.ptp(p[LIPS, 0]) / 2 + 1e-6)
    lower = np.isin(np.arange(48, 68), [55, 56, 57, 58, 59, 65, 66, 67])
    upper = np.isin(np.arange(48, 68), [49, 50, 51, 52, 53, 61, 62, 63])
    arch = np.sqrt((1 - aside**2).clip(0))
    # The jaw does most of the opening, and the corners of the mouth follow it a little.
    move[LIPS, 1] = change.mouth_opening * np.where(lower, 0.72 * arch, np.where(upper, -0.28 * arch, 0.1))
    move[LIPS, 1] -= change.smile * aside**2
    move[LIPS, 0] = change.mouth_width / 2 * aside
    move[CONTOUR, 1] = 0.6 * change.mouth_opening * np.sin(np.pi * (np.arange(17) - 2) / 12).clip(0)
    for eye in EYES:
        upper_lid, lower_lid = p[eye][[1, 2], 1], p[eye][[5, 4], 1]
        opening = (lower_lid - upper_lid).mean() + 1e-6
        move[eye, 1] = change.eye_opening * ((p[eye, 1] - p[eye, 1].mean()) / opening).clip(-0.7, 0.4)
        move[eye][[0, 3]] = 0
    move[RIGHT_BROW, 1] = move[LEFT_BROW, 1] = -change.brow_height
    return (move @ axes).astype(np.float32)


Move = Callable[[Landmarks, Landmarks, int, np.random.Generator], tuple[Landmarks, dict[str, float]]]
"""A function of the target's and the driver's landmarks, shape (81, 2), the square's side in pixels and the random
generator. It returns the target's new landmarks and the parameters of the forgery."""


def expression_change(
    target: Landmarks,
    driver: Landmarks,
    side: int,
    rng: np.random.Generator,
    parts: Sequence[str] = tuple(Expression.__slots__),
) -> tuple[Landmarks, dict[str, float]]:
    """Move the target's landmarks to the driver's expression, see `Move`.

    Only the fields of `Expression` that are in `parts` change.

    Raises:
        ValueError: The expressions are so similar that even an exaggerated change would not be seen.
    """
    now, wanted = Expression.measure(target), Expression.measure(driver)
    strength = float(rng.uniform(0.9, 1.2))
    difference = {key: (value - asdict(now)[key]) * (key in parts) for key, value in asdict(wanted).items()}
    # Much of the difference in brows and lids comes from the person, not from the expression.
    difference["brow_height"] *= 0.4
    difference["eye_opening"] *= 0.7

    def scaled(factor: float) -> tuple[Landmarks, dict[str, float]]:
        change = {key: factor * value for key, value in difference.items()}
        # Closed lips and lids cannot close further, and eyes open by no more than a half.
        change["mouth_opening"] = max(change["mouth_opening"], -now.mouth_opening)
        change["eye_opening"] = min(max(change["eye_opening"], -0.8 * now.eye_opening), 0.5 * now.eye_opening)
        return displacement(target, Expression(**change)), change

    shift, change = scaled(strength)
    largest = float(np.linalg.norm(shift, axis=1).max()) / side
    if not MIN_MOVE <= largest <= MAX_MOVE:
        strength *= min((MIN_MOVE if largest < MIN_MOVE else MAX_MOVE) / (largest + 1e-9), MAX_EXAGGERATION)
        shift, change = scaled(strength)
    if np.linalg.norm(shift, axis=1).max() / side < 0.9 * MIN_MOVE:
        raise ValueError("the driver has nearly the target's expression: there is nothing to reenact")
    return target + shift, {key: round(value, 4) for key, value in {"strength": strength, **change}.items()}


mouth_change: Move = partial(expression_change, parts=("mouth_opening", "mouth_width", "smile"))
"""An `expression_change` of the mouth only, as in speech."""


def turn(
    target: Landmarks, driver: Landmarks, side: int, rng: np.random.Generator
) -> tuple[Landmarks, dict[str, float]]:
    """Turn the target's head to where the driver looks, see `Move`.

    The landmarks have the depth of a common head, which turns about the axis between its ears.

    Raises:
        ValueError: Both look in the same direction, or the turn would hide half of the face.
    """
    sine = (yaw(driver) - yaw(target)) / YAW_PER_SINE
    angle = float(rng.uniform(0.8, 1.0) * np.arcsin(np.clip(sine, -np.sin(MAX_TURN), np.sin(MAX_TURN))))
    if abs(angle) < MIN_TURN:
        raise ValueError("the driver and the target look in the same direction: there is nothing to reenact")
    across = face_coordinates(target)[1][0]
    # x is measured from the middle between the ears, in interocular distances.
    x = (target - target[[0, 16]].mean(0)) @ across / (across @ across)
    # The picture of a head that is already turned shows less of the depth.
    depth = DEPTH * np.cos(np.arcsin(np.clip(yaw(target) / YAW_PER_SINE, -0.8, 0.8)))
    shift = x * (np.cos(angle) - 1) + depth * np.sin(angle)
    after = (target + shift[:, None] * across).astype(np.float32)
    if max(abs(yaw(target)), abs(yaw(after))) > MAX_YAW_OF_TURN:
        raise ValueError("the face would be turned too far aside")
    return after, {"degrees": round(float(np.degrees(angle)), 2)}


def open_mouth(image: Pixels, before: Landmarks, after: Landmarks, driver: Face) -> Pixels:
    """Darken the inside of a mouth that has opened, because a picture of closed lips has no teeth to show."""
    side = len(image)
    gap_before, gap = lip_gap(before), lip_gap(after)
    if gap < MIN_LIP_GAP * side or gap_before > 0.4 * gap:
        return image
    mask = polygon_mask(side, after[INNER_LIPS], feather=0.005 * side)
    lip_colour = image[polygon_mask(side, after[OUTER_LIPS]) > 0.5].mean(0)
    # The light comes from the front and reaches the tongue below, which has the colour of the lips.
    top, bottom = after[INNER_LIPS, 1].min(), after[INNER_LIPS, 1].max()
    brightness = 0.22 + 0.28 * ((np.arange(side) - top) / (bottom - top)).clip(0, 1)
    inside = np.broadcast_to(brightness[:, None, None] * lip_colour, image.shape)
    return blend(inside, image, mask)


def drivers_mouth(image: Pixels, before: Landmarks, after: Landmarks, driver: Face) -> Pixels:
    """Show the driver's teeth and tongue in a mouth that has opened, adapted to the light on the target's lips.

    If the driver's lips are closed, `open_mouth` darkens the mouth instead.
    """
    side = len(image)
    driver_points = usable(driver)[1]
    if min(lip_gap(after), lip_gap(driver_points)) < MIN_LIP_GAP * side:
        return open_mouth(image, before, after, driver)
    mouth = piecewise_affine(driver.image, driver_points[LIPS], after[LIPS], border_points(side))
    lips = polygon_mask(side, after[OUTER_LIPS]) - polygon_mask(side, after[INNER_LIPS]) > 0.5
    light = (image[lips].mean(0) + 8) / (mouth[lips].mean(0) + 8)
    mask = polygon_mask(side, after[INNER_LIPS], feather=0.005 * side)
    return blend(mouth * (light.mean() * 0.5 + light * 0.5).clip(0.4, 1.4), image, mask)


@dataclass(frozen=True, slots=True)
class FaceReenactment:
    """A technique that moves the target's landmarks to the driver's expression or pose and warps the picture with them.

    Args:
        name: The technique's name.
        move: A function that returns the new landmarks.
        warp: A function of the image, the landmarks before and after, and points that stay. `piecewise_affine` bends
            the picture at the triangles' edges, `thin_plate` bends it everywhere.
        fill: A function of the warped image, the landmarks before and after, and the driver. It paints what becomes
            visible between the lips.
    """

    name: str
    move: Move
    warp: Callable[[Pixels, Landmarks, Landmarks, Landmarks], Pixels]
    fill: Callable[[Pixels, Landmarks, Landmarks, Face], Pixels]
    category: Category = "face_reenactment"

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Give `target` the expression or pose of the driver, `other`, see `Technique`."""
        (image, before), (_, driver) = usable(target), usable(other)
        after, parameters = self.move(before, driver, len(image), rng)
        warped = self.warp(image, before, after, fixed_points(before, len(image)))
        assert other is not None
        return Forgery(self.fill(warped, before, after, other), after, parameters)


TECHNIQUES: Final[tuple[Technique, ...]] = (
    FaceReenactment("triangulated_reenactment", expression_change, piecewise_affine, open_mouth),
    FaceReenactment("thin_plate_reenactment", expression_change, thin_plate, open_mouth),
    FaceReenactment("mouth_reenactment", mouth_change, piecewise_affine, drivers_mouth),
    FaceReenactment("head_turn", turn, piecewise_affine, open_mouth),
)
