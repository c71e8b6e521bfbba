"""Detect faces and their 81 landmarks in a picture.

MediaPipe's FaceLandmarker returns 478 points per face. 81 of them are kept, in the order of
`dfa_instruct.records.Landmarks`. Points 0-67 follow iBUG 300-W: 0-16 are the contour of the face from the subject's
right temple along the chin to the left temple, 17-26 the eyebrows, 27-35 the nose, 36-47 the eyes and 48-67 the mouth.
Points 68-80 are the upper contour of the forehead from the right temple to the left one.
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
from functools import cache
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
"""The index of each of the 81 landmarks in MediaPipe's face mesh."""


DETECTION_SIDE = 256
"""In pixels. A picture is enlarged before detection if its shorter side is shorter than this. A crop around a face is
enlarged if its longer side is shorter."""
MAX_FACES = 64
"""The largest number of faces that FaceLandmarker returns for a picture or a crop."""
SMALL_FACE = 0.2
"""A face is small if its height is less than this share of the longer side of the picture or tile. FaceLandmarker
scales its input to 128 × 128 pixels and misses small faces: 1 % of the faces whose share is 0.15, and half of the faces
whose share is 0.1."""
DOUBTFUL_FACE = 0.25
"""If the height of a face is less than this share of the picture's longer side, the face must be confirmed by a second
detection in a crop. Most false faces in pictures without a person are that small."""
TILES = (0.8, 0.4)
"""The sides of the tiles that are searched for small faces, as shares of the picture's shorter side."""
MIN_TILE = 128
"""The smallest side of a tile in pixels. Smaller tiles show nothing that the whole picture does not show."""
TILE_STEP = 2 / 3
"""The largest distance from one tile to the next, as a share of a tile's side. A face that fits into the overlap is
complete in at least one tile."""
CROP_REACHES = (1.25, 1.6)
"""Half the sides of the two crops around a small face, as multiples of the longer side of the face's box. The second
crop is used if no face is found in the first."""
MAX_MIRROR_DISTANCE = 0.07
"""The largest mean distance between the landmarks of a small face and those found in its mirror image, as a share of
the longer side of its box. It was measured on 300 faces with a height of 70 to 320 pixels, profiles included: the
median is 0.009, and 99 % are below 0.031. For the 298 faces that were found in both pictures, it is at most 0.055."""


class LandmarkerUnavailableError(RuntimeError):
    """FaceLandmarker's model file is missing or invalid, or cannot be downloaded; the message says which."""


def landmarker_path() -> Path:
    """Return the path of FaceLandmarker's model file.

    The environment variable `DFA_FACE_LANDMARKER` names the file. If it is not set, the file is downloaded once and
    cached in `dfa-instruct` in the user's cache folder (`XDG_CACHE_HOME`, by default `~/.cache`).

    Raises:
        LandmarkerUnavailableError: The file that the variable names is missing, the download fails, or the downloaded
            file does not have the expected SHA-256.
    """
    configured = os.environ.get(LANDMARKER_ENV)
    if configured:
        if not Path(configured).is_file():
            raise LandmarkerUnavailableError(f"{LANDMARKER_ENV}: {configured}: no such file")
        return Path(configured)
    path = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dfa-instruct" / "face_landmarker.task"
    if not path.is_file() and (failure := _download(path)):
        raise LandmarkerUnavailableError(failure)
    return path


@cache
def _download(path: Path) -> str:
    """Download FaceLandmarker's model file, and return the error message, or an empty string.

    The result is cached, because without a network each attempt would take seconds, for each picture.
    """
    try:
        with urllib.request.urlopen(LANDMARKER_URL, timeout=30) as response:
            content = response.read()
    except OSError as error:
        return (
            f"FaceLandmarker's model file could not be downloaded ({error}): download {LANDMARKER_URL} "
            f"on a machine with internet access, and set {LANDMARKER_ENV} to the file"
        )
    if (found := hashlib.sha256(content).hexdigest()) != LANDMARKER_SHA256:
        return f"{LANDMARKER_URL} has the SHA-256 {found}; expected {LANDMARKER_SHA256}. The file was not saved"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as partial:
        partial.write(content)
    Path(partial.name).rename(path)
    return ""


