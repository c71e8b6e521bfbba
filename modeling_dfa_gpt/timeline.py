"""Analyze a video: the probability of a forgery in frames at a regular interval, and a verdict on the whole video."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dfa_instruct.sources.decoding import Video
from dfa_instruct.sources.pictures import BadPictureError
from dfa_instruct.vocabulary import Label
from modeling_dfa_gpt.calibration import Calibration
from modeling_dfa_gpt.picture import OpenedFace

if TYPE_CHECKING:
    from modeling_dfa_gpt.dfa_gpt import DfaGpt

FORMATS = ("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi")
"""FFmpeg's names of MP4, MOV, MKV, WebM and AVI."""
MAX_FRAMES = 24
"""Number of frames of a video that are analyzed at most."""
MIN_INTERVAL = 0.5
"""Seconds between two frames that are analyzed."""
MAX_FRAME_PIXELS = 3840 * 2160
NO_FACE = "no face"


@dataclass(frozen=True)
class FrameAnalysis:
    """The analysis of one frame of a video.

    Attributes:
        faces: The faces in the frame, from left to right.
        chosen: Index of the largest face, or None if there is no face.
        probability: Probability that this face is forged, or None if there is no verdict.
        reason: `NO_FACE`, or why the model gives no verdict. If the verdict was forced, why there should be none.
        number: Number of the frame in the video, from 0.
        seconds: Time at which the frame is shown.
    """

    faces: list[OpenedFace]
    chosen: int | None
    probability: float | None
    reason: str = ""
    number: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the analysis as a dictionary for JSON."""
        return {
            "frame": self.number,
            "seconds": round(self.seconds, 3),
            "faces": len(self.faces),
            "probability": self.probability,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class VideoVerdict:
    """The verdict on a video.

    Attributes:
        frames: Number of frames that were analyzed.
        judged: Number of frames that have a probability.
        without_face: Number of frames without a face.
        probability: Probability that the video is forged, from the mean of the judged frames. None if no frame was
            judged.
        label: The verdict, or None if no frame was judged.
        forced: Whether a frame was judged that should get no verdict.
        calibrated: Whether the probability was calibrated on videos of the validation split. Otherwise it is the mean.
    """

    frames: int
    judged: int
    without_face: int
    probability: float | None = None
    label: Label | None = None
    forced: bool = False
    calibrated: bool = False

    @property
    def refused(self) -> int:
        """Number of frames that show a face but get no verdict."""
        return self.frames - self.judged - self.without_face

    def sentence(self) -> str:
        """Return the verdict, the frames that it is based on, and whether it is calibrated, in one sentence."""
        counts = f"{self.judged} of {self.frames} frames were judged"
        counts += f"; frames without a face: {self.without_face}" if self.without_face else ""
        counts += f"; frames whose face the model does not judge: {self.refused}" if self.refused else ""
        if self.probability is None:
            return f"no verdict ({counts})"
        kind = "calibrated on videos" if self.calibrated else "not calibrated on videos: the mean of the frames"
        forced = "forced: " if self.forced else ""
        return f"{forced}{self.label} (probability of a forgery {self.probability:.3f}, {kind}; {counts})"

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as a dictionary for JSON."""
        keys = ("label", "probability", "forced", "calibrated", "judged", "without_face", "refused")
        return {key: getattr(self, key) for key in keys}


@dataclass
class Timeline:
    """The analyzed frames of a video, and the calibration of the model that analyzed them."""

    calibration: Calibration
    frames: list[FrameAnalysis] = field(default_factory=list)

    @property
    def verdict(self) -> VideoVerdict:
        """The verdict on the video."""
        return video_verdict(self.frames, self.calibration)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict and the frames as a dictionary for JSON."""
        return {**self.verdict.to_dict(), "frames": [frame.to_dict() for frame in self.frames]}

    def table(self) -> str:
        """Return the verdict and a table with one line per frame."""
        lines = [self.verdict.sentence(), "    time   frame  faces  forged"]
        for frame in self.frames:
            result = frame.reason if frame.probability is None else f"{frame.probability:.3f}"
            result += f" (forced: {frame.reason})" if frame.reason and frame.probability is not None else ""
            lines.append(f"{frame.seconds:6.1f} s  {frame.number:6d}  {len(frame.faces):5d}  {result}")
        return "\n".join(lines)


def analyze_video(model: DfaGpt, path: Path, force: bool = False) -> Timeline:
    """Analyze frames of a video at a regular interval.

    Args:
        model: The model.
        path: The video.
        force: Judge faces that the model would refuse, too.

    Raises:
        BadPictureError: The file cannot be read as a video. The message names it.
    """
    timeline = Timeline(model.calibration)
    try:
        for number, seconds, picture in sample_frames(path):
            timeline.frames.append(analyze_frame(model, picture, number, seconds, force))
    except BadPictureError as error:
        raise BadPictureError(f"{path}: {error}") from error
    return timeline


def analyze_frame(
    model: DfaGpt, picture: Image.Image, number: int = 0, seconds: float = 0.0, force: bool = False
) -> FrameAnalysis:
    """Find the faces of a frame, and compute the probability that the largest one is forged."""
    faces = model.open_faces(picture)
    if not faces:
        return FrameAnalysis(faces, None, None, NO_FACE, number, seconds)
    areas = [0.0 if face.in_picture is None else float(np.ptp(face.in_picture, 0).prod()) for face in faces]
    chosen = int(np.argmax(areas))
    reason = model.refusal_reason(faces[chosen])
    probability = None
    if force or not reason:
        probability = model.calibration.probability(*model.forged_logits([faces[chosen].image]))
    return FrameAnalysis(faces, chosen, probability, reason, number, seconds)


def video_verdict(frames: Sequence[FrameAnalysis], calibration: Calibration) -> VideoVerdict:
    """Combine the analyzed frames of one video into a verdict."""
    judged = [frame.probability for frame in frames if frame.probability is not None]
    counts = VideoVerdict(len(frames), len(judged), sum(frame.reason == NO_FACE for frame in frames))
    if not judged:
        return counts
    probability = calibration.video_probability(judged)
    forced = any(frame.reason for frame in frames if frame.probability is not None)
    return replace(
        counts,
        probability=probability,
        label="forged" if probability >= 0.5 else "bona_fide",
        forced=forced,
        calibrated=calibration.videos > 0 and not forced,
    )


def sample_frames(path: Path) -> Iterator[tuple[int, float, Image.Image]]:
    """Yield at most `MAX_FRAMES` evenly spaced frames of a video.

    Yields:
        The frame's number, its time in seconds, and its picture.

    Raises:
        BadPictureError: The file cannot be read as a video.
    """
    decoded = False
    with Video(path, FORMATS) as video:
        if video.width * video.height > MAX_FRAME_PIXELS:
            raise BadPictureError(f"{video.width}×{video.height} pixels; videos of at most 3840×2160 are decoded")
        total, _ = video.count()
        interval = max(math.ceil(total / MAX_FRAMES), round(MIN_INTERVAL * video.rate), 1)
        for number, pixels in video.frames(range(0, total, interval)):
            decoded = True
            yield number, number / video.rate, Image.fromarray(pixels)
    if not decoded:
        raise BadPictureError("none of its frames can be decoded")
