"""A video that a stranger sends: frames at an interval, each with the probability that its largest face is forged."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dfa_instruct.errors import printable
from dfa_instruct.sources.media import Video
from dfa_instruct.sources.pictures import BadPictureError
from modeling_dfa_gpt.app.case import SHOWN_SIDE, Case
from modeling_dfa_gpt.app.provenance import c2pa_as_text
from modeling_dfa_gpt.app.upload import LARGEST_FILE, Upload
from modeling_dfa_gpt.dfa_gpt import DfaGpt
from modeling_dfa_gpt.picture import open_faces

FORMATS = ("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi")
"""FFmpeg's names of MP4, MOV, MKV, WebM and AVI."""
MOST_FRAMES = 24
SHORTEST_INTERVAL = 0.5
"""Seconds from one frame that is looked at to the next."""
LARGEST_FRAME = 3840 * 2160
"""Pixels."""
PATIENCE = 60
"""Seconds after which no further frame is looked at."""


@dataclass(frozen=True)
class Frame:
    """A frame of a video: when it is shown, in seconds, and how probable it is that its largest face is forged.

    `probability` is None where there is no face.
    """

    seconds: float
    case: Case
    probability: float | None


def watch(model: DfaGpt, path: Path) -> Iterator[list[Frame]]:
    """Look at frames of a video, evenly spread; yield those that were looked at, each time that there is one more.

    Raises:
        BadPictureError: it is not a video that is taken; the message is a sentence for who sent it.
    """
    frames: list[Frame] = []
    until = time.monotonic() + PATIENCE
    for seconds, upload in open_video(path):
        faces = open_faces(upload.picture, model.face_side)
        upload.picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        sizes = [0.0 if face.in_picture is None else float(np.ptp(face.in_picture, 0).prod()) for face in faces]
        case = Case(upload, faces, int(np.argmax(sizes)) if faces else None)
        probability = model.calibration.probability(*model.forged_logits([case.face.image])) if faces else None
        frames.append(Frame(seconds, case, probability))
        yield frames
        if time.monotonic() > until:
            return


def worst(frames: list[Frame]) -> list[Frame]:
    """Return the frames that show a face, the most probably forged one first."""
    return sorted((f for f in frames if f.probability is not None), key=lambda f: -(f.probability or 0))


def open_video(path: Path) -> Iterator[tuple[float, Upload]]:
    """Yield frames of a video, at most `MOST_FRAMES`, each with its time in seconds.

    Raises:
        BadPictureError: see `watch`.
    """
    if not path.is_file():
        raise BadPictureError("The video is no longer there; give it once more.")
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise BadPictureError(
            f"The file has {size / 1e6:.0f} MB; videos of at most {LARGEST_FILE / 1e6:.0f} MB are taken."
        )
    content = path.read_bytes()
    sha256, c2pa = hashlib.sha256(content).hexdigest(), c2pa_as_text(content)
    del content
    try:
        with Video(path, FORMATS) as video:
            if video.width * video.height > LARGEST_FRAME:
                raise BadPictureError(f"{video.width}×{video.height} pixels; 3840×2160 at most are decoded")
            total, _ = video.count()
            interval = max(math.ceil(total / MOST_FRAMES), round(SHORTEST_INTERVAL * video.rate), 1)
            found = False
            for number, pixels in video.frames(range(0, total, interval)):
                found, picture, seconds = True, Image.fromarray(pixels), number / video.rate
                told = f"frame {number} of a video, at {seconds:.2f} s"
                yield seconds, Upload(printable(path.name), sha256, size, told, (), c2pa, *picture.size, picture)
            if not found:
                raise BadPictureError("no frame of it decodes")
    except BadPictureError as error:
        raise BadPictureError(f"The file cannot be read as a video (MP4, MOV, MKV, WebM, AVI): {error}.") from error
