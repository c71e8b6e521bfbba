"""Thousands of pictures and videos with damaged headers: each is read, or raises the one error that there is."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from layouts import write_video
from PIL import Image

from dfa_instruct.sources.decoding import Video
from dfa_instruct.sources.pictures import BadPictureError, read_image
from modeling_dfa_gpt.app.upload import open_upload

DAMAGED = 1500
"""Copies of each kind, one to six bytes of each overwritten."""
KINDS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "GIF", "JPEG2000", "PPM")


def whole(kind: str) -> bytes:
    """A picture with EXIF tags of several types, its orientation among them."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0131], exif[0x011A], exif[0x0110] = 6, "Software", 72.0, "Camera"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 12.5)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": [noise]} if kind == "MPO" else {}
    noise.save(buffer, kind, **({} if kind in ("BMP", "GIF", "JPEG2000", "PPM") else {"exif": exif}), **options)
    return buffer.getvalue()


def damaged(content: bytes, begin: int, end: int) -> Iterator[bytes]:
    """Yield copies in which a few bytes of a part are others."""
    draw = random.Random(0)
    for _ in range(DAMAGED):
        copy = bytearray(content)
        for _ in range(draw.randint(1, 6)):
            copy[draw.randrange(begin, end)] = draw.choice([0, 255, draw.randrange(256)])
        yield bytes(copy)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_header_is_read_or_raises_the_one_error(kind: str, tmp_path: Path) -> None:
    content, path = whole(kind), tmp_path / "face"
    read = 0
    for copy in damaged(content, 0, min(400, len(content))):
        path.write_bytes(copy)
        for opened in (read_image, open_upload):
            try:
                opened(path)
                read += 1
            except BadPictureError as error:
                assert str(error) and "\n" not in str(error)
    assert 0 < read < 2 * DAMAGED  # or nothing was tried


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_jpeg_is_read_whatever_its_exif_says(kind: str) -> None:
    content = whole(kind)
    begin = content.index(b"Exif\0\0") + 6
    end = begin - 8 + int.from_bytes(content[begin - 8 : begin - 6])
    shapes = {read_image(copy).shape for copy in damaged(content, begin, end)}
    assert shapes <= {(64, 48, 3), (48, 64, 3)} and shapes


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_a_damaged_video_is_read_or_raises_the_one_error(name: str, tmp_path: Path) -> None:
    content = write_video(tmp_path / name, 5).read_bytes()
    read = 0
    for copy in list(damaged(content, 0, min(1500, len(content))))[: DAMAGED // 5]:
        (tmp_path / name).write_bytes(copy)
        try:
            with Video(tmp_path / name) as video:
                read += len(list(video.frames(range(min(50, video.count()[0])))))
        except BadPictureError as error:
            assert str(error) and "\n" not in str(error)
    assert read
