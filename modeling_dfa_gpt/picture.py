"""From a picture to the face that a model looks at."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dfa_instruct.records import Landmarks

ALIGNED_SIDE = 256
"""Side of an aligned face, as in the dataset, where the model does not see a smaller one."""
ALIGNED_WITHIN = 0.06
"""How far the anchors of a face that counts as aligned may be from their places, as a share of the side."""
DETECTION_SIDE = 512


@dataclass(frozen=True)
class OpenedFace:
    """A picture as a model looks at it.

    `faces`: how many were found in it; None: nobody looked. `aligned`: it is one face in its frame; where it is not,
    `notice` says why.
    """

    image: Image.Image
    faces: int | None
    aligned: bool
    notice: str


def open_picture(path: str | Path) -> Image.Image:
    """Open a picture as Pillow's, in RGB.

    Raises:
        BadPictureError: it is not a picture, or too small to show a face; the message names it.
    """
    from dfa_instruct.sources.media import BadPictureError, read_image

    try:
        if re.match(r"\w{2,}:/", str(path)):
            raise BadPictureError("a URL; expected a file on this machine")
        if Path(path).is_dir():
            raise BadPictureError("a folder; expected a picture")
        return Image.fromarray(read_image(Path(path)))
    except BadPictureError as error:
        raise BadPictureError(f"{path}: {error}") from error


def open_face(image: str | Path | Image.Image, side: int = ALIGNED_SIDE) -> OpenedFace:
    """Open a picture and bring its face into the frame that the model was trained on, `side` pixels wide.

    One face: aligned as `dfa_instruct.faces.align` does, unless it is aligned already (another resampling would blur
    what there is to see). No face, several, or no FaceLandmarker: the whole picture, padded to a square with its mean
    colour as LLaVA does; `notice` says so.

    Raises:
        BadPictureError: it is not a picture, or too small to show a face.
    """
    from dfa_instruct.faces import TEMPLATE, FaceDetector, LandmarkerUnavailableError, align, anchors

    picture = image.convert("RGB") if isinstance(image, Image.Image) else open_picture(image)
    pixels = np.asarray(picture)
    longest = max(picture.size)
    found: list[Landmarks] | None
    try:
        with FaceDetector() as detector:
            enlargement = max(1, round(DETECTION_SIDE / longest))
            larger = picture.resize((picture.width * enlargement, picture.height * enlargement))
            found = [face / np.float32(enlargement) for face in detector.detect(np.asarray(larger))]
            notice = "" if len(found) == 1 else f"{len(found)} faces found; the whole picture is looked at"
    except LandmarkerUnavailableError as error:
        found, notice = None, f"the face was not aligned: {error}"
    if found is not None and len(found) == 1:
        offsets = np.abs(anchors(found[0]) / longest - TEMPLATE)
        aligned = picture.width == picture.height and offsets.max() < ALIGNED_WITHIN
        return OpenedFace(picture if aligned else Image.fromarray(align(pixels, found[0], side)[0]), 1, True, "")
    mean = tuple(int(c) for c in pixels.reshape(-1, 3).mean(0).round())
    padded = ImageOps.pad(picture, (longest, longest), color=mean)
    return OpenedFace(padded, None if found is None else len(found), False, notice)


def re_encoded(face: Image.Image) -> list[Image.Image]:
    """Return a face saved as a JPEG of quality 95, and shifted by half a pixel: to the eye, the same picture."""
    import cv2

    buffer = io.BytesIO()
    face.save(buffer, format="JPEG", quality=95)
    # The border is mirrored: Pillow's own shift would leave a black line, which is no part of the same picture.
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5]])
    shifted = cv2.warpAffine(np.asarray(face), shift, face.size, None, cv2.INTER_CUBIC, cv2.BORDER_REFLECT)
    return [Image.open(buffer).convert("RGB"), Image.fromarray(shifted)]