@contextmanager
def _native_log_silenced() -> Iterator[None]:
    """Discard what MediaPipe's C++ code writes to standard error. Its errors are raised as exceptions anyway."""
    saved_stderr = os.dup(2)
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved_stderr, 2)
        os.close(saved_stderr)


class FaceDetector:
    """Detect faces with MediaPipe's FaceLandmarker. Use it as a context manager.

    FaceLandmarker scales its input to 128 × 128 pixels and therefore misses small faces. If it finds no face in the
    whole picture, or a small one, its face detector searches overlapping tiles of the picture, and FaceLandmarker then
    runs on a crop around each face that was found there.

    Raises:
        LandmarkerUnavailableError: On entering the context, the model file is unavailable (see `landmarker_path`) or is
            not a model file of FaceLandmarker.
    """

    def __init__(self) -> None:
        self._landmarker: Any = None
        self._detector: Any = None

    def __enter__(self) -> Self:
        from mediapipe.tasks.python import BaseOptions, vision

        path = landmarker_path()
        with _native_log_silenced():
            try:
                self._landmarker = vision.FaceLandmarker.create_from_options(
                    vision.FaceLandmarkerOptions(
                        base_options=BaseOptions(model_asset_path=str(path)), num_faces=MAX_FACES
                    )
                )
                with zipfile.ZipFile(path) as bundle:
                    content = bundle.read("face_detector.tflite")
                self._detector = vision.FaceDetector.create_from_options(
                    vision.FaceDetectorOptions(base_options=BaseOptions(model_asset_buffer=content))
                )
            except (OSError, RuntimeError, ValueError) as error:
                raise LandmarkerUnavailableError(f"{path} is not FaceLandmarker's model: {error}") from error
            self.detect(np.zeros((DETECTION_SIDE, DETECTION_SIDE, 3), np.uint8))  # the first picture is logged, too
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._landmarker.close()
        self._detector.close()

    def detect(self, image: Pixels, near: Landmarks | None = None) -> list[Landmarks]:
        """Detect the faces in a picture.

        Args:
            image: The picture in RGB, shape (height, width, 3).
            near: The landmarks of the one face that is needed, for example those of the bona fide frame. If this face
                is not found in the whole picture, only its surroundings are searched, not the tiles.

        Returns:
            The landmarks of each face in pixels of the picture, shape (81, 2).
        """
        short = min(image.shape[:2])
        if short < DETECTION_SIDE:
            height, width = (round(side * DETECTION_SIDE / short) for side in image.shape[:2])
            enlarged = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
            scale = np.float32(short / DETECTION_SIDE)
            return [face * scale for face in self.detect(enlarged, None if near is None else near / scale)]
        found = self.first_look(image)
        if near is not None:
            if nearest(found, near) is None and (face := self._in_box(image, _box(near))) is not None:
                found.append(face)
            return found
        side = max(image.shape[:2])
        limit = DOUBTFUL_FACE * side
        found = [face for face in found if np.ptp(face[:, 1]) >= limit or self._in_box(image, _box(face)) is not None]
        for share in TILES:
            tile = round(share * short)
            if tile < MIN_TILE or (found and min(np.ptp(face[:, 1]) for face in found) >= SMALL_FACE * side):
                break
            side = tile
            for box in self._tile_boxes(image, tile):
                face = self._in_box(image, box)
                if face is not None and nearest(found, face) is None:
                    found.append(face)
        return found

    def first_look(self, image: Pixels) -> list[Landmarks]:
        """Run FaceLandmarker once on a picture, and return the landmarks of each face in pixels, shape (81, 2)."""
        height, width = image.shape[:2]
        faces = self._landmarker.detect(_as_mediapipe(image)).face_landmarks
        meshes = [np.array([(p.x * width, p.y * height) for p in face], np.float32) for face in faces]
        found: list[Landmarks] = []
        for mesh in meshes:  # FaceLandmarker may return one of several faces twice
            if nearest(found, mesh[MEDIAPIPE_81]) is None:
                found.append(mesh[MEDIAPIPE_81])
        return found

    def _tile_boxes(self, image: Pixels, tile: int) -> NDArray[np.float32]:
        """Detect faces in tiles of a picture, and return their boxes (left, top, width, height), shape (n, 4)."""
        boxes, scores = [], []
        for top, left in product(*(_tile_starts(side, tile) for side in image.shape[:2])):
            for face in self._detector.detect(_as_mediapipe(image[top : top + tile, left : left + tile])).detections:
                box = face.bounding_box
                boxes.append((left + box.origin_x, top + box.origin_y, box.width, box.height))
                scores.append(face.categories[0].score)
        kept = cv2.dnn.NMSBoxes(boxes, scores, 0.0, 0.3)
        return np.array(boxes, np.float32).reshape(-1, 4)[np.array(kept, int)]

    def _in_box(self, image: Pixels, box: NDArray[np.float32]) -> Landmarks | None:
        """Detect the face in a box, with a wider crop if the first one fails. Return None if neither shows it."""
        attempts = (self._in_crop(image, box, reach) for reach in CROP_REACHES)
        return next((face for face in attempts if face is not None), None)

    def _in_crop(self, image: Pixels, box: NDArray[np.float32], reach: float) -> Landmarks | None:
        """Detect the face in a box, in a crop of 2 · `reach` times the box's longer side around the box's centre.

        Return None if no face of about the same position and size is found, or if the landmarks differ in the crop's
        mirror image. On something that is not a face, FaceLandmarker finds different landmarks in the two.
        """
        centre, side = box[:2] + box[2:] / 2, float(box[2:].max())
        start = np.maximum(np.floor(centre - reach * side), 0).astype(int)
        end = np.ceil(centre + reach * side).astype(int)
        crop = image[start[1] : end[1], start[0] : end[0]]
        scale = max(1.0, DETECTION_SIDE / max(crop.shape[:2]))
        enlarged = np.asarray(cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
        mirrored_faces = self.first_look(enlarged[:, ::-1])
        for face in self.first_look(enlarged):
            face_box = _box(face) / scale
            distance = float(np.abs(start + face_box[:2] + face_box[2:] / 2 - centre).max())
            expected = face[MIRRORED] * np.array([-1, 1], np.float32) + np.array([enlarged.shape[1] - 1, 0], np.float32)
            if (
                distance < side / 2
                and side / 2 < face_box[2:].max() < 2 * side
                and nearest(mirrored_faces, expected, MAX_MIRROR_DISTANCE) is not None
            ):
                return (face / scale + start).astype(np.float32)
        return None


def _as_mediapipe(image: Pixels) -> Any:
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))


