"""Decoding: pictures that are none, frames of videos by their numbers, files that are cut short."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from layouts import number_in, write_video
from numpy.typing import NDArray
from PIL import Image

from dfa_instruct.sources import SourceItem
from dfa_instruct.sources.decoding import FrameChoice, Video, read_items
from dfa_instruct.sources.pictures import BadPictureError, read_image
from dfa_instruct.sources.walk import find_images, walk


def item_of(path: Path, frame: int | None = None) -> SourceItem:
    return SourceItem(path, "folder", path.name, "bona_fide", None, (), frame=frame)


def read_item(item: SourceItem) -> NDArray[np.uint8]:
    pixels = next(read_items([item]))[1]
    if isinstance(pixels, BadPictureError):
        raise pixels
    return pixels


def wide_png(path: Path, width: int, height: int) -> Path:
    """Write a PNG whose header promises many pixels; there are none to decode."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("width", "height"), [(40_000, 40), (40_000, 40_000), (12_000, 12_000)])
def test_a_bomb_is_refused_before_its_pixels_are_decoded(tmp_path: Path, width: int, height: int) -> None:
    bomb = wide_png(tmp_path / "bomb.png", width, height)
    with pytest.raises(BadPictureError, match="decompression bomb"):
        read_image(bomb)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "kind", "white"),
    [
        ("grey.png", np.uint8, 255),
        ("grey16.png", np.uint16, 65535),
        ("grey16.tif", np.uint16, 65535),
        ("eight_bits_in_16.png", np.uint16, 255),
        ("grey32.tif", np.int32, 65535),
        ("shares.tif", np.float32, 1),
        ("levels.tif", np.float32, 255),
    ],
)
def test_a_picture_of_any_depth_keeps_its_levels(tmp_path: Path, name: str, kind: type, white: int) -> None:
    ramp = np.linspace(0, 1, 64)
    Image.fromarray(np.tile((ramp * white).astype(kind), (48, 1))).save(tmp_path / name)
    pixels = read_image(tmp_path / name)
    assert pixels.shape == (48, 64, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels - (255 * ramp)[:, None]).max() <= 1.5


@pytest.mark.filterwarnings("error")
def test_bad_pictures_have_one_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:9000])
    reasons = {item.source_path: error for item, error in read_items(map(item_of, find_images(tmp_path)))}
    assert isinstance(reasons.pop("whole.jpg"), np.ndarray)
    assert {name: str(error) for name, error in reasons.items()} == {
        "cut.jpg": "does not decode as an image",
        "dot.png": "1×1 pixels; at least 32×32 are needed",
        "empty.png": "does not decode as an image",
    }
    with pytest.raises(BadPictureError, match="no such file"):
        read_item(item_of(tmp_path / "none.png"))


def test_a_picture_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90° when it was taken
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (60, 40, 3)


def frames_of(path: Path, numbers: Iterable[int]) -> dict[int, NDArray[np.uint8]]:
    with Video(path) as video:
        return dict(video.frames(numbers))


@pytest.mark.parametrize(
    ("name", "codec", "group"),
    [("a.mp4", "libx264", 30), ("b.avi", "mpeg4", 12), ("c.mkv", "libx264", 40), ("d.webm", "libvpx", 25)],
)
def test_a_frame_is_the_one_that_is_asked_for(tmp_path: Path, name: str, codec: str, group: int) -> None:
    video = write_video(tmp_path / name, 130, group, codec=codec)
    with Video(video) as opened:
        assert opened.count() == (130, 130)
    for number in (0, 1, 29, 30, 31, 60, 128, 129):
        assert number_in(read_item(item_of(video, number))) == number
    frames = frames_of(video, [129, 3, 90, 91, 40])
    assert {number: number_in(frame) for number, frame in frames.items()} == {n: n for n in (3, 40, 90, 91, 129)}
    assert frames[3].shape == (48, 64, 3)
    asked = [item_of(video, number) for number in (5, 70, 999)]
    read = {item.frame: pixels for item, pixels in read_items(asked)}
    assert number_in(read[70]) == 70
    assert "frame 999 does not decode" in str(read[999])


