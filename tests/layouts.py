"""Small trees that mimic the published datasets' layouts, each file with what must be found out about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from dfa_instruct.records import Pixels
from dfa_instruct.sources.portraits.drawing import draw_sample

FF = "faceforensics/original_sequences/youtube/c23/frames"
CELEB = "celebdf/Celeb-real/frames"
YOUTUBE = "celebdf/YouTube-real/frames"


@dataclass(frozen=True)
class File:
    """A file of DF40 (below its root) and what it must be read as; `technique` None: it must be dropped."""

    path: str
    technique: str | None
    category: str = ""
    identities: tuple[str, ...] = ()
    pair: str | None = None


FS, FR, FE, EFS = "face_swapping", "face_reenactment", "face_editing", "entire_face_synthesis"

DF40_FILES = (
    # FS and FR of the training archive; the bona fide clip has the same frame, or it has none
    File("DF40_train/simswap/frames/993_989/131.png", "simswap", FS, ("ff/993", "ff/989"), f"{FF}/993/131.png#131"),
    File("DF40_train/simswap/frames/993_989/136.png", "simswap", FS, ("ff/993", "ff/989")),
    # both orders of a pair
    File("DF40_train/simswap/frames/989_993/131.png", "simswap", FS, ("ff/989", "ff/993"), f"{FF}/989/131.png#131"),
    # no bona fide clip
    File("DF40_train/simswap/frames/777_778/000.png", "simswap", FS, ("ff/777", "ff/778")),
    # wrong case, another name of the technique
    File("df40_TRAIN/BlendFace/Frames/993_989/131.PNG", "blendface", FS, ("ff/993", "ff/989"), f"{FF}/993/131.png#131"),
    File("DF40/InSwapper/ff/frames/993_989/131.png", "inswap", FS, ("ff/993", "ff/989"), f"{FF}/993/131.png#131"),
    File("DF40/DaGAN/ff/frames/993_989/140.jpg", "danet", FR, ("ff/993", "ff/989"), f"{FF}/993/140.png#140"),
    # a folder named as its frame is
    File("DF40/lia/ff/frames/993/993.png", "lia", FR, ("ff/993",)),
    # Celeb-DF: the first id is the target; id1_0000 is somebody else's clip
    File(
        "DF40/fsgan/cdf/frames/id0_id1_0000/000.png",
        "fsgan",
        FS,
        ("celeb/id0", "celeb/id1"),
        f"{CELEB}/id0_0000/000.png#0",
    ),
    File(
        "DF40/simswap/cdfv2/frames/id1_id0_0000/007.png",
        "simswap",
        FS,
        ("celeb/id1", "celeb/id0"),
        f"{CELEB}/id1_0000/007.png#7",
    ),
    File("DF40/MRAA/cdf/frames/00043/458.png", "MRAA", FR, ("youtube/00043",), f"{YOUTUBE}/00043/458.png#458"),
    # doubled folders
    File(
        "DF40/e4s/e4s/cdf/frames/id0_id1_0000/000.png",
        "e4s",
        FS,
        ("celeb/id0", "celeb/id1"),
        f"{CELEB}/id0_0000/000.png#0",
    ),
    File("DF40/uniface/cdf/cdf/id0_0000/000.png", "uniface", FS, ("celeb/id0",), f"{CELEB}/id0_0000/000.png#0"),
    # talking heads: no A_B
    File("DF40/sadtalker/ff/frames/993##989/131.png", "sadtalker", FR, ("ff/993",), f"{FF}/993/131.png#131"),
    File("DF40/wav2lip/ff/frames/989/131.png", "wav2lip", FR, ("ff/989",), f"{FF}/989/131.png#131"),
    # EFS: no pair, but the number of a bona fide video
    File("DF40_train/StyleGAN2/001/seed0188.png", "StyleGAN2", EFS, ("ff/001",)),
    File("DF40/RDDM/ff/993/sample-3.png", "RDDM", EFS, ("ff/993",)),
    File("DF40/DiT/cdf/Fake_from_Celeb-real/00043/458.png", "DiT", EFS, ("youtube/00043",)),
    File("DF40/SiT/cdf/Fake_from_Youtube-real/00043/458.png", "SiT", EFS, ("youtube/00043",)),
    File("DF40/VQGAN/cdf/Fake_from_Celeb-real/id10_0001/013158.png", "VQGAN", EFS, ("celeb/id10",)),
    File("DF40/pixart/cdf/Celeb-real/00011/Celeb-real_id13_0011_045.png", "pixart", EFS, ("celeb/id13",)),
    File("DF40/PixArt/cdf/YouTube-real_00043_017.png", "pixart", EFS, ("youtube/00043",)),
    File("DF40/sd2.1/cdf/Celeb-real_id13_0011_045.png", "sd2.1", EFS, ("celeb/id13",)),
    File("DF40/MidJourney/MidJourney/fake/A man, 30.png", "MidJourney", EFS, ("MidJourney/a man, 30",)),
    File("DF40/whichfaceisreal/real/1.jpg", "bona_fide", "bona_fide", ("whichfaceisreal/1",)),
    # FE
    File("DF40/starganv2/real/1007.jpg", "bona_fide", "bona_fide", ("portrait/1007",)),
    File("DF40/starganv2/fake/1007.jpg", "starganv2", FE, ("portrait/1007",)),
    File("DF40/stargan/fake/fake/1007.jpg", "stargan", FE, ("portrait/1007",)),
    File("DF40/styleclip/styleclip/fake/22.jpg", "styleclip", FE, ("portrait/22",)),
    File("DF40/CollabDiff/fake/17/0003.png", "CollabDiff", FE, ("CollabDiff/17",)),
    # frames numbered on from one video to the next: no number is that of a bona fide frame
    File("DF40/e4e/ff/989/31649.jpg", "e4e", FE, ("ff/989",)),
    File("DF40/e4e/ff/989/31650.jpg", "e4e", FE, ("ff/989",)),
    File("DF40/e4e/ff/993/31777.jpg", "e4e", FE, ("ff/993",)),  # one frame is missing: nothing is known of the order
    File("DF40/e4e/cdf/Celeb-real/inversions/00001.jpg", None),
    File("DF40/facedancer/ff/masks/000_003/131.png", None),
    # known to one technique only
    File("DF40/heygen/heygen_new/fake/frames/anna 1/0004.png", "heygen", FR, ("heygen/anna 1",)),
    File("DF40/heygen/heygen_new/real/anna 1/0004.png", "bona_fide", "bona_fide", ("heygen/anna 1",)),
    File("DF40/deepfacelab/fake/frames/x_7/12.png", "deepfacelab", FS, ("deepfacelab/x_7",)),
    # what cannot be used
    File("DF40/faceswap/ff/frames/leftover/000.png", None),
    File("DF40/faceswap/ff/frames/000_003/thumbnail.png", None),
    File("DF40/mobileswap/ff/frames.zip", None),
    File("DF40/newest/ff/frames/000_003/000.png", None),
)
"""Every layout that has been seen."""

BONA_FIDE_FILES = (
    f"{FF}/993/131.png",
    f"{FF}/993/140.png",
    f"{FF}/989/120.png",
    f"{FF}/989/131.png",
    f"{CELEB}/id0_0000/000.png",
    f"{CELEB}/id0_0000/007.png",
    f"{CELEB}/id1_0000/000.png",
    f"{CELEB}/id1_0000/007.png",
    f"{YOUTUBE}/00043/458.png",
)


def portraits(count: int, size: int = 256) -> list[Pixels]:
    """Draw that many people, one picture each, shape (size, size, 3), RGB."""
    return [face.image for face in draw_sample(identities=count, pictures=1, size=size, seed=7)]


def write_files(root: Path, files: Sequence[str]) -> None:
    """Write tiny pictures (and, by their names, archives) below a folder."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".zip":
            path.write_bytes(b"PK\x05\x06" + bytes(18))
        else:
            Image.new("RGB", (40, 40), "grey").save(path)


def write_video(path: Path, frames: int, group: int = 12, rate: int = 25, codec: str = "libx264") -> Path:
    """Write a video of 64×48 pixels in which eight stripes spell each frame's number in binary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=rate, options={"g": str(group)})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        noise = np.random.default_rng(0)
        for number in range(frames):
            picture = noise.integers(0, 60, (48, 64, 3), np.uint8)
            picture[24:] = np.repeat([20 + 220 * (number >> bit & 1) for bit in range(8)], 8)[None, :, None]
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_clip(path: Path, pictures: Sequence[Pixels], rate: int = 25) -> Path:
    """Write pictures as the frames of a video, compressed as FaceForensics++'s c23 is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "23"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def number_in(picture: np.ndarray) -> int:
    """Read the number that `write_video` spelt."""
    return sum(int(picture[36, 8 * bit + 4].mean() > 128) << bit for bit in range(8))
