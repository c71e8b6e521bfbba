"""Pictures of every format, depth and defect open or raise one type of error, and give the same pixels everywhere."""

from __future__ import annotations

import base64
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfa_instruct.sources import ARCHIVE, HIDDEN, IGNORED_REASONS, OTHER
from dfa_instruct.sources.pictures import BadPictureError, _formats, open_image, read_image, to_rgb
from dfa_instruct.sources.registry import open_source
from dfa_instruct.sources.walk import find_images
from dfa_instruct.vlm.chat import decoded, picture_of, png

HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAA"
    "AAAERAAAEAAQAAAAABoQABAAAAAAAAADIAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAA"
    "AADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkA"
    "AAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAA"
    "AAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAD"
    "ptZGF0AAAALigBrxOA9sbPEMb2IzwG8Rg3rvGZVkVPGEaXOyW2JbOH8IfekqHlqchK+oGxSMA="
)
"""A gradient of 64×48 pixels from black above to white below."""
MALFORMED = {
    "Software as a float": (0x0131, 11, struct.pack(">f", 1.5)),
    "XResolution as text": (0x011A, 2, b"72\0\0"),
    "Artist as a signed fraction": (0x013B, 6, b"\x80\x80\x80\x80"),
}
"""Tags with a type and a value that do not fit."""