def test_a_frame_that_is_sought_is_decoded_as_its_encoder_meant_it(tmp_path: Path) -> None:
    """Frames of 4:4:4 are read in another way where an x264 before version 151 wrote them, which the first one says."""
    path = tmp_path / "old.mp4"
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    picture = np.asarray(cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18", "x264-params": "8x8dct=1:scenecut=0"})
        stream.gop_size = 10
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv444p"
        for number in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(picture, 2 * number, 1), format="rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    version = content.index(b"x264 - core ") + len(b"x264 - core ")
    path.write_bytes(content[:version] + b"148" + content[version + 3 :])
    with Video(path) as video:
        in_turn = dict(video.frames(range(40)))
    with Video(path) as video:
        sought = dict(video.frames([25]))
    assert np.array_equal(sought[25], in_turn[25])


def test_only_what_decoding_raises_drops_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in what is done with the decoded pixels must be seen, and not look like a damaged video."""
    path = write_video(tmp_path / "a.mp4", 3)

    def broken(*_: object) -> None:
        raise TypeError("a mistake")

    monkeypatch.setattr(np, "rot90", broken)
    with Video(path) as video, pytest.raises(TypeError, match="a mistake"):
        list(video.frames(range(3)))


def test_of_a_long_video_only_a_part_is_decoded(tmp_path: Path) -> None:
    video = write_video(tmp_path / "long.mp4", 1200, group=25)
    alone = []
    for _ in range(5):
        start = time.perf_counter()
        assert number_in(read_item(item_of(video, 1180))) == 1180 % 256
        alone.append(time.perf_counter() - start)
    start = time.perf_counter()
    frames_of(video, range(1200))
    assert min(alone) < (time.perf_counter() - start) / 5


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("b.avi", "mpeg4"), ("c.mkv", "libx264")])
def test_what_is_left_of_a_video_is_counted_and_decodes(tmp_path: Path, name: str, codec: str) -> None:
    video = write_video(tmp_path / name, 150, codec=codec)
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 6 // 10])
    with Video(video) as opened:
        present, promised = opened.count()
    assert 40 < present < promised == 150
    frames = frames_of(video, range(present))
    assert {number: number_in(frame) for number, frame in frames.items()} == {n: n for n in range(present)}
    with pytest.raises(BadPictureError, match="does not decode"):
        read_item(item_of(video, 149))


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    empty, text, index_cut = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "cut.mov"
    empty.write_bytes(b"")
    text.write_text("no video")
    index_cut.write_bytes(write_video(tmp_path / "whole.mov", 30).read_bytes()[:-700])  # its index stands at the end
    for path in (empty, text):
        with pytest.raises(BadPictureError, match="does not open as a video"):
            read_item(item_of(path, 0))
    with pytest.raises(BadPictureError, match="cut short"):
        read_item(item_of(index_cut, 0))


@pytest.mark.parametrize(("matrix", "corner"), [((0, 1, -1, 0), "right"), ((0, -1, 1, 0), "left")])
def test_a_video_stands_upright(tmp_path: Path, matrix: tuple[int, ...], corner: str) -> None:
    """A telephone held upright writes a lying picture and a matrix that turns it; here the stripes are below."""
    video = write_video(tmp_path / "a.mp4", 3)
    content = video.read_bytes()
    lying = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    at = content.index(lying, content.index(b"tkhd"))
    video.write_bytes(content[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[at + 36 :])
    upright = read_item(item_of(video, 2))
    assert upright.shape == (64, 48, 3)
    # turned clockwise, what was below is at the left; turned the other way, at the right. Frame 2: one bright stripe.
    bright_right, bright_left = upright[:, 24:].max(), upright[:, :24].max()
    assert (bright_left > bright_right) == (corner == "right")


def test_frames_are_spread_evenly() -> None:
    assert FrameChoice(4).of(range(100)) == [12, 37, 62, 87]
    assert list(FrameChoice(None, 30).of(range(100))) == [0, 30, 60, 90]
    assert list(FrameChoice(8).of([3, 5, 9])) == [3, 5, 9]
    assert FrameChoice(2, 10).of(range(100)) == [20, 70]
    assert FrameChoice(3).of(range(100), matching={4, 40, 90, 900}) == [4, 40, 90]
    assert FrameChoice(10).of(range(100), matching={4}) == FrameChoice(10).of(range(100))


def test_links_are_followed_inside_the_folder_only(tmp_path: Path) -> None:
    root = tmp_path / "my photos ü"
    (root / "ada").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(root / "ada" / "1.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "secret.png")
    (root / "again.png").symlink_to(root / "ada" / "1.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path, target_is_directory=True)
    (root / "round").symlink_to(root, target_is_directory=True)
    (root / "gone.png").symlink_to(root / "none.png")
    (root / "self.png").symlink_to(root / "self.png")
    (root / "ada" / "._1.png").write_bytes(b"left by another system")
    refused: dict[str, str] = {}
    assert list(walk(root, refused.__setitem__)) == [("", ["again.png"]), ("ada", ["1.png"])]
    assert refused == {
        "out.png": "a link that leads out of the folder",
        "up": "a link that leads out of the folder",
        "round": "a link to a folder",
        "gone.png": "a link to nothing",
        "ada/._1.png": "hidden",
        "self.png": "a link to nothing",
    }

    refused.clear()
    followed = list(walk(root, refused.__setitem__, follow_links=True))
    assert ("", ["again.png", "out.png"]) in followed and ("up", ["secret.png"]) in followed
    assert refused["round"] == refused[f"up/{root.name}/up"] == "a link to a folder that it lies in"
