"""Finding a face, its 81 landmarks, and turning it into an aligned square.

Photographs go through MediaPipe's FaceLandmarker (478 points), of which the 81 of `dfa_instruct.records.Landmarks`
are kept: 0-16 face contour from the subject's right temple over the chin to the left one, 17-26 eyebrows, 27-35 nose,
36-47 eyes, 48-67 mouth (all as in iBUG 300-W), 68-80 the forehead's upper contour from right temple to left.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfa_instruct.face.landmarks import MIRRORED
from dfa_instruct.records import Landmarks, Pixels

LANDMARKER_ENV = "DFA_FACE_LANDMARKER"
LANDMARKER_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
LANDMARKER_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"

MEDIAPIPE_81 = np.array(
    [127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356]  # contour
    + [70, 63, 105, 66, 107, 336, 296, 334, 293, 300]  # eyebrows
    + [168, 197, 5, 4, 98, 97, 2, 326, 327]  # nose
    + [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]  # eyes
    + [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181]  # outer lips
    + [78, 81, 13, 311, 308, 402, 14, 178]  # inner lips
    + [162, 21, 54, 103, 67, 109, 10, 338, 297, 332, 284, 251, 389]  # forehead
)
"""Index in MediaPipe's face mesh of each of the 81 landmarks."""

TEMPLATE: NDArray[np.float32] = np.array(
    [[0.385, 0.46], [0.615, 0.46], [0.5, 0.59], [0.405, 0.71], [0.595, 0.71]], np.float32
)
"""Where an aligned face has its right eye, left eye, nose tip and mouth corners, as shares of the square's side."""


DETECTION_SIDE = 256
"""A picture whose short side is smaller is enlarged to it before a face is looked for."""
MOST_FACES = 64
"""So many faces FaceLandmarker returns of a picture, or of a part of it, at most."""
SMALL_FACE = 0.2
"""FaceLandmarker shrinks what it is given to 128 × 128 pixels, and misses faces whose height is a smaller share of it:
1 % of those of 0.15, half of those of 0.1."""
DOUBTFUL_FACE = 0.25
"""A face of the first look whose height is a smaller share of the picture counts only if a second look confirms it: of
pictures without a person, most false faces are as small as that."""
TILES = (0.8, 0.4)
"""Sides of the tiles in which a face is looked for again, as shares of the picture's short side."""
SMALLEST_TILE = 128
"""Pixels; in smaller tiles there is nothing to see that the whole picture did not show."""
TILE_STEP = 2 / 3
"""From one tile to the next at most, as a share of its side: what the overlap holds lies in one of them whole."""
AROUND = (1.25, 1.6)
"""Half the sides of the crops of a small face that FaceLandmarker is given, the second where the first shows no face,
in sides of the face's box."""
MOST_APART = 0.07
"""How far the landmarks of a small face and those of its mirror image may be apart, as a share of the longer side of
its box. Measured on 300 faces 70 to 320 pixels high, profiles among them: median 0.009, 99 % below 0.031; where both
pictures showed the face (298), at most 0.055."""

LEAST_MARGIN = -0.25
"""With a smaller margin the mouth would be cut off, too."""
GREY = (127, 127, 127)
"""What an aligned square shows where the picture ends."""

Transform = NDArray[np.float64]
"""A similarity of the plane, shape (2, 3), from pixels of a picture to pixels of the aligned square."""


class LandmarkerUnavailableError(RuntimeError):
    """The FaceLandmarker's model file is neither given nor to be fetched."""