def lying(tag: int, kind: int, value: bytes) -> bytes:
    """Return a JPEG that is stored on its side, with its orientation and a malformed tag in its EXIF data."""
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">HHI", tag, kind, 1 if kind == 11 else 4) + value
    entries = b"".join(sorted([entries[:12], entries[12:]]))
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + entries + struct.pack(">I", 0)
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_tag_does_not_hide_the_orientation(kind: str, tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(lying(*MALFORMED[kind]))
    for file in (tmp_path / "face.jpg", lying(*MALFORMED[kind])):
        pixels = read_image(file)
        assert pixels.shape == (64, 48, 3)  # upright: the orientation itself can be read
        assert pixels[:, 0].mean() > 240 and pixels[:, -1].mean() < 15


def test_a_picture_whose_orientation_cannot_be_read_stays_as_it_is() -> None:
    content = lying(*MALFORMED["Software as a float"])
    at = content.index(b"Exif\0\0")
    for broken in (b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0XX"):
        assert read_image(content[:at] + broken + content[at + len(broken) :]).shape == (48, 64, 3)


def png_of_16_bits() -> bytes:
    """Return a grey PNG of 16 bits with all levels from black to white."""
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [png_of_16_bits(), lying(*MALFORMED["XResolution as text"])], ids=["16 bits", "lying"]
)
def test_build_training_bench_and_chat_read_a_file_alike(content: bytes, tmp_path: Path) -> None:
    from modeling_dfa_gpt.data import DecodingCollator
    from modeling_dfa_gpt.picture import open_picture

    (tmp_path / "face").write_bytes(content)
    expected = read_image(tmp_path / "face")
    assert np.ptp(expected) > 240 and len(np.unique(expected)) > 40
    trained = DecodingCollator(lambda rows: {"images": rows[0]["images"]})
    in_memory, by_path = (
        trained([{"images": [image]}])["images"][0]
        for image in ({"bytes": content, "path": None}, {"bytes": None, "path": str(tmp_path / "face")})
    )
    shown = {
        "training": in_memory,
        "training, by path": by_path,
        "bench": decoded(picture_of({"bytes": content, "path": None})),
        "bench, by a server": Image.open(io.BytesIO(png(content))),
        "bench, opened": decoded(picture_of(open_image(content))),
        "chat": open_picture(tmp_path / "face"),
        "chat, opened": Image.fromarray(to_rgb(Image.open(io.BytesIO(content)))),
    }
    for where, image in shown.items():
        assert image.mode == "RGB" and np.array_equal(np.asarray(image), expected), where


def test_training_skips_a_damaged_picture(capsys: pytest.CaptureFixture[str]) -> None:
    from modeling_dfa_gpt.data import GREY, DecodingCollator

    collate = DecodingCollator(lambda rows: {"images": rows[0]["images"], "labels": np.ones(1)})
    assert collate([{"images": [{"bytes": png_of_16_bits()[:60], "path": "cut.png"}]}])["images"] == [GREY]
    assert "skipped cut.png: does not decode as an image" in capsys.readouterr().err


def write_all_sorts(folder: Path) -> dict[str, str]:
    """Write files of many types; return those that are not pictures, each with the reason to ignore it."""
    folder.mkdir()
    grey = Image.linear_gradient("L").convert("RGB")
    for name in ("a.jfif", "b.JPE", "c.avif", "d.gif", "e.tiff", "f.webp", "g.bmp", "h.jp2", "i.ppm", "j.PNG"):
        grey.save(folder / name, {".jfif": "JPEG", ".JPE": "JPEG"}.get(Path(name).suffix))
    grey.save(folder / "k.mpo", save_all=True, append_images=[grey.resize((64, 64))])
    grey.save(folder / "moving.gif", save_all=True, append_images=[grey.rotate(90)])
    grey.save(folder / "pages.tif", save_all=True, append_images=[grey.rotate(90)])
    (folder / "l.heic").write_bytes(HEIC)
    for name in ("layers.psd", "raw.cr2", "notes.txt", "clip.mts", "without"):
        (folder / name).write_bytes(b"something")
    (folder / "all.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    (folder / ".hidden.jpg").write_bytes(b"something")
    return {
        **dict.fromkeys(("layers.psd", "raw.cr2", "notes.txt", "clip.mts", "without"), OTHER),
        "all.zip": ARCHIVE,
        ".hidden.jpg": HIDDEN,
    }


def test_every_file_in_a_folder_is_read_or_reported(tmp_path: Path) -> None:
    ignored = write_all_sorts(tmp_path / "mine")
    source = open_source("folder", root=tmp_path / "mine")
    items = {item.source_path for item in source.items()}
    assert {path.name for path in (tmp_path / "mine").iterdir()} == items | set(ignored)
    report = source.report["bona_fide"]
    assert dict(report.ignored_files) == ignored and IGNORED_REASONS.issuperset(ignored.values())
    assert report.found == report.resolved == len(items)  # ignored files are not counted
    for path in find_images(tmp_path / "mine"):
        if path.name in ("moving.gif", "pages.tif"):
            with pytest.raises(BadPictureError, match="several pictures"):
                read_image(path)
        elif path.suffix != ".heic":
            pixels = read_image(path)
            assert pixels[:20].mean() < 30 and pixels[-20:].mean() > 225, path.name


def test_heic_without_its_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)  # as where it is not installed
    _formats.cache_clear()
    (tmp_path / "face.heic").write_bytes(HEIC)
    try:
        for file in (HEIC, tmp_path / "face.heic"):
            with pytest.raises(BadPictureError, match=r"HEIC.*pip install 'dfa-instruct\[heic\]'"):
                read_image(file)
    finally:
        _formats.cache_clear()


def test_heic_is_read_where_its_extra_is_installed() -> None:
    pytest.importorskip("pi_heif", reason="needs the extra heic")
    pixels = read_image(HEIC)
    assert pixels.shape == (48, 64, 3) and pixels[:5].mean() < 40 and pixels[-5:].mean() > 215


def test_views_pass_other_files_on_with_their_reasons(tmp_path: Path) -> None:
    from dfa_instruct.sources.views import write_views

    ignored = write_all_sorts(tmp_path / "mine")
    (tmp_path / "mine" / "gone.png").symlink_to(tmp_path / "nothing.png")
    write_views(tmp_path / "mine", tmp_path / "views", 2)
    source = open_source("folder", root=tmp_path / "views")
    items = {item.source_path for item in source.items()}
    assert "a/a-00.jpg" in items and "k/k-01.jpg" in items and "moving/moving.gif" in items
    report = source.report["bona_fide"]
    assert dict(report.ignored_files) == ignored
    assert [file for file, _ in report.dropped_files] == ["gone.png"]
