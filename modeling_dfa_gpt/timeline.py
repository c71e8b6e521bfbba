"""A video: frames at an interval, how probable it is that the largest face of each is forged, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
MOST_FRAMES = 24
SHORTEST_INTERVAL = 0.5
"""Seconds from one frame that is looked at to the next."""
LARGEST_FRAME = 3840 * 2160
"""Pixels."""
NO_FACE = "no face"


@dataclass(frozen=True)
class Look:
    """What is seen in one picture of a video.

    Attributes:
        faces: from left to right.
        chosen: the number of the largest of them; None: there is none.
        probability: that this face is forged; None where there is no verdict.
        reason: `NO_FACE`, or why there is no verdict, or, where it was forced, why there should be none.
    """

    faces: list[OpenedFace]
    chosen: int | None
    probability: float | None
    reason: str = ""


@dataclass(frozen=True)
class Moment:
    """A frame of a video: its number, when it is shown, in seconds, and what is seen in it."""

    number: int
    seconds: float
    look: Look

    def to_dict(self) -> dict[str, Any]:
        """Lay it out for JSON."""
        look = self.look
        return {
            "frame": self.number,
            "seconds": round(self.seconds, 3),
            "faces": len(look.faces),
            "probability": look.probability,
            "reason": look.reason,
        }


@dataclass(frozen=True)
class VideoVerdict:
    """What the frames of a video say together.

    Attributes:
        frames: how many were looked at.
        judged: how many of them gave a probability.
        without_face: how many show no face.
        probability: that the video is forged, from the mean of the judged frames; None where no frame was judged.
        label: the verdict; None where no frame was judged.
        forced: a frame was judged that should get no verdict.
        calibrated: that probability was calibrated on videos of the validation split; if not, it is the plain mean.
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
        """How many frames show a face on which the model gives no verdict."""
        return self.frames - self.judged - self.without_face

    def in_words(self) -> str:
        """Say the verdict, what it rests on, and whether it was calibrated, in one sentence."""
        counted = f"{self.judged} of {self.frames} frames were judged"
        counted += f"; frames without a face: {self.without_face}" if self.without_face else ""
        counted += f"; frames whose face the model does not judge: {self.refused}" if self.refused else ""
        if self.probability is None:
            return f"no verdict ({counted})"
        kind = "calibrated on videos" if self.calibrated else "not calibrated on videos: the mean of the frames"
        forced = "forced: " if self.forced else ""
        return f"{forced}{self.label} (probability of a forgery {self.probability:.3f}, {kind}; {counted})"

    def to_dict(self) -> dict[str, Any]:
        """Lay it out for JSON."""
        return {
            "label": self.label,
            "probability": self.probability,
            "forced": self.forced,
            "calibrated": self.calibrated,
            "judged": self.judged,
            "without_face": self.without_face,
            "refused": self.refused,
        }


@dataclass
class Timeline:
    """The frames of a video that were looked at so far, and the calibration of the model that looked."""

    calibration: Calibration
    moments: list[Moment] = field(default_factory=list)

    @property
    def verdict(self) -> VideoVerdict:
        """The verdict on the whole video."""
        return verdict_of([moment.look for moment in self.moments], self.calibration)

    def to_dict(self) -> dict[str, Any]:
        """Lay it out for JSON: the verdict and the frames."""
        return {**self.verdict.to_dict(), "frames": [moment.to_dict() for moment in self.moments]}

    def table(self) -> str:
        """Lay the frames out in lines, and the verdict before them."""
        lines = [self.verdict.in_words(), "    time   frame  faces  forged"]
        for moment in self.moments:
            look = moment.look
            said = look.reason if look.probability is None else f"{look.probability:.3f}"
            said += f" (forced: {look.reason})" if look.reason and look.probability is not None else ""
            lines.append(f"{moment.seconds:6.1f} s  {moment.number:6d}  {len(look.faces):5d}  {said}")
        return "\n".join(lines)


def watch(model: DfaGpt, path: Path, force: bool = False) -> Timeline:
    """Look at frames of a video, evenly spread.

    Args:
        model: who looks.
        path: the video.
        force: judge faces that the model would not judge, too.

    Raises:
        BadPictureError: it is not a video that can be read; the message names it.
    """
    timeline = Timeline(model.calibration)
    try:
        for number, seconds, picture in sampled(path):
            timeline.moments.append(Moment(number, seconds, look_at(model, picture, force)))
    except BadPictureError as error:
        raise BadPictureError(f"{path}: {error}") from error
    return timeline


def look_at(model: DfaGpt, picture: Image.Image, force: bool = False) -> Look:
    """Find the faces of a frame, and ask how probable it is that the largest is forged."""
    faces = model.open_faces(picture)
    if not faces:
        return Look(faces, None, None, NO_FACE)
    sizes = [0.0 if face.in_picture is None else float(np.ptp(face.in_picture, 0).prod()) for face in faces]
    chosen = int(np.argmax(sizes))
    reason = model.refusal_reason(faces[chosen])
    if reason and not force:
        return Look(faces, chosen, None, reason)
    return Look(faces, chosen, model.calibration.probability(*model.forged_logits([faces[chosen].image])), reason)


def verdict_of(looks: list[Look], calibration: Calibration) -> VideoVerdict:
    """Bring the frames of one video together."""
    judged = [look.probability for look in looks if look.probability is not None]
    counts = VideoVerdict(len(looks), len(judged), sum(look.reason == NO_FACE for look in looks))
    if not judged:
        return counts
    probability = calibration.video_probability(judged)
    forced = any(look.reason for look in looks if look.probability is not None)
    return replace(
        counts,
        probability=probability,
        label="forged" if probability >= 0.5 else "bona_fide",
        forced=forced,
        calibrated=calibration.videos > 0 and not forced,
    )


def sampled(path: Path) -> Iterator[tuple[int, float, Image.Image]]:
    """Yield frames of a video, at most `MOST_FRAMES`: number, time in seconds, picture.

    Raises:
        BadPictureError: it is not a video that can be read.
    """
    found = False
    with Video(path, FORMATS) as video:
        if video.width * video.height > LARGEST_FRAME:
            raise BadPictureError(f"{video.width}×{video.height} pixels; 3840×2160 at most are decoded")
        total, _ = video.count()
        interval = max(math.ceil(total / MOST_FRAMES), round(SHORTEST_INTERVAL * video.rate), 1)
        for number, pixels in video.frames(range(0, total, interval)):
            found = True
            yield number, number / video.rate, Image.fromarray(pixels)
    if not found:
        raise BadPictureError("no frame of it decodes")
