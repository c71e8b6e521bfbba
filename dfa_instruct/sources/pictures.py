"""Pictures: the one place that opens them, whoever asks: a build, a training, the benchmark, a conversation, the page.

A file shows the same wherever it is looked at, and one that shows nothing raises one error, whatever Pillow raises.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import ExifTags, Image

from dfa_instruct.records import Pixels

SMALLEST_SIDE = 32
LARGEST_SIDE = 20_000
LARGEST_AREA = 89_000_000
"""Pixels in all. Both limits are read in the file's header; what is beyond them is not decoded."""
FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
"""Pillow's names of the formats that are decoded. It knows others that run a program (EPS) or match any file (TGA)."""
HEIC_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
TURNS: Final[dict[Any, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what brings a picture upright."""


class BadPictureError(ValueError):
    """A picture, or a frame of a video, that no record can be made of; the message says why."""


def check_size(width: int, height: int, smallest: int = SMALLEST_SIDE) -> None:
    """Raise BadPictureError where a picture, or a video's, is too large or too small."""
    if max(width, height) > LARGEST_SIDE or width * height > LARGEST_AREA:
        raise BadPictureError(
            f"{width}×{height} pixels (a decompression bomb?); "
            f"at most {LARGEST_SIDE} a side and {LARGEST_AREA // 10**6} million in all are decoded"
        )
    if min(width, height) < smallest:
        raise BadPictureError(f"{width}×{height} pixels; at least {smallest}×{smallest} are needed")


def to_rgb(image: Image.Image) -> Pixels:
    """Turn a picture of any mode and depth into RGB, upright by its EXIF orientation, shape (height, width, 3)."""
    image = _upright(image)
    if image.mode.startswith(("I", "F")):  # greyscale of more than 8 bits: Pillow would cut it off at 255, not scale it
        levels = np.nan_to_num(np.asarray(image, np.float32), posinf=0, neginf=0)
        whites = (1, 2**8 - 1, 2**16 - 1) if image.mode == "F" else (2**8 - 1, 2**16 - 1, 2**31 - 1)
        white = next((white for white in whites if white >= levels.max()), levels.max())
        image = Image.fromarray(np.rint(255 * np.clip(levels / white, 0, 1)).astype(np.uint8))
    return np.asarray(image.convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture by its EXIF orientation; one whose EXIF cannot be read stays as it is.

    `ImageOps.exif_transpose` also writes the EXIF anew, which fails where another tag is malformed.
    """
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # Pillow raises errors of nearly every kind on malformed EXIF
        return image
    return image if turn is None else image.transpose(turn)


def open_image(file: Path | bytes, smallest: int = SMALLEST_SIDE) -> Image.Image:
    """Open a picture without decoding its pixels: format, size and number of pictures are checked.

    Args:
        file: the file, or its content.
        smallest: the least side in pixels; the face of a dataset's row may have any.

    Raises:
        BadPictureError: it is in none of `FORMATS`, is damaged, is too small or too large to hold a face, or holds
            several pictures; or it is HEIC, and the extra that reads it is not installed.
    """
    if isinstance(file, Path) and not file.is_file():
        raise BadPictureError("no such file")
    with _one_error():
        if "HEIF" not in _formats() and _is_heic(file):
            raise BadPictureError("is a HEIC picture; to read it: pip install 'dfa-instruct[heic]'")
        image = _opened(file)
        try:
            check_size(*image.size, smallest)
            if _holds_several(image, file):
                raise BadPictureError("holds several pictures or an animation; one picture is expected")
        except BaseException:
            image.close()
            raise
        return image


def read_image(file: Path | bytes, smallest: int = SMALLEST_SIDE) -> Pixels:
    """Decode a picture as RGB, upright by its EXIF orientation, shape (height, width, 3).

    Everything that looks at pictures reads them here, so that a file shows the same wherever it is looked at.

    Args:
        file: the file, or its content.
        smallest: the least side in pixels; the face of a dataset's row may have any.

    Raises:
        BadPictureError: see `open_image`; or its pixels do not decode.
    """
    with open_image(file, smallest) as image, _one_error():
        return to_rgb(image)


@contextmanager
def _one_error() -> Iterator[None]:
    """Turn whatever Pillow raises on a damaged file into a BadPictureError, and silence its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BadPictureError:
        raise
    except Image.DecompressionBombError as error:
        raise BadPictureError("too many pixels (a decompression bomb)") from error
    except Exception as error:  # OSError, but also KeyError, AttributeError, struct.error, MemoryError …
        raise BadPictureError("does not decode as an image") from error


def _opened(file: Path | bytes) -> Image.Image:
    """Open a picture; a JPEG on whose EXIF or index of previews Pillow fails, as if it had neither."""
    try:
        return Image.open(_source(file), formats=_formats())
    except Exception:
        if _head(file)[:2] != b"\xff\xd8":
            raise
        content = file if isinstance(file, bytes) else file.read_bytes()
        content = content.replace(b"Exif\0\0", bytes(6)).replace(b"MPF\0", bytes(4))
        return Image.open(io.BytesIO(content), formats=["JPEG"])


def _source(file: Path | bytes) -> Path | io.BytesIO:
    """Return what Pillow opens."""
    return io.BytesIO(file) if isinstance(file, bytes) else file


def _head(file: Path | bytes) -> bytes:
    """Return the first bytes of a file."""
    if isinstance(file, bytes):
        return file[:256]
    with file.open("rb") as stream:
        return stream.read(256)


@cache
def _formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that are decoded; HEIF is among them where `pi-heif` is installed."""
    try:
        from pi_heif import register_heif_opener
    except ImportError:
        return FORMATS
    register_heif_opener()
    return (*FORMATS, "HEIF")


def _is_heic(file: Path | bytes) -> bool:
    """Tell by its brands whether a file is HEIC; AVIF has the same beginning, and other brands."""
    head = _head(file)
    return head[4:8] == b"ftyp" and any(brand in head[8 : int.from_bytes(head[:4])] for brand in HEIC_BRANDS)


def _holds_several(image: Image.Image, file: Path | bytes) -> bool:
    """Tell whether a file holds more than one picture; the previews in a telephone's JPEG or HEIC do not count."""
    if image.format != "TIFF":
        return image.format not in ("MPO", "HEIF") and getattr(image, "is_animated", False)
    try:  # to count a TIFF's pages is to walk through all of them; to go to the second one leaves the first
        with Image.open(_source(file), formats=["TIFF"]) as pages:
            pages.seek(1)
    except Exception:  # no second page, or none that can be read
        return False
    return True
