"""Analyze a video that a visitor uploaded, frame by frame."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfa_instruct.errors import printable
from dfa_instruct.sources.pictures import BadPictureError
from modeling_dfa_gpt.app.case import DISPLAY_SIDE, Case
from modeling_dfa_gpt.app.provenance import c2pa_as_text
from modeling_dfa_gpt.app.upload import Upload, check_file
from modeling_dfa_gpt.dfa_gpt import DfaGpt
from modeling_dfa_gpt.timeline import FrameAnalysis, analyze_frame, sample_frames

TIME_LIMIT = 60
"""Seconds after which no further frame is analyzed."""


@dataclass(frozen=True, kw_only=True)
class Frame(FrameAnalysis):
    """An analyzed frame of a video, and the case that shows it."""

    case: Case


def analyze_upload(model: DfaGpt, path: Path) -> Iterator[list[Frame]]:
    """Analyze evenly spaced frames of an uploaded video. Yield all frames so far after each one.

    Raises:
        BadPictureError: The file is not an accepted video. The message is a sentence for the visitor.
    """
    frames: list[Frame] = []
    deadline = time.monotonic() + TIME_LIMIT
    for number, seconds, upload in open_video(path):
        analysis = analyze_frame(model, upload.picture, number, seconds)
        upload.picture.thumbnail((DISPLAY_SIDE, DISPLAY_SIDE))
        frames.append(Frame(**vars(analysis), case=Case(upload, analysis.faces, analysis.chosen)))
        yield frames
        if time.monotonic() > deadline:
            return


def most_probable_first(frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames that have a probability, sorted by it in descending order."""
    return sorted((f for f in frames if f.probability is not None), key=lambda f: -(f.probability or 0))


def open_video(path: Path) -> Iterator[tuple[int, float, Upload]]:
    """Yield the number, the time in seconds and the picture of evenly spaced frames.

    Raises:
        BadPictureError: See `analyze_upload`.
    """
    content = check_file(path, "video")
    sha256, size, c2pa = hashlib.sha256(content).hexdigest(), len(content), c2pa_as_text(content)
    del content  # the frames are decoded from the file
    try:
        for number, seconds, picture in sample_frames(path):
            format = f"frame {number} of a video, at {seconds:.2f} s"
            yield number, seconds, Upload(printable(path.name), sha256, size, format, (), c2pa, *picture.size, picture)
    except BadPictureError as error:
        raise BadPictureError(f"The file cannot be read as a video (MP4, MOV, MKV, WebM, AVI): {error}.") from error
