"""Open a picture, and cut out the face that a model looks at."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from dfa_instruct.records import Landmarks
from dfa_instruct.sources.pictures import BadPictureError, read_image, to_rgb

if TYPE_CHECKING:
    from dfa_instruct.face.detection import FaceDetector

ALIGNED_SIDE = 256
"""Side of an aligned face in pixels, as in the dataset. A model that reads smaller images gets smaller faces."""
ALIGNMENT_TOLERANCE = 0.06
"""Greatest distance of a face's anchors from their template at which it counts as aligned, as a share of the side."""


@dataclass(frozen=True)
class OpenedFace:
    """A face as a model sees it.

    Attributes:
        image: The square picture that the model gets.
        faces: Number of faces in the original picture, or None if no face detector is available.
        aligned: Whether `image` is a single aligned face.
        notice: If it is not aligned, the reason.
        landmarks: The landmarks in `image`, shape (81, 2), in pixels.
        in_picture: The same landmarks in the original picture.
    """

    image: Image.Image
    faces: int | None
    aligned: bool
    notice: str = ""
    landmarks: Landmarks | None = None
    in_picture: Landmarks | None = None


def open_picture(path: str | Path) -> Image.Image:
    """Open a picture in RGB.

    Raises:
        BadPictureError: The file is not a picture, or is too small to show a face. The message names it.
    """
    try:
        if re.match(r"\w{2,}:/", str(path)):
            raise BadPictureError("a URL; expected a file on this machine")
        if Path(path).is_dir():
            raise BadPictureError("a folder; expected a picture")
        return Image.fromarray(read_image(Path(path)))
    except BadPictureError as error:
        raise BadPictureError(f"{path}: {error}") from error


def open_face(
    image: str | Path | Image.Image, find_faces: Callable[[Image.Image], list[OpenedFace]] | None = None
) -> OpenedFace:
    """Return the only face of a picture, aligned.

    If there is no face, several faces, or no face detector, return the whole picture with a notice.

    Args:
        image: The picture or its file.
        find_faces: Finds and aligns the faces. By default, `open_faces`.

    Raises:
        BadPictureError: The file is not a picture, or is too small to show a face.
    """
    from dfa_instruct.face.detection import not_one_face

    picture = Image.fromarray(to_rgb(image)) if isinstance(image, Image.Image) else open_picture(image)
    faces = (find_faces or open_faces)(picture)
    return faces[0] if len(faces) == 1 else _padded(picture, len(faces), not_one_face(len(faces)))


def open_faces(picture: Image.Image, side: int = ALIGNED_SIDE, margin: float = 0.0) -> list[OpenedFace]:
    """Find the faces of a picture and align them as in training. Without a face detector, return the whole picture.

    A picture that is already a single aligned face is not resampled, because that would blur fine traces.

    Args:
        picture: The picture in RGB.
        side: Side of the aligned faces in pixels.
        margin: Width of the margin around the aligned square on each side, as a share of the square.

    Returns:
        The faces, from left to right.
    """
    from dfa_instruct.face.alignment import TEMPLATE, align, anchors
    from dfa_instruct.face.detection import LandmarkerUnavailableError, landmarker_path

    pixels = np.asarray(picture)
    try:
        detector = _detector(landmarker_path())
    except LandmarkerUnavailableError as error:
        return [_padded(picture, None, f"the face was not detected: {error}")]
    found = detector.detect(pixels)
    if len(found) == 1 and picture.width == picture.height:
        offsets = np.abs(anchors(found[0]) / picture.width - (TEMPLATE + margin) / (1 + 2 * margin))
        if offsets.max() < ALIGNMENT_TOLERANCE:
            return [OpenedFace(picture, 1, True, landmarks=found[0], in_picture=found[0])]
    faces = []
    for in_picture in sorted(found, key=lambda landmarks: float(landmarks[:, 0].mean())):
        square, landmarks = align(pixels, in_picture, side, margin)
        faces.append(OpenedFace(Image.fromarray(square), len(found), True, landmarks=landmarks, in_picture=in_picture))
    return faces


@cache
def _detector(landmarker: Path) -> FaceDetector:
    """Return the detector. It is cached for each FaceLandmarker file because loading takes longer than detecting."""
    from dfa_instruct.face.detection import FaceDetector

    return FaceDetector().__enter__()


def _padded(picture: Image.Image, faces: int | None, notice: str) -> OpenedFace:
    """Pad a whole picture to a square with its mean colour, as LLaVA does."""
    longest = max(picture.size)
    mean = tuple(int(c) for c in np.asarray(picture).reshape(-1, 3).mean(0).round())
    return OpenedFace(ImageOps.pad(picture, (longest, longest), color=mean), faces, False, notice)


def re_encoded(face: Image.Image) -> list[Image.Image]:
    """Return two copies of a face that look the same: a JPEG of quality 95, and one shifted by half a pixel."""
    import cv2

    buffer = io.BytesIO()
    face.save(buffer, format="JPEG", quality=95)
    # Pillow's shift would leave a black line at the border; OpenCV can mirror the border.
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5]])
    shifted = cv2.warpAffine(np.asarray(face), shift, face.size, None, cv2.INTER_CUBIC, cv2.BORDER_REFLECT)
    return [Image.open(buffer).convert("RGB"), Image.fromarray(shifted)]
