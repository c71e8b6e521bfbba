"""Uploads: every hostile file is refused with one sentence, and of a picture only the pixels remain."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfa_instruct.sources.pictures import BadPictureError
from modeling_dfa_gpt.app.provenance import MAX_TAGS, MAX_VALUE_LENGTH
from modeling_dfa_gpt.app.upload import open_upload


def noise(size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8))


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that decodes to very many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = zlib.compress(bytes(100 * (width + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("../../etc/passwd", "x" * 1000)
    return buffer.getvalue()


def frames(count: int, format: str) -> bytes:
    pictures = [Image.new("L", (32, 32), number % 255) for number in range(count)]
    return encoded(pictures[0], format, save_all=True, append_images=pictures[1:])


def hostile() -> dict[str, tuple[bytes, str]]:
    jpeg = encoded(noise((200, 200)), "JPEG")
    svg = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    return {
        "bomb.png": (bomb(30_000, 30_000), "decompression bomb"),
        "print.png": (bomb(9_000, 9_000), "at most 50 million"),
        "wide.png": (bomb(19_000, 19_000), "decompression bomb"),
        "script.svg": (svg, "is an SVG"),
        "script.png": (svg, "is an SVG"),
        "archive.jpg": (archive(), "is a ZIP archive"),
        "polyglot.jpg": (jpeg + archive(), "is a ZIP archive"),
        "frames.gif": (frames(500, "GIF"), "several pictures or an animation"),
        "frames.png": (frames(500, "PNG"), "several pictures or an animation"),
        "frames.webp": (frames(50, "WEBP"), "several pictures or an animation"),
        "pages.tif": (frames(200, "TIFF"), "several pictures or an animation"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "does not decode as an image"),
        "cut.png": (encoded(noise((200, 200)), "PNG")[:60_000], "does not decode as an image"),
        "header.jpg": (jpeg[:20], "does not decode as an image"),
        "empty.jpg": (b"", "does not decode as an image"),
        "page.jpg": (b"<html><script>alert(1)</script></html>", "does not decode as an image"),
        "document.png": (b"%PDF-1.7\n1 0 obj\n", "does not decode as an image"),
        "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "does not decode as an image"),
        "dot.png": (encoded(Image.new("RGB", (1, 1)), "PNG"), "at least 32×32"),
        "large.png": (bytes(50_000_000), "has 50 MB"),
    }


@pytest.mark.filterwarnings("error::UserWarning", "error::PIL.Image.DecompressionBombWarning")
def test_hostile_files_are_refused_with_one_sentence(tmp_path: Path) -> None:
    for name, (content, expected) in hostile().items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadPictureError) as refused:
            open_upload(tmp_path / name)
        sentence = str(refused.value)
        assert expected in sentence, name
        assert sentence.endswith(".") and "\n" not in sentence
        assert str(tmp_path) not in sentence
    with pytest.raises(BadPictureError, match="was deleted"):
        open_upload(tmp_path / "absent.png")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_only_pixels_and_a_hash_remain(tmp_path: Path, format: str) -> None:
    (tmp_path / "face").write_bytes(encoded(noise(), format))
    upload = open_upload(tmp_path / "face")
    assert upload.format == format and upload.size == (tmp_path / "face").stat().st_size
    assert upload.picture.size == (64, 48) and upload.picture.mode == "RGB"
    assert not upload.picture.info and not upload.picture.getexif()
    assert len(upload.sha256) == 64


def test_phone_jpeg_with_a_preview_is_one_picture(tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(encoded(noise((200, 100)), "MPO", save_all=True, append_images=[noise()]))
    assert open_upload(tmp_path / "face.jpg").picture.size == (200, 100)


def test_exif_orientation_is_applied_and_tags_become_text(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    exif[0x0110] = "Camera <script>\x1b[31m" + "x" * 1000
    exif.get_ifd(0x8769)[0x927C] = b"\x00\x01" * 500  # the maker's note
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 12.5)
    (tmp_path / "face.jpg").write_bytes(encoded(noise(), "JPEG", exif=exif))
    upload = open_upload(tmp_path / "face.jpg")
    assert upload.picture.size == (48, 64) and not upload.picture.getexif()
    tags = dict(upload.exif)
    assert tags["Orientation"] == "6" and tags["GPSLatitude"] == "48.0, 8.0, 12.5"
    assert tags["MakerNote"] == "1000 bytes"
    assert tags["Model"].startswith("Camera <script>\\x1b") and len(tags["Model"]) <= MAX_VALUE_LENGTH + 10


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_or_long_exif_does_no_harm(tmp_path: Path) -> None:
    exif = Image.Exif()
    for tag in range(0xF000, 0xF100):
        exif[tag] = "x"
    many = encoded(noise(), "JPEG", exif=exif)
    broken = encoded(noise(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    for content in (many, broken):
        (tmp_path / "face.jpg").write_bytes(content)
        assert len(open_upload(tmp_path / "face.jpg").exif) <= MAX_TAGS