def landmarker_path() -> Path:
    """Return FaceLandmarker's model file: the one `DFA_FACE_LANDMARKER` names, else fetched once into the cache.

    Raises:
        LandmarkerUnavailableError: the file is missing, cannot be fetched, or is not the one that is expected.
    """
    given = os.environ.get(LANDMARKER_ENV)
    if given:
        if not Path(given).is_file():
            raise LandmarkerUnavailableError(f"{LANDMARKER_ENV} names {given}, and no file is there")
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dfa-instruct" / "face_landmarker.task"
    if cache.is_file():
        return cache
    try:
        with urllib.request.urlopen(LANDMARKER_URL, timeout=30) as response:
            content = response.read()
    except OSError as error:
        raise LandmarkerUnavailableError(
            f"FaceLandmarker's model could not be fetched ({error}); download {LANDMARKER_URL} "
            f"on a machine that can, and set {LANDMARKER_ENV} to the file"
        ) from error
    if (found := hashlib.sha256(content).hexdigest()) != LANDMARKER_SHA256:
        raise LandmarkerUnavailableError(
            f"{LANDMARKER_URL} has SHA-256 {found} instead of {LANDMARKER_SHA256}; nothing was kept"
        )
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache.parent, delete=False) as partial:
        partial.write(content)
    Path(partial.name).rename(cache)
    return cache


