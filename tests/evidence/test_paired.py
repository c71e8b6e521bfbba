"""Evidence from a pair: the edited region is named, and changes of the whole picture are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dfa_instruct.evidence.paired import evidence_of, measure
from dfa_instruct.evidence.strength import MAX_KINDS, MAX_REGIONS
from dfa_instruct.face.alignment import align
from dfa_instruct.face.colour import to_lab, to_rgb
from dfa_instruct.face.detection import FaceDetector
from dfa_instruct.face.regions import region_masks
from dfa_instruct.pairs import SAME_PICTURE, similarity
from dfa_instruct.records import Face, Pixels
from dfa_instruct.techniques.registry import TECHNIQUES
from dfa_instruct.vocabulary import ARTIFACTS, REGIONS, Region

NOISE = np.random.default_rng(0).normal(0, 3, (128, 128, 3))
GRAIN = np.random.default_rng(0).normal(0, 12, (128, 128, 1))


def forged(face: Face, image: Pixels, landmarks: np.ndarray | None = None) -> Face:
    landmarks = face.landmarks if landmarks is None else landmarks
    return replace(face, image=image, landmarks=landmarks, label="forged", category="face_editing", face_id="")


def forged_by(name: str, face: Face, other: Face | None = None, seed: int = 0) -> Face:
    forgery = TECHNIQUES[name].forge(face, other, np.random.default_rng(seed))
    return forged(face, forgery.image, forgery.landmarks)


def edited(face: Face, region: Region, other: np.ndarray) -> Face:
    mask = cv2.GaussianBlur(np.float32(region_masks(face.landmarks, 128)[region]), (0, 0), 1)[..., None]
    return forged(face, np.rint(mask * other.clip(0, 255) + (1 - mask) * face.image).astype(np.uint8))


def jpeg(image: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def shrunk(image: Pixels) -> Pixels:
    return cv2.resize(cv2.resize(image, (102, 102), interpolation=cv2.INTER_AREA), (128, 128))


def tinted(image: Pixels, *shift: float) -> np.ndarray:
    return to_rgb(to_lab(image) + np.float32(shift))


def test_region_masks_cover_the_face_without_overlap(portraits: list[Face]) -> None:
    for face in portraits:
        masks = region_masks(face.landmarks, 128)
        assert list(masks) == list(REGIONS)
        assert all(mask.sum() > 50 for mask in masks.values())
        assert np.sum(list(masks.values()), axis=0).max() == 1
        mouth, chin = (np.argwhere(masks[region]).mean(0) for region in ("mouth", "chin"))
        assert mouth[0] < chin[0]


@pytest.mark.parametrize(
    "change",
    [
        np.copy,
        lambda image: jpeg(image, 95),
        lambda image: jpeg(image, 75),
        lambda image: jpeg(image, 50),
        lambda image: (image + NOISE).clip(0, 255).astype(np.uint8),
        shrunk,
    ],
    ids=["copy", "JPEG 95", "JPEG 75", "JPEG 50", "noise", "resolution"],
)
def test_a_change_of_the_whole_picture_names_nothing(portraits: list[Face], change: Callable[[Pixels], Pixels]) -> None:
    assert [measure(forged(face, change(face.image)), face) for face in portraits] == [[]] * len(portraits)


def test_another_colour_of_the_whole_picture_names_hardly_anything(portraits: list[Face]) -> None:
    for face in portraits[:4]:
        image = np.rint(tinted(face.image, 0, 4, -6)).astype(np.uint8)
        assert all(artifact.strength < 0.3 for artifact in measure(forged(face, image), face))


@pytest.mark.parametrize("region", ["forehead", "cheeks", "chin", "nose"])
def test_grain_in_a_region_is_named_alone(portraits: list[Face], region: Region) -> None:
    for face in portraits:
        artifacts = measure(edited(face, region, face.image + GRAIN), face)
        assert {artifact.region for artifact in artifacts} == {region}
        assert artifacts[0].artifact in ("texture", "sharpness")


@pytest.mark.parametrize("region", list(REGIONS))
def test_a_recoloured_region_is_named_alone(portraits: list[Face], region: Region) -> None:
    for face in portraits:
        artifacts = measure(edited(face, region, tinted(face.image, 0, 12, 6)), face)
        assert [(artifact.region, artifact.artifact) for artifact in artifacts] == [(region, "colour")]


@pytest.mark.parametrize("region", ["eyes", "mouth", "eyebrows", "nose"])
def test_a_blurred_region_is_named_alone(portraits: list[Face], region: Region) -> None:
    for face in portraits:
        artifacts = measure(edited(face, region, cv2.GaussianBlur(face.image, (0, 0), 3)), face)
        assert {artifact.region for artifact in artifacts} == {region}
        assert {artifact.artifact for artifact in artifacts} & {"sharpness", "texture"}


def test_moved_landmarks_are_geometry_unless_the_pair_was_found_by_content(portraits: list[Face]) -> None:
    face = portraits[0]
    driver = next(other for other in portraits if other.identities != face.identities)
    forgery = forged_by("thin_plate_reenactment", face, driver)
    assert "geometry" in {artifact.artifact for artifact in measure(forgery, face)}
    by_content = replace(forgery, pairing="content")
    assert "geometry" not in {artifact.artifact for artifact in measure(by_content, face)}


def test_a_hard_paste_shows_its_border(portraits: list[Face]) -> None:
    named = 0
    for face in portraits:
        image = face.image.copy()
        mask = region_masks(face.landmarks, 128)["forehead"]
        image[mask] = np.clip(image[mask].astype(int) - 40, 0, 255)
        named += ("forehead", "boundary") in {(a.region, a.artifact) for a in measure(forged(face, image), face)}
    assert named >= len(portraits) // 2


@pytest.mark.parametrize("name, region", [("lips", "mouth"), ("eyes", "eyes"), ("skin", "cheeks")])
def test_an_editing_technique_is_found_where_it_edits(portraits: list[Face], name: str, region: Region) -> None:
    evidence = [measure(forged_by(name, face, seed=number), face) for number, face in enumerate(portraits)]
    assert sum(region in {a.region for a in artifacts} for artifacts in evidence) >= 0.8 * len(portraits)


def test_artifacts_are_few_ranked_and_in_range(portraits: list[Face]) -> None:
    for face, other in zip(portraits, portraits[3:], strict=False):
        artifacts = measure(forged(face, other.image), face)
        regions = [artifact.region for artifact in artifacts]
        assert len(set(regions)) <= MAX_REGIONS and max(map(regions.count, regions), default=0) <= MAX_KINDS
        assert all(0 < artifact.strength <= 1 and artifact.artifact in ARTIFACTS for artifact in artifacts)
        assert artifacts[0].strength == max(artifact.strength for artifact in artifacts)


def test_another_crop_and_another_picture_are_told_from_the_same_one(portraits: list[Face]) -> None:
    for face, other in zip(portraits, portraits[3:], strict=False):
        swapped = forged_by("feathered_swap", face, other).image
        for same in (jpeg(face.image, 50), cv2.convertScaleAbs(face.image, alpha=0.8), swapped):
            assert similarity(same, face.image, face.landmarks) > SAME_PICTURE
        for another in (np.roll(face.image, 8, axis=1), other.image):
            assert similarity(another, face.image, face.landmarks) < SAME_PICTURE


def test_the_landmarks_of_either_face_are_enough(portraits: list[Face]) -> None:
    face = portraits[0]
    lips = forged_by("lips", face)
    bare, bare_lips = replace(face, landmarks=None), replace(lips, landmarks=None)
    for forgery, bona_fide in ((lips, bare), (bare_lips, face)):
        assert "mouth" in {artifact.region for artifact in evidence_of(forgery, bona_fide, None)}
    assert evidence_of(bare_lips, bare, None) == []
    with pytest.raises(ValueError, match="landmarks"):
        measure(bare_lips, bare)


def test_a_pair_of_different_sizes_is_refused(portraits: list[Face]) -> None:
    with pytest.raises(ValueError, match="size"):
        measure(forged(portraits[0], portraits[0].image[:64, :64].copy()), portraits[0])


def test_photographs_compressed_again_name_nothing(photos: Path, portraits: list[Face]) -> None:
    named = []
    with FaceDetector() as detector:
        for path in sorted(photos.glob("*.jpg"))[:15]:
            image = np.array(Image.open(path).convert("RGB"))
            if len(found := detector.detect(image)) == 1:
                square, landmarks = align(image, found[0], 128)
                face = replace(portraits[0], image=square, landmarks=landmarks, face_id="")
                named.append(bool(measure(forged(face, jpeg(square, 75)), face)))
    assert len(named) >= 5
    assert sum(named) <= 0.1 * len(named)
