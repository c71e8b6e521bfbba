"""Drawn portraits are bona fide faces with correct landmarks, and the same for the same seed."""

import numpy as np
import pytest

from dfa_instruct.face import alignment, detection
from dfa_instruct.face.regions import interocular
from dfa_instruct.records import Face, Landmarks
from dfa_instruct.sources.portraits.drawing import draw_sample


@pytest.fixture(scope="module")
def portraits() -> list[Face]:
    return list(draw_sample(identities=12, pictures=2, size=128, seed=3))


def landmarks_of(face: Face) -> Landmarks:
    assert face.landmarks is not None
    return face.landmarks


def test_every_portrait_is_a_different_bona_fide_record(portraits: list[Face]) -> None:
    assert [face.identities for face in portraits[:3]] == [("sample_0000",), ("sample_0000",), ("sample_0001",)]
    assert {(face.label, face.category, face.source) for face in portraits} == {("bona_fide", "bona_fide", "sample")}
    for unique in ("face_id", "source_path", "source_sha256"):
        assert len({getattr(face, unique) for face in portraits}) == len(portraits)
    for face in portraits:
        assert (face.image.shape, face.image.dtype) == ((128, 128, 3), np.uint8)
        assert (landmarks_of(face).shape, landmarks_of(face).dtype) == ((81, 2), np.float32)


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_portraits(portraits: list[Face]) -> None:
    for again, first in zip(draw_sample(identities=2, pictures=1, size=128, seed=3), portraits[::2], strict=False):
        assert again.face_id == first.face_id
        assert np.array_equal(landmarks_of(again), landmarks_of(first))
    other = next(draw_sample(identities=1, pictures=1, size=128, seed=4))
    assert other.face_id != portraits[0].face_id


def test_faces_fill_the_aligned_square(portraits: list[Face]) -> None:
    for landmarks in map(landmarks_of, portraits):
        assert np.abs(alignment.anchors(landmarks) / 128 - alignment.TEMPLATE).max() < 0.09
        assert landmarks.min() > 0 and landmarks.max() < 128


@pytest.mark.parametrize("size", [64, 192])
def test_the_size_only_changes_the_resolution(portraits: list[Face], size: int) -> None:
    face = next(draw_sample(identities=1, pictures=1, size=size, seed=3))
    assert face.image.shape == (size, size, 3)
    assert np.abs(landmarks_of(face) / size - landmarks_of(portraits[0]) / 128).max() < 0.01


def test_eyes_are_drawn_at_their_landmarks(portraits: list[Face]) -> None:
    eyes: list[float] = []
    cheeks: list[float] = []
    for face in portraits:
        grey, landmarks = face.image.mean(2), landmarks_of(face)
        for rim in (landmarks[36:42], landmarks[42:48]):
            x, y = np.rint(rim[[1, 2, 4, 5]].mean(0)).astype(int)
            for found, row in ((eyes, y), (cheeks, y + 11)):
                found.append(np.ptp(grey[row - 3 : row + 4, x - 4 : x + 5]) / np.median(grey[64:90, 44:84]))
    assert np.quantile(eyes, 0.1) > 0.6
    assert np.median(eyes) > 2 * np.median(cheeks)


def test_grain_is_everywhere(portraits: list[Face]) -> None:
    for face in portraits:
        grey = face.image.astype(float).mean(2)
        detail = np.abs(grey[1:, 1:] - grey[:-1, 1:] - grey[1:, :-1] + grey[:-1, :-1])
        assert detail[:120, :120].reshape(8, 15, 8, 15).mean((1, 3)).min() > 0.5


@pytest.mark.usefixtures("landmarker")
def test_a_face_detector_finds_them(portraits: list[Face]) -> None:
    errors = []
    with detection.FaceDetector() as detector:
        for face in portraits:
            if found := detector.detect(np.asarray(face.image).repeat(2, 0).repeat(2, 1)):
                landmarks = landmarks_of(face)
                error = np.linalg.norm(found[0] / 2 - landmarks, axis=1).mean()
                errors.append(error / interocular(landmarks))
    assert len(errors) >= 0.9 * len(portraits)
    assert np.mean(errors) < 0.08
