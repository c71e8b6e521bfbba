"""Opening what a stranger sends: a picture, or one sentence that says why not.

What goes on from here is pixels only. A file's metadata is kept as text for the report, its other content nowhere.
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

LARGEST_FILE = 25_000_000
"""Bytes of a file."""
LARGEST_PICTURE = 50_000_000
"""Pixels: what a telephone's camera gives. More would hold up everybody else for seconds, and gigabytes of memory."""


@dataclass(frozen=True)
class Upload:
    """A picture that was sent, and what is known of its file.

    Attributes:
        name, sha256, size: of the file as it was sent; its size in bytes.
        format: Pillow's name of it.
        exif: its tags as text, name and value.
        c2pa: what its C2PA manifest says; None: nothing was there to read one with.
        width, height: in pixels, upright.
        picture: in RGB, upright.
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


def open_upload(path: Path) -> Upload:
    """Open a picture that a stranger sent.

    Raises:
        BadPictureError: it is none that is taken; the message is a sentence for who sent it.
    """
    if not path.is_file():
        raise BadPictureError("The picture is no longer there; give it once more.")
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise BadPictureError(
            f"The file has {size / 1e6:.0f} MB; pictures of at most {LARGEST_FILE / 1e6:.0f} MB are taken."
        )
    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        raise BadPictureError("The file is a ZIP archive, whatever its name or its beginning say; a picture is taken.")
    if b"<svg" in content[:4096].lower():
        raise BadPictureError("The file is an SVG, which is a program that draws; save it as a PNG or a JPEG.")
    try:
        with open_image(path) as image:
            if image.width * image.height > LARGEST_PICTURE:
                most = LARGEST_PICTURE // 10**6
                raise BadPictureError(f"{image.width}×{image.height} pixels; at most {most} million in all are decoded")
            format, exif = str(image.format), exif_as_text(image)
        picture = Image.fromarray(read_image(path))
    except BadPictureError as error:
        sentence = f"The {'picture has' if 'pixels' in str(error) else 'file'} {error}"
        if "does not decode" in sentence:
            sentence += f": it is damaged, cut short, or none of {', '.join(FORMATS)}"
        raise BadPictureError(f"{sentence}.") from error
    sha256 = hashlib.sha256(content).hexdigest()
    return Upload(printable(path.name), sha256, size, format, exif, c2pa_as_text(content), *picture.size, picture)
