"""From a picture to the face that a model looks at."""

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
"""Side of an aligned face, as in the dataset, where the model does not see a smaller one."""
ALIGNED_WITHIN = 0.06
"""How far the anchors of a face that counts as aligned may be from their places, as a share of the side."""


@dataclass(frozen=True)
class OpenedFace:
    """A picture as a model looks at it.

    `faces`: how many were found in it; None: nobody looked. `aligned`: it is one face in its frame; where it is not,
    `notice` says why. `landmarks` are of the face in `image`, `in_picture` the same ones in the picture, in pixels.
    """

    image: Image.Image
    faces: int | None
    aligned: bool
    notice: str = ""
    landmarks: Landmarks | None = None
    in_picture: Landmarks | None = None


def open_picture(path: str | Path) -> Image.Image:
    """Open a picture as Pillow's, in RGB.

    Raises:
        BadPictureError: it is not a picture, or too small to show a face; the message names it.
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
    image: str | Path | Image.Image, faces_of: Callable[[Image.Image], list[OpenedFace]] | None = None
) -> OpenedFace:
    """Bring the one face of a picture into its frame.

    No face, several, or no FaceLandmarker: the whole picture; `notice` says so.

    Args:
        image: a picture or its file.
        faces_of: finds and cuts the faces; else `open_faces` does, with its default settings.

    Raises:
        BadPictureError: it is not a picture, or too small to show a face.
    """
    from dfa_instruct.face.detection import not_one_face

    picture = Image.fromarray(to_rgb(image)) if isinstance(image, Image.Image) else open_picture(image)
    found = (faces_of or open_faces)(picture)
    if len(found) == 1:
        return found[0]
    return _whole(picture, len(found), not_one_face(len(found)))


def open_faces(picture: Image.Image, side: int = ALIGNED_SIDE, margin: float = 0.0) -> list[OpenedFace]:
    """Bring every face of a picture, from left to right, into the frame that the model was trained on.

    Each is aligned as `dfa_instruct.face.detection.align` does, unless it is one face that is aligned already (another
    resampling would blur what there is to see). Without a FaceLandmarker: the whole picture.

    Args:
        picture: in RGB.
        side: of the aligned faces, in pixels.
        margin: what they show more on each side, as a share of the square; that of the training data.
    """
    from dfa_instruct.face.detection import TEMPLATE, LandmarkerUnavailableError, align, anchors, landmarker_path

    pixels = np.asarray(picture)
    try:
        detector = _detector(landmarker_path())
    except LandmarkerUnavailableError as error:
        return [_whole(picture, None, f"no face was looked for: {error}")]
    found = detector.detect(pixels)
    if len(found) == 1 and picture.width == picture.height:
        offsets = np.abs(anchors(found[0]) / picture.width - (TEMPLATE + margin) / (1 + 2 * margin))
        if offsets.max() < ALIGNED_WITHIN:
            return [OpenedFace(picture, 1, True, landmarks=found[0], in_picture=found[0])]
    opened = []
    for face in sorted(found, key=lambda landmarks: float(landmarks[:, 0].mean())):
        square, landmarks = align(pixels, face, side, margin)
        opened.append(OpenedFace(Image.fromarray(square), len(found), True, landmarks=landmarks, in_picture=face))
    return opened


@cache
def _detector(landmarker: Path) -> FaceDetector:
    """Return the detector of a FaceLandmarker's model file; to make one takes longer than to use it."""
    from dfa_instruct.face.detection import FaceDetector

    return FaceDetector().__enter__()


def _whole(picture: Image.Image, faces: int | None, notice: str) -> OpenedFace:
    """Pad a picture to a square with its mean colour, as LLaVA does."""
    longest = max(picture.size)
    mean = tuple(int(c) for c in np.asarray(picture).reshape(-1, 3).mean(0).round())
    return OpenedFace(ImageOps.pad(picture, (longest, longest), color=mean), faces, False, notice)


def re_encoded(face: Image.Image) -> list[Image.Image]:
    """Return a face saved as a JPEG of quality 95, and shifted by half a pixel: to the eye, the same picture."""
    import cv2

    buffer = io.BytesIO()
    face.save(buffer, format="JPEG", quality=95)
    # The border is mirrored: Pillow's own shift would leave a black line, which is not a part of the same picture.
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5]])
    shifted = cv2.warpAffine(np.asarray(face), shift, face.size, None, cv2.INTER_CUBIC, cv2.BORDER_REFLECT)
    return [Image.open(buffer).convert("RGB"), Image.fromarray(shifted)]
