import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dfa_instruct.evidence.paired import measure
from dfa_instruct.evidence.population import PopulationEvidence
from dfa_instruct.evidence.strength import MAX_KINDS, MAX_REGIONS
from dfa_instruct.face.detection import FaceDetector, align
from dfa_instruct.face.regions import region_masks
from dfa_instruct.pairs import SAME_PICTURE, similarity
from dfa_instruct.records import Face, Pixels
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.techniques.registry import TECHNIQUES
from dfa_instruct.vocabulary import ARTIFACTS, REGIONS, Region


@pytest.fixture(scope="module")
def portraits() -> list[Face]:
    return list(draw_sample(identities=8, pictures=2, size=128, seed=5))


def forged(image: Pixels, face: Face, landmarks: np.ndarray | None = None) -> Face:
    return Face(
        image=image,
        label="forged",
        category="face_editing",
        identities=face.identities,
        source="test",
        source_path="",
        source_sha256="",
        landmarks=face.landmarks if landmarks is None else landmarks,
    )


def edited(face: Face, region: Region, other: np.ndarray) -> Face:
    mask = cv2.GaussianBlur(np.float32(region_masks(face.landmarks, 128)[region]), (0, 0), 1)[..., None]
    return forged(np.rint(mask * other.clip(0, 255) + (1 - mask) * face.image).astype(np.uint8), face)


def jpeg(image: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def test_region_masks_cover_the_face_without_overlap(portraits: list[Face]) -> None:
    for face in portraits:
        masks = region_masks(face.landmarks, 128)
        assert list(masks) == list(REGIONS)
        assert all(mask.sum() > 50 for mask in masks.values())
        assert np.sum(list(masks.values()), axis=0).max() == 1
        mouth, chin = (np.argwhere(masks[region]).mean(0) for region in ("mouth", "chin"))
        assert mouth[0] < chin[0]


def test_an_unchanged_copy_has_no_artifact(portraits: list[Face]) -> None:
    for face in portraits:
        assert measure(forged(face.image.copy(), face), face) == []


@pytest.mark.parametrize("quality", [95, 75, 50])
def test_compression_names_nothing(portraits: list[Face], quality: int) -> None:
    assert [measure(forged(jpeg(face.image, quality), face), face) for face in portraits] == [[]] * len(portraits)


def test_noise_names_nothing(portraits: list[Face]) -> None:
    rng = np.random.default_rng(0)
    for face in portraits:
        noisy = (face.image + rng.normal(0, 3, face.image.shape)).clip(0, 255).astype(np.uint8)
        assert measure(forged(noisy, face), face) == []


def test_another_resolution_names_nothing(portraits: list[Face]) -> None:
    for face in portraits:
        small = cv2.resize(face.image, (102, 102), interpolation=cv2.INTER_AREA)
        assert measure(forged(cv2.resize(small, (128, 128)), face), face) == []


def test_grain_in_a_region_is_named_alone(portraits: list[Face]) -> None:
    rng = np.random.default_rng(0)
    for region in ("forehead", "cheeks", "chin", "nose"):
        for face in portraits:
            artifacts = measure(edited(face, region, face.image + rng.normal(0, 12, (128, 128, 1))), face)
            assert [a.region for a in artifacts] in ([region], [region] * 2)
            assert artifacts[0].artifact in ("texture", "sharpness")


def test_a_change_of_the_whole_picture_s_colour_names_nothing(portraits: list[Face]) -> None:
    for face in portraits[:4]:
        lab = cv2.cvtColor(np.float32(face.image) / 255, cv2.COLOR_RGB2LAB) + np.float32([0, 4, -6])
        tinted = np.rint(255 * cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).clip(0, 1)).astype(np.uint8)
        assert all(artifact.strength < 0.3 for artifact in measure(forged(tinted, face), face))


@pytest.mark.parametrize("region", list(REGIONS))
def test_a_recoloured_region_is_named_first_and_alone(portraits: list[Face], region: Region) -> None:
    for face in portraits:
        lab = cv2.cvtColor(np.float32(face.image) / 255, cv2.COLOR_RGB2LAB) + np.float32([0, 12, 6])
        artifacts = measure(edited(face, region, 255 * cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)), face)
        assert [artifact.region for artifact in artifacts] == [region]
        assert artifacts[0].artifact == "colour"


@pytest.mark.parametrize("region", ["eyes", "mouth", "eyebrows", "nose"])
def test_a_blurred_region_is_named_first(portraits: list[Face], region: Region) -> None:
    for face in portraits:
        artifacts = measure(edited(face, region, cv2.GaussianBlur(face.image, (0, 0), 3)), face)
        assert {artifact.region for artifact in artifacts} == {region}
        assert {artifact.artifact for artifact in artifacts} & {"sharpness", "texture"}


def test_moved_landmarks_are_geometry(portraits: list[Face]) -> None:
    face = portraits[0]
    driver = next(other for other in portraits if other.identities != face.identities)
    forgery = TECHNIQUES["thin_plate_reenactment"].forge(face, driver, np.random.default_rng(0))
    artifacts = measure(forged(forgery.image, face, forgery.landmarks), face)
    assert artifacts and "geometry" in {artifact.artifact for artifact in artifacts}
    near = replace(forged(forgery.image, face, forgery.landmarks), pairing="content")
    assert "geometry" not in {artifact.artifact for artifact in measure(near, face)}


def test_a_hard_paste_shows_its_border(portraits: list[Face]) -> None:
    named = 0
    for face in portraits:
        image = face.image.copy()
        mask = region_masks(face.landmarks, 128)["forehead"]
        image[mask] = np.clip(image[mask].astype(int) - 40, 0, 255)
        named += ("forehead", "boundary") in {(a.region, a.artifact) for a in measure(forged(image, face), face)}
    assert named >= len(portraits) // 2