@contextmanager
def _native_log_silenced() -> Iterator[None]:
    """Keep what MediaPipe's C++ writes to standard error from the user; its errors come as exceptions."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class FaceDetector:
    """MediaPipe's FaceLandmarker as a context manager: `detect` gives the 81 landmarks of every face.

    FaceLandmarker sees 128 × 128 pixels of what it is given, so that it misses small faces. Where the whole picture
    shows none, or a small one, the same model looks at overlapping tiles, and FaceLandmarker at each find.
    """

    def __init__(self) -> None:
        self._landmarker: Any = None
        self._in_tiles: Any = None

    def __enter__(self) -> Self:
        from mediapipe.tasks.python import BaseOptions, vision

        path = landmarker_path()
        with _native_log_silenced():
            try:
                self._landmarker = vision.FaceLandmarker.create_from_options(
                    vision.FaceLandmarkerOptions(
                        base_options=BaseOptions(model_asset_path=str(path)), num_faces=MOST_FACES
                    )
                )
                with zipfile.ZipFile(path) as bundle:
                    content = bundle.read("face_detector.tflite")
                self._in_tiles = vision.FaceDetector.create_from_options(
                    vision.FaceDetectorOptions(base_options=BaseOptions(model_asset_buffer=content))
                )
            except (OSError, RuntimeError, ValueError) as error:
                raise LandmarkerUnavailableError(f"{path} is not FaceLandmarker's model: {error}") from error
            self.detect(np.zeros((DETECTION_SIDE, DETECTION_SIDE, 3), np.uint8))  # the first picture logs too
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._landmarker.close()
        self._in_tiles.close()

    def detect(self, image: Pixels, near: Landmarks | None = None) -> list[Landmarks]:
        """Find the faces of a picture.

        Args:
            image: in RGB, shape (height, width, 3).
            near: the landmarks of a face that is sought, as that of the bona fide frame; it is enough to find it, and
                where the whole picture does not show it, it is looked for there only.

        Returns:
            The landmarks of each face, shape (81, 2), in the picture's pixels.
        """
        short = min(image.shape[:2])
        if short < DETECTION_SIDE:
            height, width = (round(side * DETECTION_SIDE / short) for side in image.shape[:2])
            enlarged = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
            scale = np.float32(short / DETECTION_SIDE)
            return [face * scale for face in self.detect(enlarged, None if near is None else near / scale)]
        found = self.first_look(image)
        if near is not None:
            if nearest(found, near) is None and (face := self._around(image, _box(near))) is not None:
                found.append(face)
            return found
        side = max(image.shape[:2])
        least = DOUBTFUL_FACE * side
        found = [face for face in found if np.ptp(face[:, 1]) >= least or self._around(image, _box(face)) is not None]
        for share in TILES:
            tile = round(share * short)
            if tile < SMALLEST_TILE or (found and min(np.ptp(face[:, 1]) for face in found) >= SMALL_FACE * side):
                break
            side = tile
            for box in self._boxes(image, tile):
                face = self._around(image, box)
                if face is not None and nearest(found, face) is None:
                    found.append(face)
        return found

    def first_look(self, image: Pixels) -> list[Landmarks]:
        """Find the faces that FaceLandmarker sees when it is given a picture once, shape (81, 2) each."""
        height, width = image.shape[:2]
        faces = self._landmarker.detect(_as_mediapipe(image)).face_landmarks
        meshes = [np.array([(p.x * width, p.y * height) for p in face], np.float32) for face in faces]
        found: list[Landmarks] = []
        for mesh in meshes:  # among several faces, FaceLandmarker returns some twice
            if nearest(found, mesh[MEDIAPIPE_81]) is None:
                found.append(mesh[MEDIAPIPE_81])
        return found

    def _boxes(self, image: Pixels, tile: int) -> NDArray[np.float32]:
        """Look into tiles of a picture; return a box (left, top, width, height) for each face, shape (n, 4)."""
        boxes, scores = [], []
        for top, left in product(*(_tile_starts(side, tile) for side in image.shape[:2])):
            for face in self._in_tiles.detect(_as_mediapipe(image[top : top + tile, left : left + tile])).detections:
                box = face.bounding_box
                boxes.append((left + box.origin_x, top + box.origin_y, box.width, box.height))
                scores.append(face.categories[0].score)
        kept = cv2.dnn.NMSBoxes(boxes, scores, 0.0, 0.3)
        return np.array(boxes, np.float32).reshape(-1, 4)[np.array(kept, int)]

    def _around(self, image: Pixels, box: NDArray[np.float32]) -> Landmarks | None:
        """Look for the face of a box in two crops around it, one after the other; None where neither shows it."""
        looks = (self._in_crop(image, box, around) for around in AROUND)
        return next((face for face in looks if face is not None), None)

    def _in_crop(self, image: Pixels, box: NDArray[np.float32], around: float) -> Landmarks | None:
        """Look for the face of a box in a crop that reaches `around` of the box's sides from the box's middle.

        None where no face of about its place and size is found, or where the crop's mirror image shows another one: the
        landmarks of what is no face are not the same in both.
        """
        middle, side = box[:2] + box[2:] / 2, float(box[2:].max())
        begin = np.maximum(np.floor(middle - around * side), 0).astype(int)
        end = np.ceil(middle + around * side).astype(int)
        part = image[begin[1] : end[1], begin[0] : end[0]]
        scale = max(1.0, DETECTION_SIDE / max(part.shape[:2]))
        seen = np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
        mirrored = self.first_look(seen[:, ::-1])
        for face in self.first_look(seen):
            there = _box(face) / scale
            away = float(np.abs(begin + there[:2] + there[2:] / 2 - middle).max())
            in_mirror = face[MIRRORED] * np.array([-1, 1], np.float32) + np.array([seen.shape[1] - 1, 0], np.float32)
            if (
                away < side / 2
                and side / 2 < there[2:].max() < 2 * side
                and nearest(mirrored, in_mirror, MOST_APART) is not None
            ):
                return (face / scale + begin).astype(np.float32)
        return None


def _as_mediapipe(image: Pixels) -> Any:
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))


def _tile_starts(side: int, tile: int) -> list[int]:
    """Say where tiles begin that cover a side evenly."""
    count = 1 + math.ceil((side - tile) / (TILE_STEP * tile))
    return np.linspace(0, side - tile, count).round().astype(int).tolist()


def _box(landmarks: Landmarks) -> NDArray[np.float32]:
    """Return the box around a face: left, top, width, height."""
    return np.concatenate([landmarks.min(0), np.ptp(landmarks, axis=0)])


def anchors(landmarks: Landmarks) -> NDArray[np.float32]:
    """Right eye, left eye, nose tip and mouth corners, shape (5, 2)."""
    return np.stack(
        [landmarks[36:42].mean(0), landmarks[42:48].mean(0), landmarks[30], landmarks[48], landmarks[54]]
    ).astype(np.float32)


def largest(found: Sequence[Landmarks]) -> Landmarks:
    """Choose the face that covers most of the picture."""
    return max(found, key=lambda landmarks: cv2.contourArea(cv2.convexHull(landmarks)))


def not_one_face(count: int) -> str:
    """Say that a picture shows no face, or more than the one that is expected."""
    return f"{count} faces were found; exactly one is expected" if count else "no face was found"


def nearest(found: Sequence[Landmarks], landmarks: Landmarks, most: float = 0.5) -> Landmarks | None:
    """Choose the face that lies where another one lies.

    Args:
        found: the faces to choose from.
        landmarks: of the other one.
        most: how far away it may be, on the mean over the landmarks, as a share of the longer side of the other one's
            box. (The distance between the eyes is no measure: in a profile it is next to nothing.)
    """
    away = [float(np.linalg.norm(other - landmarks, axis=1).mean()) for other in found]
    return found[int(np.argmin(away))] if away and min(away) < most * np.ptp(landmarks, axis=0).max() else None


def alignment(landmarks: Landmarks, size: int, margin: float = 0.0) -> Transform:
    """Find the similarity that brings the anchors nearest to `TEMPLATE`.

    Args:
        landmarks: of a face in its picture, shape (81, 2).
        size: the aligned square's side in pixels.
        margin: what is shown more on each side, as a share of the square that `TEMPLATE` means.
    """
    return _similarity(anchors(landmarks), (TEMPLATE + margin) * size / (1 + 2 * margin))


def margin_inside(height: int, width: int, landmarks: Landmarks) -> float:
    """Find the largest margin with which a face's aligned square lies inside of its picture, in pixels."""
    to_square = alignment(landmarks, 256) / 256
    turn = np.linalg.inv(to_square[:, :2])
    x, y = turn @ (0.5 - to_square[:, 2])
    reach = min(x, y, width - 1 - x, height - 1 - y)  # from the square's middle to the nearest border
    return float(reach / np.abs(turn).sum(1).max() - 0.5)


