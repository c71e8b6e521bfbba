"""Alignment: where a face lands in its square, and that a forgery lands where its bona fide did."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest
from PIL import Image

from dfa_instruct.face.alignment import (
    GREY,
    TEMPLATE,
    align,
    alignment,
    alignment_onto,
    anchors,
    cropped_alignment,
    margin_inside,
    move,
    warp,
)
from dfa_instruct.face.detection import (
    LANDMARKER_ENV,
    FaceDetector,
    LandmarkerUnavailableError,
    landmarker_path,
    largest,
    nearest,
)
from dfa_instruct.records import Landmarks, Pixels
from dfa_instruct.sources.portraits.drawing import draw_person


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


def test_a_profile_lies_where_it_lies_like_any_other_face(portrait: tuple[Pixels, Landmarks]) -> None:
    """Its eyes are next to each other, so that their distance does not say how large the face is."""
    _, face = portrait
    profile = face * np.float32([0.1, 1])
    shifted = profile + np.float32(0.2) * np.ptp(profile[:, 1])
    assert nearest([shifted], profile) is not None and nearest([profile], shifted) is not None
    assert nearest([profile + np.ptp(profile[:, 1])], profile) is None


@pytest.mark.parametrize("size", [64, 300])
def test_where_the_picture_ends_the_square_is_grey(portrait: tuple[Pixels, Landmarks], size: int) -> None:
    picture, landmarks = portrait
    left, top = np.floor(landmarks.min(0)).astype(int)
    right, bottom = np.ceil(landmarks.max(0)).astype(int)
    square, _ = align(picture[top:bottom, left:right], landmarks - np.float32([left, top]), size)
    whole, moved = align(picture, landmarks, size)
    inside = cv2.fillConvexPoly(np.zeros((size, size), np.uint8), np.rint(cv2.convexHull(moved)).astype(np.int32), 1)
    inside = cv2.erode(inside, np.ones((5, 5), np.uint8)).astype(bool)
    assert np.abs(square[inside].astype(int) - whole[inside]).mean() < 2
    outside = (square == GREY).all(2)
    assert outside.mean() > 0.3 and outside[0].all() and not outside[inside].any()


def test_with_the_margin_that_a_picture_allows_the_square_lies_just_inside(
    portrait: tuple[Pixels, Landmarks],
) -> None:
    picture, landmarks = portrait
    for left, top in ((0, 0), (100, 0), (0, 80), (140, 90)):
        seen, shifted = np.full_like(picture[top:, left:], 255), landmarks - np.float32([left, top])
        margin = margin_inside(*seen.shape[:2], shifted)
        assert (align(seen, shifted, 256, margin)[0] == 255).all()
        assert (align(seen, shifted, 256, margin + 0.03)[0] == GREY).all(2).any()


@pytest.mark.usefixtures("landmarker")
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_small_faces_are_found_in_a_large_picture(scale: float) -> None:
    """Drawn faces of 60 to 100 pixels in 1080p, all over it; FaceLandmarker sees none of them in the whole."""
    rng = np.random.default_rng(2)
    height, width = round(1080 * scale), round(1920 * scale)
    picture = cv2.resize(rng.integers(0, 256, (9, 16, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    placed = []
    for n in range(12):
        face = draw_person(n, pictures=1)[0]
        side = round(scale * rng.integers(100, 160))
        small = np.asarray(Image.fromarray(face.image).resize((side, side), Image.Resampling.LANCZOS))
        left, top = round((n % 6 + 0.3) * width / 6), round((n // 6 + rng.uniform(0.1, 0.5)) * height / 2)
        picture[top : top + side, left : left + side] = small
        placed.append(face.landmarks * np.float32(side / 128) + np.float32([left, top]))
    with FaceDetector() as detector:
        found = detector.detect(np.asarray(picture, np.uint8))
        assert sum(nearest(found, face, 0.25) is not None for face in placed) >= 11
        assert len(found) <= 13
        sought = detector.detect(np.asarray(picture, np.uint8), near=placed[4])
        assert nearest(sought, placed[4], 0.25) is not None


@pytest.mark.usefixtures("landmarker")
@pytest.mark.parametrize("side", [200, 280])
def test_of_a_group_of_twelve_photographs_each_face_is_found_once(photos: Path, side: int) -> None:
    """Faces 60 to 190 pixels high in 1080p, one of them a profile, which FaceLandmarker shows in one crop only."""
    group = np.full((1080, 1920, 3), 127, np.uint8)
    for n, path in enumerate(sorted(photos.glob("*.jpg"))[:12]):
        left, top = 40 + n % 6 * 310, 100 + n // 6 * 480
        photo = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        group[top : top + side, left : left + side] = np.asarray(photo)
    with FaceDetector() as detector:
        places = [((face.mean(0) - [40, 100]) // [310, 480]).astype(int).tolist() for face in detector.detect(group)]
    assert sorted(places) == [[column, row] for column in range(6) for row in range(2)]


@pytest.mark.usefixtures("landmarker")
def test_pictures_of_every_size_without_a_face_show_none() -> None:
    rng = np.random.default_rng(0)
    with FaceDetector() as detector:
        for height, width in ((32, 40), (64, 400), (300, 300), (1080, 720)):
            coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
            picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
            assert detector.detect(np.asarray(picture, np.uint8)) == []


@pytest.mark.usefixtures("landmarker")
@pytest.mark.parametrize(
    ("left", "top", "radius", "grey", "background"),
    [(153, 130, 28, 165, 246), (149, 117, 26, 123, 230), (125, 106, 26, 99, 254)],
)
def test_a_disc_with_three_dots_is_no_face(left: int, top: int, radius: int, grey: int, background: int) -> None:
    """FaceLandmarker takes it for a small face, and for another one, or none, in the mirror image."""
    picture = np.full((256, 256, 3), background, np.uint8)
    cv2.circle(picture, (left, top), radius, (grey, grey, grey), -1, cv2.LINE_AA)
    for right, down in ((-(radius // 2), -(radius // 4)), (radius // 2, -(radius // 4)), (0, radius // 5)):
        cv2.circle(picture, (left + right, top + down), radius // 7, (30, 30, 30), -1, cv2.LINE_AA)
    with FaceDetector() as detector:
        assert len(detector.first_look(picture)) == 1
        assert detector.detect(picture) == []


@pytest.mark.usefixtures("landmarker")
def test_a_small_picture_gives_landmarks_in_its_own_pixels() -> None:
    face = draw_person(3, pictures=1)[0]
    small = np.asarray(Image.fromarray(face.image).resize((112, 112), Image.Resampling.LANCZOS))
    with FaceDetector() as detector:
        found = detector.detect(small)
    assert nearest(found, face.landmarks * np.float32(112 / 128), 0.1) is not None


def test_a_model_file_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "face.task").write_text("no model")
    monkeypatch.setenv(LANDMARKER_ENV, str(tmp_path / "face.task"))
    with (
        pytest.raises(LandmarkerUnavailableError, match=f"{tmp_path}/face.task is not FaceLandmarker's"),
        FaceDetector(),
    ):
        pass


def test_a_failed_download_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, each attempt would take seconds, for each picture."""
    monkeypatch.delenv(LANDMARKER_ENV, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(
            "dfa_instruct.face.detection.LANDMARKER_URL", f"http://127.0.0.1:{server.server_port}/face.task"
        )
        Thread(target=server.serve_forever, daemon=True).start()
        for _ in range(2):
            with pytest.raises(LandmarkerUnavailableError, match=r"could not be downloaded .*404"):
                landmarker_path()
            (tmp_path / "face.task").write_text("no model")  # another download would get this
        server.shutdown()