@pytest.mark.parametrize("name, region", [("lips", "mouth"), ("eyes", "eyes"), ("skin", "cheeks")])
def test_an_editing_technique_is_found_where_it_edits(portraits: list[Face], name: str, region: Region) -> None:
    hits = 0
    for number, face in enumerate(portraits):
        forgery = TECHNIQUES[name].forge(face, None, np.random.default_rng(number))
        artifacts = measure(forged(forgery.image, face, forgery.landmarks), face)
        hits += region in {artifact.region for artifact in artifacts}
    assert hits >= 0.8 * len(portraits)


def test_artifacts_are_few_ranked_and_in_range(portraits: list[Face]) -> None:
    for face, other in zip(portraits, portraits[3:], strict=False):
        artifacts = measure(forged(other.image, face), face)
        regions = [artifact.region for artifact in artifacts]
        assert len(set(regions)) <= MAX_REGIONS and max(map(regions.count, regions), default=0) <= MAX_KINDS
        assert all(0 < artifact.strength <= 1 and artifact.artifact in ARTIFACTS for artifact in artifacts)
        assert artifacts[0].strength == max(artifact.strength for artifact in artifacts)


def test_another_crop_and_another_picture_are_told_from_the_same_one(portraits: list[Face]) -> None:
    for face, other in zip(portraits, portraits[3:], strict=False):
        swapped = TECHNIQUES["feathered_swap"].forge(face, other, np.random.default_rng(0)).image
        for same in (jpeg(face.image, 50), cv2.convertScaleAbs(face.image, alpha=0.8), swapped):
            assert similarity(same, face.image, face.landmarks) > SAME_PICTURE
        for another in (np.roll(face.image, 8, axis=1), other.image):
            assert similarity(another, face.image, face.landmarks) < SAME_PICTURE


def test_a_pair_that_cannot_be_compared_is_refused(portraits: list[Face]) -> None:
    face = portraits[0]
    with pytest.raises(ValueError, match="size"):
        measure(forged(face.image[:64, :64].copy(), face), face)
    bare = Face(
        image=face.image,
        label="bona_fide",
        category="bona_fide",
        identities=face.identities,
        source="test",
        source_path="",
        source_sha256="",
    )
    with pytest.raises(ValueError, match="landmarks"):
        measure(
            Face(
                image=face.image[::-1].copy(),
                label="forged",
                category="face_editing",
                identities=("a",),
                source="test",
                source_path="",
                source_sha256="",
            ),
            bare,
        )


@pytest.fixture(scope="module")
def population() -> PopulationEvidence:
    return PopulationEvidence.fit(draw_sample(identities=40, pictures=1, size=128, seed=9))


def test_the_population_is_the_faces_with_landmarks() -> None:
    faces = list(draw_sample(identities=6, pictures=1, size=128, seed=1))
    bare = Face(
        image=faces[0].image,
        label="bona_fide",
        category="bona_fide",
        identities=("a",),
        source="test",
        source_path="",
        source_sha256="",
    )
    population = PopulationEvidence.fit([*faces, bare])
    landmarks = np.stack([face.landmarks for face in faces]).reshape(6, -1)
    np.testing.assert_allclose(population.mean[-162:], landmarks.mean(0), rtol=1e-5)
    np.testing.assert_allclose(population.spread[-162:], landmarks.std(0), rtol=1e-3, atol=1e-3)


def test_bona_fide_faces_are_rarely_named(population: PopulationEvidence) -> None:
    strangers = list(draw_sample(identities=40, pictures=1, size=128, seed=77))
    named = sum(bool(population.measure(face)) for face in strangers)
    assert named <= 0.125 * len(strangers)  # one in twenty is meant, as near as forty faces can tell


def test_a_blurred_face_stands_outside_the_population(population: PopulationEvidence, portraits: list[Face]) -> None:
    blurred = [population.measure(forged(cv2.GaussianBlur(f.image, (0, 0), 3), f)) for f in portraits]
    assert all(blurred)
    assert {a.artifact for artifacts in blurred for a in artifacts} <= {"texture", "sharpness"}


def test_a_face_without_landmarks_is_measured_but_for_its_geometry(population: PopulationEvidence) -> None:
    # a generator's face in which no face was found
    bare = Face(
        image=np.full((128, 128, 3), 128, np.uint8),
        label="forged",
        category="entire_face_synthesis",
        identities=("invented",),
        source="test",
        source_path="",
        source_sha256="",
    )
    assert "geometry" not in {artifact.artifact for artifact in population.measure(bare)}
    assert population.measure(bare)


def test_a_population_that_cannot_be_says_so(portraits: list[Face], population: PopulationEvidence) -> None:
    with pytest.raises(ValueError, match="fewer than two"):
        PopulationEvidence.fit(portraits[:1])
    small = forged(portraits[0].image[:64, :64].copy(), portraits[0])
    with pytest.raises(ValueError, match="64 px, the population's 128 px"):
        population.measure(small)


def test_photographs_compressed_again_name_nothing(photos: Path) -> None:
    named = count = 0
    with FaceDetector() as detector:
        for path in sorted(photos.glob("*.jpg"))[:15]:
            image = np.array(Image.open(path).convert("RGB"))
            found = detector.detect(image)
            if len(found) == 1:
                square, landmarks = align(image, found[0], 128)
                face = Face(
                    image=square,
                    label="bona_fide",
                    category="bona_fide",
                    identities=("a",),
                    source="test",
                    source_path="",
                    source_sha256="",
                    landmarks=landmarks,
                )
                named += bool(measure(forged(jpeg(square, 75), face), face))
                count += 1
    assert count >= 5
    assert named <= 0.1 * count
