"""Opening what a stranger sends: a picture, or one sentence that says why not.

What goes on from here is pixels only. A file's metadata is kept as text for the report, its other content nowhere.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from dfa_instruct.errors import printable
from dfa_instruct.sources.media import BadPictureError, read_image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
LARGEST_FILE = 25_000_000
"""Bytes of a file."""
MOST_TAGS = 64
LONGEST_TAG = 200
"""Characters of one EXIF value that are kept."""


@dataclass(frozen=True)
class Upload:
    """A picture that was sent, and what is known of its file.

    Attributes:
        name, sha256, size: of the file as it was sent; its size in bytes.
        format: Pillow's name of it.
        exif: its tags as text, name and value.
        width, height: in pixels, upright.
        picture: in RGB, upright.
    """

    name: str
    sha256: str
    size: int
    format: str
    exif: tuple[tuple[str, str], ...]
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
        picture = Image.fromarray(read_image(path, FORMATS))
    except BadPictureError as error:
        if "does not decode" in str(error):
            sentence = f"The file {error}: it is damaged, cut short, or none of {', '.join(FORMATS)}."
        else:
            sentence = f"The picture has {error}."
        raise BadPictureError(sentence) from error
    with Image.open(path, formats=FORMATS) as image:
        if _is_sequence(image):
            raise BadPictureError("The file holds several pictures or an animation; give a single picture.")
        sha256 = hashlib.sha256(content).hexdigest()
        exif = exif_as_text(image)
        return Upload(printable(path.name), sha256, size, str(image.format), exif, *picture.size, picture)


def _is_sequence(image: Image.Image) -> bool:
    """Tell whether a file holds more than one picture; the previews in a telephone's JPEG (MPO) do not count."""
    if image.format != "TIFF":  # whose pages can be counted only by walking through all of them
        return image.format != "MPO" and getattr(image, "is_animated", False)
    try:
        image.seek(1)
    except (EOFError, OSError, ValueError, SyntaxError, struct.error):  # no second page, or none that can be read
        return False
    return True


def exif_as_text(image: Image.Image) -> tuple[tuple[str, str], ...]:
    """Return the EXIF tags of an image as (name, value), short and printable; one that says so if they are broken."""
    try:
        exif = image.getexif()
        groups: list[tuple[dict[int, str], Any]] = [
            (ExifTags.TAGS, exif),
            (ExifTags.TAGS, exif.get_ifd(ExifTags.IFD.Exif)),
            (ExifTags.GPSTAGS, exif.get_ifd(ExifTags.IFD.GPSInfo)),
        ]
        found = [
            (names.get(tag, f"tag {tag}"), _value(value)) for names, group in groups for tag, value in group.items()
        ]
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error):
        return (("EXIF", "cannot be read"),)
    return tuple(found[:MOST_TAGS])


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        text = value.rstrip(b"\0").decode("ascii", "replace")
        return text[:LONGEST_TAG] if text.isprintable() and "\ufffd" not in text else f"{len(value)} bytes"
    if isinstance(value, tuple):
        return ", ".join(map(_value, value[:16])) + (", …" if len(value) > 16 else "")
    return printable(str(value).rstrip("\0")[:LONGEST_TAG])
