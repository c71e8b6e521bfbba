"""Finding a face, its 81 landmarks, and turning it into an aligned square.

Photographs go through MediaPipe's FaceLandmarker (478 points), of which the 81 of `dfa_instruct.records.Landmarks`
are kept: 0-16 face contour from the subject's right temple over the chin to the left one, 17-26 eyebrows, 27-35 nose,
36-47 eyes, 48-67 mouth (all as in iBUG 300-W), 68-80 the forehead's upper contour from right temple to left.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
"""Smaller pictures are enlarged to it before a face is looked for."""

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
    """MediaPipe's FaceLandmarker as a context manager: `detect` gives the 81 landmarks of every face."""

    def __init__(self, max_faces: int = 4, min_confidence: float = 0.5) -> None:
        self.max_faces = max_faces
        self.min_confidence = min_confidence
        self._landmarker: Any = None

    def __enter__(self) -> Self:
        from mediapipe.tasks.python import BaseOptions
        from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions

        path = landmarker_path()
        options = FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(path)),
            num_faces=self.max_faces,
            min_face_detection_confidence=self.min_confidence,
        )
        with _native_log_silenced():
            try:
                self._landmarker = FaceLandmarker.create_from_options(options)
            except (OSError, RuntimeError, ValueError) as error:
                raise LandmarkerUnavailableError(f"{path} is not FaceLandmarker's model: {error}") from error
            self.detect(np.zeros((64, 64, 3), np.uint8))  # the first picture logs too
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._landmarker.close()

    def detect(self, image: Pixels) -> list[Landmarks]:
        """Return the landmarks of each face in an RGB image, shape (81, 2), in its pixels."""
        import mediapipe

        height, width = image.shape[:2]
        found = self._landmarker.detect(
            mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        )
        meshes = [np.array([(p.x * width, p.y * height) for p in face], np.float32) for face in found.face_landmarks]
        return [mesh[MEDIAPIPE_81] for mesh in meshes]


def anchors(landmarks: Landmarks) -> NDArray[np.float32]:
    """Right eye, left eye, nose tip and mouth corners, shape (5, 2)."""
    return np.stack(
        [landmarks[36:42].mean(0), landmarks[42:48].mean(0), landmarks[30], landmarks[48], landmarks[54]]
    ).astype(np.float32)


def legible(image: Pixels) -> Pixels:
    """Enlarge a picture whose short side is below `DETECTION_SIDE` pixels to it; return any other as it is."""
    short = min(image.shape[:2])
    if short >= DETECTION_SIDE:
        return image
    height, width = (round(side * DETECTION_SIDE / short) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def largest(found: Sequence[Landmarks]) -> Landmarks:
    """Choose the face that covers most of the picture."""
    return max(found, key=lambda landmarks: cv2.contourArea(cv2.convexHull(landmarks)))


def nearest(found: Sequence[Landmarks], landmarks: Landmarks) -> Landmarks | None:
    """Choose the face that lies where another one lies; none where all are farther away than its eyes are apart."""
    away = [float(np.linalg.norm(other - landmarks, axis=1).mean()) for other in found]
    apart = float(np.linalg.norm(landmarks[36:42].mean(0) - landmarks[42:48].mean(0)))
    return found[int(np.argmin(away))] if away and min(away) < apart else None


def alignment(landmarks: Landmarks, size: int, margin: float = 0.0) -> Transform:
    """Find the similarity that brings the anchors nearest to `TEMPLATE`.

    Args:
        landmarks: of a face in its picture, shape (81, 2).
        size: the aligned square's side in pixels.
        margin: what is shown more on each side, as a share of the square that `TEMPLATE` means.
    """
    return _similarity(anchors(landmarks), (TEMPLATE + margin) * size / (1 + 2 * margin))


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
    """Cut the aligned square, shape (size, size, 3), out of a picture; what lies outside mirrors it."""
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale < 0.5:  # INTER_LINEAR alone would alias: shrink by area first
        shrunk = cv2.resize(image, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA)
        image = np.asarray(shrunk, np.uint8)
        transform = transform @ np.array([[1 / (2 * scale), 0, 0], [0, 1 / (2 * scale), 0], [0, 0, 1]])
    square = cv2.warpAffine(image, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(square, np.uint8)


def move(landmarks: Landmarks, transform: Transform) -> Landmarks:
    """Take landmarks along into the aligned square."""
    return (landmarks @ transform[:, :2].T + transform[:, 2]).astype(np.float32)


def align(image: Pixels, landmarks: Landmarks, size: int, margin: float = 0.0) -> tuple[Pixels, Landmarks]:
    """Turn, scale and shift a face into its square: the picture, shape (size, size, 3), and the landmarks in it."""
    transform = alignment(landmarks, size, margin)
    return warp(image, transform, size), move(landmarks, transform)