def alignment_onto(landmarks: Landmarks, aligned: Landmarks) -> Transform:
    """Find the similarity that brings a face onto another one that is aligned already, by all their landmarks."""
    return _similarity(landmarks, aligned)


def cropped_alignment(height: int, width: int, size: int) -> Transform:
    """Fit the middle square of a picture that is a cropped face already into the aligned square."""
    scale = size / min(height, width)
    shift = [scale * (min(height, width) - side) / 2 for side in (width, height)]
    # Pixels are squares: their middles lie half a pixel from where they begin.
    half = (scale - 1) / 2
    return np.array([[scale, 0, shift[0] + half], [0, scale, shift[1] + half]], np.float64)


def _similarity(source: NDArray[np.float32], target: NDArray[np.float32]) -> Transform:
    transform, _ = cv2.estimateAffinePartial2D(source, target.astype(np.float32), method=cv2.LMEDS)
    return np.asarray(transform, np.float64)


def warp(image: Pixels, transform: Transform, size: int) -> Pixels:
    """Cut the aligned square, shape (size, size, 3), out of a picture; where the picture ends, it is `GREY`."""
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale < 0.5:  # INTER_LINEAR alone would alias: shrink by area first
        shrunk = cv2.resize(image, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA)
        image = np.asarray(shrunk, np.uint8)
        transform = transform @ np.array([[1 / (2 * scale), 0, 0], [0, 1 / (2 * scale), 0], [0, 0, 1]])
    square = cv2.warpAffine(image, transform, (size, size), flags=cv2.INTER_LINEAR, borderValue=GREY)
    return np.asarray(square, np.uint8)


def move(landmarks: Landmarks, transform: Transform) -> Landmarks:
    """Take landmarks along into the aligned square."""
    return (landmarks @ transform[:, :2].T + transform[:, 2]).astype(np.float32)


def align(image: Pixels, landmarks: Landmarks, size: int, margin: float = 0.0) -> tuple[Pixels, Landmarks]:
    """Turn, scale and shift a face into its square: the picture, shape (size, size, 3), and the landmarks in it."""
    transform = alignment(landmarks, size, margin)
    return warp(image, transform, size), move(landmarks, transform)
