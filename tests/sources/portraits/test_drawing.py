import numpy as np
import pytest

from dfa_instruct.face import detection
from dfa_instruct.records import Face
from dfa_instruct.sources.portraits.drawing import draw_sample


@pytest.fixture(scope="module")
def portraits() -> list[Face]:
    return list(draw_sample(identities=12, pictures=2, size=128, seed=3))


def interocular(face: Face) -> float:
    assert face.landmarks is not None
    return float(np.linalg.norm(face.landmarks[36:42].mean(0) - face.landmarks[42:48].mean(0)))


def test_every_portrait_is_a_bona_fide_record_of_its_own(portraits: list[Face]) -> None:
    assert [face.identities for face in portraits[:3]] == [("sample_0000",), ("sample_0000",), ("sample_0001",)]
    assert {(face.label, face.category, face.source) for face in portraits} == {("bona_fide", "bona_fide", "sample")}
    for unique in ("face_id", "source_path", "source_sha256"):
        assert len({getattr(face, unique) for face in portraits}) == len(portraits)
    for face in portraits:
        assert face.image.shape == (128, 128, 3)
        assert face.image.dtype == np.uint8
        assert face.landmarks is not None
        assert face.landmarks.shape == (81, 2)
        assert face.landmarks.dtype == np.float32


def test_same_seed_gives_the_same_bytes_however_many_are_drawn(portraits: list[Face]) -> None:
    alone = list(draw_sample(identities=2, pictures=1, size=128, seed=3))
    for again, first in zip(alone, portraits[::2], strict=False):
        assert again.face_id == first.face_id
        assert again.landmarks is not None
        assert first.landmarks is not None
        assert np.array_equal(again.landmarks, first.landmarks)
    other = next(draw_sample(identities=1, pictures=1, size=128, seed=4))
    assert other.face_id != portraits[0].face_id


def test_faces_fill_the_aligned_square(portraits: list[Face]) -> None:
    for face in portraits:
        assert face.landmarks is not None
        assert np.abs(detection.anchors(face.landmarks) / 128 - detection.TEMPLATE).max() < 0.09
        assert face.landmarks.min() > 0
        assert face.landmarks.max() < 128


@pytest.mark.parametrize("size", [64, 192])
def test_size_changes_the_resolution_only(size: int) -> None:
    face = next(draw_sample(identities=1, pictures=1, size=size, seed=3))
    usual = next(draw_sample(identities=1, pictures=1, size=128, seed=3))
    assert face.image.shape == (size, size, 3)
    assert face.landmarks is not None
    assert usual.landmarks is not None
    assert np.abs(face.landmarks / size - usual.landmarks / 128).max() < 0.01


def test_eyes_are_drawn_at_their_landmarks(portraits: list[Face]) -> None:
    eyes: list[float] = []
    cheeks: list[float] = []
    for face in portraits:
        assert face.landmarks is not None
        grey = face.image.mean(2)
        for rim in (face.landmarks[36:42], face.landmarks[42:48]):
            x, y = np.rint(rim[[1, 2, 4, 5]].mean(0)).astype(int)
            for found, row in ((eyes, y), (cheeks, y + 11)):
                found.append(np.ptp(grey[row - 3 : row + 4, x - 4 : x + 5]) / np.median(grey[64:90, 44:84]))
    assert np.quantile(eyes, 0.1) > 0.6
    assert np.median(eyes) > 2 * np.median(cheeks)


def test_grain_is_everywhere(portraits: list[Face]) -> None:
    for face in portraits:
        grey = face.image.astype(float).mean(2)
        detail = np.abs(grey[1:, 1:] - grey[:-1, 1:] - grey[1:, :-1] + grey[:-1, :-1])
        tiles = detail[:120, :120].reshape(8, 15, 8, 15).mean((1, 3))
        assert tiles.min() > 0.5


@pytest.mark.usefixtures("landmarker")
def test_a_face_detector_sees_them(portraits: list[Face]) -> None:
    errors = []
    with detection.FaceDetector() as detector:
        for face in portraits:
            assert face.landmarks is not None
            found = detector.detect(np.asarray(face.image).repeat(2, 0).repeat(2, 1))
            if found:
                errors.append(np.linalg.norm(found[0] / 2 - face.landmarks, axis=1).mean() / interocular(face))
    assert len(errors) >= 0.9 * len(portraits)
    assert np.mean(errors) < 0.08
