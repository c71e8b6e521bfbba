"""Open pictures. Builds, training, the benchmark, conversations and the app all use these functions.

The same file therefore gives the same pixels everywhere, and a damaged file always raises `BadPictureError`.
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
"""The largest number of pixels. Both limits are checked in the file's header, before decoding."""
FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
"""The formats that are decoded, by Pillow's names. Others run a program (EPS) or match any file (TGA)."""
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
"""EXIF orientation → the transposition that makes the picture upright."""


class BadPictureError(ValueError):
    """A picture or a frame of a video cannot be used; the message says why."""


def check_size(width: int, height: int, smallest: int = SMALLEST_SIDE) -> None:
    """Raise BadPictureError if a picture or a video is too large or too small."""
    if max(width, height) > LARGEST_SIDE or width * height > LARGEST_AREA:
        raise BadPictureError(
            f"{width}×{height} pixels (a decompression bomb?); "
            f"the limits are {LARGEST_SIDE} pixels per side and {LARGEST_AREA // 10**6} million pixels"
        )
    if min(width, height) < smallest:
        raise BadPictureError(f"{width}×{height} pixels; at least {smallest}×{smallest} are needed")


def to_rgb(image: Image.Image) -> Pixels:
    """Convert a picture of any mode and depth to upright RGB pixels, shape (height, width, 3)."""
    image = _upright(image)
    if image.mode.startswith(("I", "F")):  # greyscale of more than 8 bits, which Pillow would clip at 255
        levels = np.nan_to_num(np.asarray(image, np.float32), posinf=0, neginf=0)
        whites = (1, 2**8 - 1, 2**16 - 1) if image.mode == "F" else (2**8 - 1, 2**16 - 1, 2**31 - 1)
        white = next((white for white in whites if white >= levels.max()), levels.max())
        image = Image.fromarray(np.rint(255 * np.clip(levels / white, 0, 1)).astype(np.uint8))
    return np.asarray(image.convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture upright by its EXIF orientation, if that can be read.

    `ImageOps.exif_transpose` also rewrites the EXIF data, which fails if another tag is malformed.
    """
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # Pillow raises many types of errors on malformed EXIF data
        return image
    return image if turn is None else image.transpose(turn)


def open_image(file: Path | bytes, smallest: int = SMALLEST_SIDE) -> Image.Image:
    """Open a picture and check its format, size and number of pictures, without decoding its pixels.

    Args:
        file: The file, or its content.
        smallest: The smallest permitted side in pixels.

    Raises:
        BadPictureError: The file has none of `FORMATS`, is damaged, too small or too large, or contains several
            pictures; or it is a HEIC picture and the extra that reads it is not installed.
    """
    if isinstance(file, Path) and not file.is_file():
        raise BadPictureError("no such file")
    with _one_error():
        if "HEIF" not in _formats() and _is_heic(file):
            raise BadPictureError("is a HEIC picture; to read it: pip install 'dfa-instruct[heic]'")
        image = _open(file)
        try:
            check_size(*image.size, smallest)
            if _has_several(image, file):
                raise BadPictureError("contains several pictures or an animation; one picture is expected")
        except BaseException:
            image.close()
            raise
        return image


def read_image(file: Path | bytes, smallest: int = SMALLEST_SIDE) -> Pixels:
    """Decode a picture as upright RGB pixels, shape (height, width, 3).

    Args:
        file: The file, or its content.
        smallest: The smallest permitted side in pixels.

    Raises:
        BadPictureError: See `open_image`; or the pixels do not decode.
    """
    with open_image(file, smallest) as image, _one_error():
        return to_rgb(image)


@contextmanager
def _one_error() -> Iterator[None]:
    """Convert all errors of Pillow to BadPictureError, and silence its warnings."""
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


def _open(file: Path | bytes) -> Image.Image:
    """Open a picture. If that fails for a JPEG, open it without its EXIF data and its index of previews."""
    try:
        return Image.open(_source(file), formats=_formats())
    except Exception:
        if _head(file)[:2] != b"\xff\xd8":
            raise
        content = file if isinstance(file, bytes) else file.read_bytes()
        content = content.replace(b"Exif\0\0", bytes(6)).replace(b"MPF\0", bytes(4))
        return Image.open(io.BytesIO(content), formats=["JPEG"])


def _source(file: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(file) if isinstance(file, bytes) else file


def _head(file: Path | bytes) -> bytes:
    if isinstance(file, bytes):
        return file[:256]
    with file.open("rb") as stream:
        return stream.read(256)


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats that are decoded, with HEIF if `pi-heif` is installed."""
    try:
        from pi_heif import register_heif_opener
    except ImportError:
        return FORMATS
    register_heif_opener()
    return (*FORMATS, "HEIF")


def _is_heic(file: Path | bytes) -> bool:
    """Return whether a file is HEIC, by its brands. AVIF begins in the same way but has other brands."""
    head = _head(file)
    return head[4:8] == b"ftyp" and any(brand in head[8 : int.from_bytes(head[:4])] for brand in HEIC_BRANDS)


def _has_several(image: Image.Image, file: Path | bytes) -> bool:
    """Return whether a file contains several pictures, not counting the previews in a phone's JPEG or HEIC file."""
    if image.format != "TIFF":
        return image.format not in ("MPO", "HEIF") and getattr(image, "is_animated", False)
    try:  # seek to the second page instead of counting the pages, which would read all of them
        with Image.open(_source(file), formats=["TIFF"]) as pages:
            pages.seek(1)
    except Exception:  # there is no second page, or it cannot be read
        return False
    return True
