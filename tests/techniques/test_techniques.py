"""What each technique changes in a face, and what it leaves unchanged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dfa_instruct.face.alignment import align
from dfa_instruct.face.detection import FaceDetector
from dfa_instruct.face.landmarks import MIRRORED
from dfa_instruct.records import Face, Forgery
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.techniques import Technique
from dfa_instruct.techniques.entire_face_synthesis import MAX_RESEMBLANCE, Eigenfaces, Vae
from dfa_instruct.techniques.face_editing import IRIS_COLOURS, FaceEditing, eye_shape
from dfa_instruct.techniques.face_reenactment import Expression
from dfa_instruct.techniques.registry import TECHNIQUES
from dfa_instruct.techniques.warping import border_points, piecewise_affine, yaw

SIDE = 128
SWAPS = ["delaunay_swap", "feathered_swap", "colour_transferred_swap"]
REENACTMENTS = ["triangulated_reenactment", "thin_plate_reenactment", "mouth_reenactment"]


@pytest.fixture(scope="module")
def faces() -> list[Face]:
    return list(draw_sample(identities=8, pictures=2, size=SIDE, seed=3))


@pytest.fixture(scope="module")
def eigenfaces(faces: list[Face]) -> Eigenfaces:
    return Eigenfaces.fit(faces)


def forge(technique: str | Technique, target: Face, other: Face, seed: int = 0) -> Forgery:
    technique = TECHNIQUES[technique] if isinstance(technique, str) else technique
    return technique.forge(target, other, np.random.default_rng(seed))


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def changed(face: Face, forgery: Forgery) -> np.ndarray:
    """Return the largest difference over the channels, shape (side, side)."""
    return np.abs(forgery.image.astype(int) - face.image).max(-1)


def inside(points: np.ndarray, grow: float = 1.0) -> np.ndarray:
    """Mask the points' convex hull, scaled about its middle."""
    middle = (points.min(0) + points.max(0)) / 2
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(cv2.convexHull(middle + grow * (points - middle))).astype(np.int32), 1)
    return mask > 0


