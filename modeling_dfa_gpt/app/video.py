"""A video that a stranger sends: frames at an interval, each with the probability that its largest face is forged."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfa_instruct.errors import printable
from dfa_instruct.sources.pictures import BadPictureError
from modeling_dfa_gpt.app.case import SHOWN_SIDE, Case
from modeling_dfa_gpt.app.provenance import c2pa_as_text
from modeling_dfa_gpt.app.upload import LARGEST_FILE, Upload
from modeling_dfa_gpt.calibration import Calibration
from modeling_dfa_gpt.dfa_gpt import DfaGpt
from modeling_dfa_gpt.timeline import Look, VideoVerdict, look_at, sampled, verdict_of

PATIENCE = 60
"""Seconds after which no further frame is looked at."""


@dataclass(frozen=True)
class Frame:
    """A frame of a video: when it is shown, in seconds, its case, and how probable it is that its face is forged.

    `probability` is None where there is no verdict; `reason` says why.
    """

    seconds: float
    case: Case
    probability: float | None
    reason: str = ""


def watch(model: DfaGpt, path: Path) -> Iterator[list[Frame]]:
    """Look at frames of a video, evenly spread; yield those that were looked at, each time that there is one more.

    Raises:
        BadPictureError: it is not a video that is taken; the message is a sentence for who sent it.
    """
    frames: list[Frame] = []
    until = time.monotonic() + PATIENCE
    for seconds, upload in open_video(path):
        look = look_at(model, upload.picture)
        upload.picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        frames.append(Frame(seconds, Case(upload, look.faces, look.chosen), look.probability, look.reason))
        yield frames
        if time.monotonic() > until:
            return


def verdict(frames: Sequence[Frame], calibration: Calibration) -> VideoVerdict:
    """Bring the frames together, as `dfa-gpt analyze` does."""
    return verdict_of([Look(f.case.faces, f.case.chosen, f.probability, f.reason) for f in frames], calibration)


def worst(frames: Sequence[Frame]) -> list[Frame]:
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
        for number, seconds, picture in sampled(path):
            told = f"frame {number} of a video, at {seconds:.2f} s"
            yield seconds, Upload(printable(path.name), sha256, size, told, (), c2pa, *picture.size, picture)
    except BadPictureError as error:
        raise BadPictureError(f"The file cannot be read as a video (MP4, MOV, MKV, WebM, AVI): {error}.") from error
