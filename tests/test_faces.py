"""Alignment: where a face lands in its square, and that a forgery lands where its bona fide did."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dfa_instruct.faces import (
    DETECTION_SIDE,
    LANDMARKER_ENV,
    TEMPLATE,
    FaceDetector,
    LandmarkerUnavailableError,
    align,
    alignment,
    alignment_onto,
    anchors,
    cropped_alignment,
    largest,
    legible,
    move,
    nearest,
    warp,
)
from dfa_instruct.portraits.drawing import draw_person
from dfa_instruct.records import Landmarks, Pixels


@pytest.fixture(scope="module")
def portrait() -> tuple[Pixels, Landmarks]:
    """A drawn face, small and turned, in the middle of a larger picture."""
    face = draw_person(3, pictures=1)[0]
    place = cv2.getRotationMatrix2D((64, 64), 20, 1.6) + np.array([[0, 0, 150], [0, 0, 90]])
    picture = np.asarray(cv2.warpAffine(face.image, place, (420, 300)), np.uint8)
    return picture, move(face.landmarks, place)


@pytest.mark.parametrize("margin", [0.0, 0.3, -0.1])
def test_a_face_lands_on_the_template(portrait: tuple[Pixels, Landmarks], margin: float) -> None:
    image, landmarks = align(*portrait, size=200, margin=margin)
    assert image.shape == (200, 200, 3)
    expected = ((TEMPLATE + margin) / (1 + 2 * margin)) * 200
    assert np.abs(anchors(landmarks) - expected).max() < 12


def test_pixels_and_landmarks_go_the_same_way(portrait: tuple[Pixels, Landmarks]) -> None:
    picture, landmarks = portrait
    marked = np.zeros_like(picture)
    point = landmarks[30]
    cv2.circle(marked, np.rint(point).astype(int).tolist(), 6, (255, 255, 255), -1)
    transform = alignment(landmarks, 128)
    square = warp(marked, transform, 128)
    found = np.argwhere(square[..., 0] > 127).mean(0)[::-1]
    assert np.abs(found - move(landmarks, transform)[30]).max() < 1.5


def test_a_forgery_of_another_resolution_lands_on_its_bona_fide(portrait: tuple[Pixels, Landmarks]) -> None:
    picture, landmarks = portrait
    bona_fide = warp(picture, alignment(landmarks, 128), 128)
    double = np.asarray(cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)
    onto = alignment_onto(2 * landmarks + 0.5, move(landmarks, alignment(landmarks, 128)))
    assert np.abs(warp(double, onto, 128).astype(int) - bona_fide).mean() < 2.5


def test_a_cropped_face_fills_the_square() -> None:
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[:, 20:80] = 200
    square = warp(picture, cropped_alignment(60, 100, 120), 120)
    assert (square[:, 2:-2] > 150).all()


def test_of_several_faces_one_is_chosen(portrait: tuple[Pixels, Landmarks]) -> None:
    _, face = portrait
    small, far = face * np.float32(0.5), face + np.float32(300)
    assert largest([small, face]) is face
    assert nearest([far, face + 1, small], face) is not None
    assert np.array_equal(nearest([far, face + 1], face), face + 1)
    assert nearest([far], face) is None and nearest([], face) is None


def test_small_pictures_are_enlarged(portrait: tuple[Pixels, Landmarks]) -> None:
    assert legible(np.zeros((64, 48, 3), np.uint8)).shape == (round(64 * DETECTION_SIDE / 48), DETECTION_SIDE, 3)
    assert legible(portrait[0]) is portrait[0]


def test_a_model_file_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "face.task").write_text("no model")
    monkeypatch.setenv(LANDMARKER_ENV, str(tmp_path / "face.task"))
    with (
        pytest.raises(LandmarkerUnavailableError, match=f"{tmp_path}/face.task is not FaceLandmarker's"),
        FaceDetector(),
    ):
        pass