def near(points: np.ndarray) -> np.ndarray:
    """Mask the points' convex hull and an eighth of the side around it."""
    width = 2 * (SIDE // 8) + 1
    return cv2.dilate(inside(points).astype(np.uint8), np.ones((width, width), np.uint8)) > 0


def around(eye: np.ndarray) -> np.ndarray:
    """Mask the circle around an eye with 1.1 times its width as radius."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.hypot(x - eye[:, 0].mean(), y - eye[:, 1].mean()) < 1.1 * np.ptp(eye[:, 0])


def expressive_pair(faces: list[Face]) -> tuple[Face, Face]:
    """Return the faces with the smallest and the largest opening of the mouth."""
    ordered = sorted(faces, key=lambda face: Expression.measure(face.landmarks).mouth_opening)
    return ordered[0], ordered[-1]


def fitting_pair(name: str, faces: list[Face]) -> tuple[Face, Face]:
    """Return a target and a donor or driver that differ enough for the technique."""
    if name == "head_turn":
        ordered = sorted(faces, key=lambda face: yaw(face.landmarks))
        return ordered[3], ordered[-1]
    return expressive_pair(faces)


def turned_aside(face: Face) -> Face:
    """Give a face the landmarks of a profile, whose far side is hidden behind the nose."""
    points = face.landmarks.copy()
    points[9:17, 0] = np.minimum(points[9:17, 0], points[30, 0])
    return dataclasses.replace(face, landmarks=points)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_forgery_is_visible_well_formed_and_repeatable(name: str, faces: list[Face]) -> None:
    target, other = fitting_pair(name, faces)
    before = target.image.copy(), target.landmarks.copy()
    forgery, again, differently = (forge(name, target, other, seed) for seed in (1, 1, 2))
    assert forgery.image.dtype == np.uint8 and forgery.image.shape == target.image.shape
    assert forgery.landmarks.shape == (81, 2) and forgery.landmarks.dtype == np.float32
    assert json.loads(json.dumps(forgery.parameters)) == forgery.parameters != {}
    assert forgery.image.tobytes() == again.image.tobytes() and forgery.parameters == again.parameters
    assert forgery.image.tobytes() != differently.image.tobytes()
    assert (changed(target, forgery) > 12).sum() >= 20
    assert (target.image == before[0]).all() and (target.landmarks == before[1]).all()


@pytest.mark.parametrize("name", TECHNIQUES)
def test_only_the_face_changes(name: str, faces: list[Face]) -> None:
    target, other = fitting_pair(name, faces)
    forgery = forge(name, target, other)
    points = target.landmarks
    eyes = around(points[36:42]) | around(points[42:48])
    region = {
        "delaunay_swap": inside(points, 1.02),
        "feathered_swap": inside(points, 1.02),
        "colour_transferred_swap": inside(points, 1.15),
        "self_blended": inside(points, 1.15),
        "triangulated_reenactment": inside(points, 1.5),
        "thin_plate_reenactment": inside(points, 1.6),
        "mouth_reenactment": inside(points, 1.5),
        "head_turn": inside(points, 1.6),
        "lips": inside(points[48:68], 3.0),
        "skin": inside(points, 1.02),
        "eyes": eyes,
        "hair_tone": ~inside(points[27:68], 0.9),
        "age_lines": inside(points, 1.02),
        "eye_shape": near(points[36:48]),
        "lip_shape": near(points[48:68]),
    }[name]
    difference = changed(target, forgery)
    assert difference[~region].max() <= 2 or (name == "thin_plate_reenactment" and difference[~region].mean() < 2)
    assert difference[region].mean() > 4 * max(difference[~region].mean(), 0.05)


@pytest.mark.parametrize("name", SWAPS)
def test_a_face_swapped_with_itself_stays(name: str, faces: list[Face]) -> None:
    assert changed(faces[0], forge(name, faces[0], faces[0])).max() <= 3


@pytest.mark.parametrize("name", SWAPS)
def test_a_swap_brings_the_donors_face_onto_the_targets_landmarks(name: str, faces: list[Face]) -> None:
    target, donor = faces[0], faces[2]
    forgery = forge(name, target, donor)
    warped_donor = piecewise_affine(donor.image, donor.landmarks, target.landmarks, border_points(SIDE))
    core = inside(target.landmarks[17:68], 0.9)

    def correlation(image: np.ndarray) -> float:
        return float(np.corrcoef(image[core].mean(-1), forgery.image[core].mean(-1))[0, 1])

    assert correlation(warped_donor) > correlation(target.image) + 0.1
    assert np.array_equal(forgery.landmarks, target.landmarks)


def test_a_donor_who_looks_the_other_way_is_mirrored(faces: list[Face]) -> None:
    target, donor = sorted(faces, key=lambda face: yaw(face.landmarks))[-2:]
    assert yaw(target.landmarks) > 0.05
    points = donor.landmarks[MIRRORED].copy()
    points[:, 0] = SIDE - 1 - points[:, 0]
    assert yaw(points) == pytest.approx(-yaw(donor.landmarks), abs=1e-4)
    mirrored = dataclasses.replace(donor, image=donor.image[:, ::-1], landmarks=points)
    once, twice = forge("delaunay_swap", target, donor), forge("delaunay_swap", target, mirrored)
    assert np.abs(once.image.astype(int) - twice.image).max() <= 1


def test_a_self_blended_face_is_the_targets_own_with_other_detail_inside_a_mask(faces: list[Face]) -> None:
    grain: dict[str, list[float]] = {"downscaled": [], "sharpened": []}
    shares = []
    for seed, face in enumerate(faces):
        forgery = forge("self_blended", face, faces[0], seed)
        assert forgery.image.tobytes() == TECHNIQUES["self_blended"].forge(face, None, rng(seed)).image.tobytes()
        assert np.array_equal(forgery.landmarks, face.landmarks)
        shares.append((changed(face, forgery) > 0).mean())
        core = inside(face.landmarks[27:68], 0.7)
        pictures = [image.mean(-1) for image in (face.image, forgery.image)]
        shades = [cv2.GaussianBlur(picture, (0, 0), 3)[core] for picture in pictures]
        assert np.corrcoef(*shades)[0, 1] > 0.8
        before, after = (np.abs(cv2.Laplacian(picture, cv2.CV_64F))[core].mean() for picture in pictures)
        (detail,) = grain.keys() & forgery.parameters.keys()
        grain[detail].append(after / before)
    assert np.mean(grain["downscaled"]) < 0.9 * np.mean(grain["sharpened"])
    assert max(shares) > 1.5 * min(shares)


def test_a_face_outside_the_picture_is_not_blended(faces: list[Face]) -> None:
    with pytest.raises(ValueError, match="hardly be seen"):
        forge("self_blended", dataclasses.replace(faces[0], landmarks=faces[0].landmarks + 3 * SIDE), faces[0])


@pytest.mark.parametrize("name", REENACTMENTS)
def test_reenactment_takes_over_the_drivers_mouth(name: str, faces: list[Face]) -> None:
    target, driver = expressive_pair(faces)
    forgery = forge(name, target, driver)
    was, wanted, now = (Expression.measure(face.landmarks).mouth_opening for face in (target, driver, forgery))
    assert abs(now - wanted) < 0.7 * abs(was - wanted)
    mouth = inside(forgery.landmarks[60:68], 0.7)
    if name == "mouth_reenactment":  # the driver's teeth
        assert changed(target, forgery)[mouth].mean() > 12
    else:
        assert forgery.image[mouth].mean() < 0.7 * target.image[mouth].mean()


@pytest.mark.parametrize("name", REENACTMENTS)
def test_reenactment_refuses_a_driver_with_the_same_expression(name: str, faces: list[Face]) -> None:
    with pytest.raises(ValueError, match="nearly the target's expression"):
        forge(name, faces[0], faces[0])


def test_irises_take_the_colour_that_is_named(faces: list[Face]) -> None:
    hues: dict[str, np.ndarray] = {}
    for seed in range(16):
        forgery = forge("eyes", faces[0], faces[0], seed)
        weight = changed(faces[0], forgery) * inside(faces[0].landmarks[36:42])
        hues[forgery.parameters["colour"]] = np.average(forgery.image, axis=(0, 1), weights=weight)
    assert set(hues) == set(IRIS_COLOURS)
    assert np.argmax(hues["blue"] - hues["amber"]) == 2
    assert np.argmax(hues["green"] - hues["violet"]) == 1
    assert np.argmax(hues["amber"] - hues["blue"]) == 0


def test_skin_is_smoothed_and_eyes_are_unchanged(faces: list[Face]) -> None:
    face = faces[0]
    forgery = forge("skin", face, face)
    cheeks = inside(face.landmarks[[2, 31, 5]], 0.6)
    grain = [cv2.Laplacian(image.mean(-1), cv2.CV_64F)[cheeks].std() for image in (face.image, forgery.image)]
    assert grain[1] < 0.7 * grain[0]
    difference = changed(face, forgery)
    eyes = inside(face.landmarks[36:42], 0.6) | inside(face.landmarks[42:48], 0.6)
    assert difference[eyes].mean() < 0.5 * difference[cheeks].mean()


def test_fuller_lips_have_fuller_landmarks(faces: list[Face]) -> None:
    forgery = forge("lips", faces[0], faces[0])
    heights = [np.ptp(points[48:60, 1]) for points in (faces[0].landmarks, forgery.landmarks)]
    assert heights[1] == pytest.approx(forgery.parameters["fullness"] * heights[0], rel=0.05)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_profiles_and_missing_landmarks_are_refused(name: str, faces: list[Face]) -> None:
    with pytest.raises(ValueError, match="turned too far aside"):
        forge(name, turned_aside(faces[0]), faces[2])
    with pytest.raises(ValueError, match="landmarks"):
        forge(name, dataclasses.replace(faces[0], landmarks=None), faces[2])


def test_triangles_that_fold_over_are_refused(faces: list[Face]) -> None:
    points = faces[0].landmarks.copy()
    points[27:36, 0] += 60
    with pytest.raises(ValueError, match="fold over"):
        piecewise_affine(faces[0].image, points, faces[0].landmarks)


def test_a_warp_onto_the_same_points_changes_nothing(faces: list[Face]) -> None:
    image, points = faces[0].image, faces[0].landmarks
    assert np.array_equal(piecewise_affine(image, points, points, border_points(SIDE)), image)


def test_a_warp_has_no_seams() -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    ramp = np.stack([x, y, (x + y) / 2], -1).astype(np.uint8)
    rng = np.random.default_rng(0)
    inner = np.stack(np.meshgrid(np.arange(16, 128, 16), np.arange(16, 128, 16)), -1).reshape(-1, 2).astype(np.float32)
    moved = (inner + rng.uniform(-3, 3, inner.shape)).astype(np.float32)
    warped = piecewise_affine(ramp, inner, moved, border_points(SIDE, 8)).astype(int)
    steps = np.abs(np.diff(warped, axis=0)).max(), np.abs(np.diff(warped, axis=1)).max()
    assert max(steps) <= 3  # a continuous warp of a ramp has no jump


def test_eigenfaces_look_like_the_faces_they_learned_from(faces: list[Face], eigenfaces: Eigenfaces) -> None:
    rng = np.random.default_rng(0)
    samples = [eigenfaces.forge(None, None, rng) for _ in range(6)]
    mean = np.mean([face.image for face in faces], axis=0)

    def distance(image: np.ndarray) -> float:
        return float(np.sqrt(((image - mean) ** 2).mean()))

    assert np.mean([distance(s.image) for s in samples]) < 0.8 * distance(rng.integers(0, 256, mean.shape))
    for sample in samples:
        assert sample.image.shape == (SIDE, SIDE, 3) and sample.image.dtype == np.uint8
        assert sample.landmarks.shape == (81, 2) and ((sample.landmarks > 0) & (sample.landmarks < SIDE)).all()
        assert np.corrcoef(sample.image.ravel(), mean.ravel())[0, 1] > 0.1  # noise has 0.00
        assert all(np.abs(sample.image.astype(int) - face.image).mean() > 5 for face in faces)
    assert len({sample.image.tobytes() for sample in samples}) == len(samples)
    assert abs(samples[0].image.astype(int) - samples[1].image).mean() > 5


def test_eigenfaces_repeat_with_the_seed(faces: list[Face], eigenfaces: Eigenfaces) -> None:
    again = Eigenfaces.fit(faces)
    once, twice = (model.forge(None, None, np.random.default_rng(4)) for model in (eigenfaces, again))
    assert once.image.tobytes() == twice.image.tobytes() and np.array_equal(once.landmarks, twice.landmarks)


def test_eigenfaces_leave_profiles_out_and_need_faces(faces: list[Face], eigenfaces: Eigenfaces) -> None:
    with_profile = Eigenfaces.fit([turned_aside(faces[0]), *faces])
    assert np.array_equal(with_profile.mean_shape, eigenfaces.mean_shape)
    with pytest.raises(ValueError, match="3 were given"):
        Eigenfaces.fit(faces[:3])


def test_a_vae_draws_likely_faces_that_resemble_no_training_face(faces: list[Face], eigenfaces: Eigenfaces) -> None:
    vae = Vae.fit(faces, steps=150, seed=5)
    samples = [vae.forge(None, None, np.random.default_rng(seed)) for seed in range(8)]
    assert len({sample.image.tobytes() for sample in samples}) == len(samples)
    mean = np.mean([face.image for face in faces], axis=0)
    for sample in samples:
        assert sample.image.shape == (SIDE, SIDE, 3) and sample.image.dtype == np.uint8
        assert sample.landmarks.shape == (81, 2) and sample.landmarks.dtype == np.float32
        assert json.loads(json.dumps(sample.parameters)) == sample.parameters
        assert np.corrcoef(sample.image.ravel(), mean.ravel())[0, 1] > 0.3
        for face in faces:  # the deviation of a training face from the mean does not return
            own = face.image - mean
            assert 1 - ((sample.image - mean - own) ** 2).sum() / (own**2).sum() < MAX_RESEMBLANCE + 0.15


def test_a_vae_repeats_with_the_seed_and_keeps_torchs_random_state(faces: list[Face]) -> None:
    import torch

    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    once, twice, other = (
        Vae.fit(iter(faces), steps=20, seed=seed).forge(None, None, np.random.default_rng(4)) for seed in (1, 1, 2)
    )
    assert torch.rand(1) == expected
    assert once.image.tobytes() == twice.image.tobytes() != other.image.tobytes()
    with pytest.raises(ValueError, match="3 were given"):
        Vae.fit(faces[:3])


def test_photographs(photos: Path, faces: list[Face]) -> None:
    records = []
    with FaceDetector() as detector:
        for path in sorted(photos.glob("*.jpg"))[:24]:
            picture = np.array(Image.open(path).convert("RGB"))
            if len(found := detector.detect(picture)) == 1:
                image, points = align(picture, found[0], SIDE)
                records.append(dataclasses.replace(faces[0], image=image, landmarks=points, source_path=path.name))
    for name, technique in TECHNIQUES.items():
        forgeries, reasons = 0, set()
        for target, other in zip(records, records[1:] + records[:1], strict=True):
            try:
                forgery = forge(technique, target, other)
            except ValueError as error:
                reasons.add(str(error))
                continue
            forgeries += 1
            difference = changed(target, forgery)
            assert (difference > 12).sum() >= 10, (name, target.source_path)
            assert difference[:2].mean() <= 1 or name == "hair_tone", "the upper border has changed"
        assert forgeries >= (0.15 if name == "hair_tone" else 0.4) * len(records), (name, reasons)
        assert "the face is turned too far aside" in reasons


def test_an_invisible_edit_is_refused(faces: list[Face]) -> None:
    nothing = FaceEditing("nothing", lambda image, points, rng: Forgery(image.copy(), points, {}))
    with pytest.raises(ValueError, match="hardly be seen"):
        nothing.forge(faces[0], None, np.random.default_rng(0))


def test_closed_eyes_cannot_be_narrowed(faces: list[Face]) -> None:
    landmarks = faces[0].landmarks.copy()
    for eye in (slice(36, 42), slice(42, 48)):
        landmarks[eye, 1] = np.linspace(*landmarks[eye][[0, 3], 1], 6)[[0, 1, 3, 5, 4, 2]]
    with pytest.raises(ValueError, match="too small to be reshaped"):
        for seed in range(30):
            eye_shape(faces[0].image, landmarks, rng(seed))