def _tile_starts(side: int, tile: int) -> list[int]:
    """Return the starts of evenly spaced tiles that cover a side, in pixels."""
    count = 1 + math.ceil((side - tile) / (TILE_STEP * tile))
    return np.linspace(0, side - tile, count).round().astype(int).tolist()


def _box(landmarks: Landmarks) -> NDArray[np.float32]:
    """Return the bounding box of a face: left, top, width, height."""
    return np.concatenate([landmarks.min(0), np.ptp(landmarks, axis=0)])


def largest(found: Sequence[Landmarks]) -> Landmarks:
    """Return the face with the largest area. Its area is that of the convex hull of its landmarks."""
    return max(found, key=lambda landmarks: cv2.contourArea(cv2.convexHull(landmarks)))


def not_one_face(count: int) -> str:
    """Return the error message for a picture with no face or with several faces."""
    return f"{count} faces were found; exactly one is expected" if count else "no face was found"


def nearest(found: Sequence[Landmarks], landmarks: Landmarks, max_distance: float = 0.5) -> Landmarks | None:
    """Return the face that is nearest to a given face, or None if none is near enough.

    Args:
        found: The landmarks of the faces to choose from.
        landmarks: The landmarks of the given face.
        max_distance: The limit of the mean distance between the landmarks of the two faces, as a share of the longer
            side of the given face's box. (The distance between the eyes is not a usable unit: in a profile, it is
            almost zero.)
    """
    distances = [float(np.linalg.norm(other - landmarks, axis=1).mean()) for other in found]
    return (
        found[int(np.argmin(distances))]
        if distances and min(distances) < max_distance * np.ptp(landmarks, axis=0).max()
        else None
    )
