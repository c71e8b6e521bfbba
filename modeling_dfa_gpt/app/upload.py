"""Open a file that a visitor uploaded: decode it as a picture, or say in one sentence why it is not accepted.

Only the pixels are used afterwards. The metadata is kept as text for the report; all other content is discarded.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dfa_instruct.errors import printable
from dfa_instruct.sources.pictures import FORMATS, BadPictureError, open_image, read_image
from modeling_dfa_gpt.app.provenance import Tags, c2pa_as_text, exif_as_text

MAX_FILE_BYTES = 25_000_000
MAX_PIXELS = 50_000_000
"""As many as a phone's camera gives. Larger pictures need gigabytes of memory and would delay other visitors."""


@dataclass(frozen=True)
class Upload:
    """An uploaded picture, and the facts about its file.

    Attributes:
        name: Name of the uploaded file.
        sha256: Hash of the uploaded file.
        size: Size of the uploaded file in bytes.
        format: Pillow's name of the format.
        exif: EXIF tags as text, as pairs of name and value.
        c2pa: C2PA manifest as text, or None if no reader is installed.
        width, height: Size of the upright picture in pixels.
        picture: The upright picture in RGB.
    """

    name: str
    sha256: str
    size: int
    format: str
    exif: Tags
    c2pa: Tags | None
    width: int
    height: int
    picture: Image.Image


def check_file(path: Path, kind: str) -> bytes:
    """Return the content of an uploaded picture or video, after checking its size.

    Raises:
        BadPictureError: The file is too large, or was deleted. The message is a sentence for the visitor.
    """
    if not path.is_file():
        raise BadPictureError(f"The {kind} was deleted; upload it again.")
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise BadPictureError(
            f"The file has {size / 1e6:.0f} MB; a {kind} may have at most {MAX_FILE_BYTES / 1e6:.0f} MB."
        )
    return path.read_bytes()


def open_upload(path: Path) -> Upload:
    """Open an uploaded picture.

    Raises:
        BadPictureError: The file is not an accepted picture. The message is a sentence for the visitor.
    """
    content = check_file(path, "picture")
    if zipfile.is_zipfile(path):
        raise BadPictureError("The file is a ZIP archive, or contains one; upload a picture.")
    if b"<svg" in content[:4096].lower():
        raise BadPictureError("The file is an SVG drawing; save it as a PNG or a JPEG.")
    try:
        with open_image(path) as image:
            if image.width * image.height > MAX_PIXELS:
                limit = MAX_PIXELS // 10**6
                raise BadPictureError(f"{image.width}×{image.height} pixels; at most {limit} million are accepted")
            format, exif = str(image.format), exif_as_text(image)
        picture = Image.fromarray(read_image(path))
    except BadPictureError as error:
        raise BadPictureError(
            f"The file cannot be used: {error}. Upload one undamaged picture ({', '.join(FORMATS)})."
        ) from error
    sha256 = hashlib.sha256(content).hexdigest()
    name, c2pa = printable(path.name), c2pa_as_text(content)
    return Upload(name, sha256, len(content), format, exif, c2pa, *picture.size, picture)
