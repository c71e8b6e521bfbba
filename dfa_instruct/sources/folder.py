"""One's own pictures: a folder of photographs, or of images that a generator made.

A picture in a subfolder belongs to the identity that the subfolder names (the layout of LFW); a picture at the top is
an identity of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dfa_instruct.faces import FaceDetector, align
from dfa_instruct.records import FaceRecord, Pixels
from dfa_instruct.vocabulary import Category

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
SMALLEST_SIDE = 32
DETECTION_SIDE = 256


class BadPictureError(ValueError):
    """A picture that no record can be made of; the message says why."""


@dataclass
class Dropped:
    """The pictures that were left out, each with its reason."""

    pictures: list[tuple[str, str]] = field(default_factory=list)

    def add(self, picture: str, reason: str) -> None:
        """Name one."""
        self.pictures.append((picture, reason))


def find_images(folder: Path) -> list[Path]:
    """List the image files below a folder, sorted.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no image file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
    if not files:
        raise ValueError(f"{folder}: no image in it (expected files that end in {', '.join(sorted(EXTENSIONS))})")
    return files


def read_image(path: Path) -> Pixels:
    """Decode an image as RGB, upright by its EXIF orientation, shape (height, width, 3).

    Raises:
        BadPictureError: it does not decode, or is too small or too large to hold a face.
    """
    if not path.is_file():
        raise BadPictureError("no such file")
    try:
        with Image.open(path) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Image.DecompressionBombError as error:
        raise BadPictureError("too many pixels (a decompression bomb)") from error
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise BadPictureError("does not decode as an image") from error
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        raise BadPictureError(f"{width}×{height} pixels; at least {SMALLEST_SIDE}×{SMALLEST_SIDE} are needed")
    return pixels


def aligned_face(path: Path, detector: FaceDetector, size: int) -> FaceRecord:
    """Read a picture and align the one face in it, as a bona fide record that the caller may relabel.

    Raises:
        BadPictureError: it cannot be read, or holds no face or several.
    """
    pixels = read_image(path)
    if (short := min(pixels.shape[:2])) < DETECTION_SIDE:
        enlarged = Image.fromarray(pixels).resize(
            (pixels.shape[1] * DETECTION_SIDE // short, pixels.shape[0] * DETECTION_SIDE // short),
            Image.Resampling.BICUBIC,
        )
        pixels = np.asarray(enlarged)
    found = detector.detect(pixels)
    if len(found) != 1:
        raise BadPictureError("no face found" if not found else f"{len(found)} faces found; one is expected")
    image, landmarks = align(pixels, found[0], size)
    return FaceRecord(
        image=image,
        label="bona_fide",
        category="bona_fide",
        identities=(),
        source="folder",
        source_path="",
        source_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        landmarks=landmarks,
    )


def read_folder(folder: Path, size: int, dropped: Dropped, category: Category = "bona_fide") -> Iterator[FaceRecord]:
    """Yield the aligned face of every picture below a folder; what has none, or several, goes to `dropped`.

    Args:
        folder: the pictures; `source_path` of a record is relative to it.
        size: the aligned square's side in pixels.
        dropped: filled with the pictures left out and why.
        category: `bona_fide` for photographs, `entire_face_synthesis` for a generator's images.

    Raises:
        FileNotFoundError, ValueError: see `find_images`.
        LandmarkerUnavailableError: see `dfa_instruct.faces.landmarker_path`.
    """
    files = find_images(folder)
    with FaceDetector() as detector:
        for path in files:
            relative = path.relative_to(folder)
            try:
                face = aligned_face(path, detector, size)
            except BadPictureError as error:
                dropped.add(str(relative), str(error))
                continue
            identity = relative.parts[0] if len(relative.parts) > 1 else relative.stem
            face.source_path = relative.as_posix()
            face.identities = (f"{folder.name}/{identity}",)
            if category != "bona_fide":
                face.label, face.category, face.technique = "forged", category, folder.name
            yield face
