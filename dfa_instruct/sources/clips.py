"""Folders of clips, as FaceForensics++ and Celeb-DF have them: each clip a video file or a folder of its frames."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from dfa_instruct.sources import SourceItem, TechniqueReport
from dfa_instruct.sources.media import BadPictureError, FrameChoice, Video, is_picture, is_video

Word = Annotated[str, Field(coerce_numbers_to_str=True)]
"""A word of a table, as a recipe gives it: YAML reads 0 and 1 as numbers."""


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """What the sources of clips share.

    `frames` of every clip are taken (none: all), evenly spread over every `interval`-th one; a forged clip's where its
    bona fide clip's are.
    """

    root: Path
    frames: int | None = 32
    interval: int = 1

    def __post_init__(self) -> None:
        if self.interval < 1 or (self.frames is not None and self.frames < 1):
            raise ValueError("frames and interval must be 1 or more")

    @property
    def choice(self) -> FrameChoice:
        """What `frames` and `interval` ask for."""
        return FrameChoice(self.frames, self.interval)


def child(folder: Path, *names: str) -> Path | None:
    """Return the folder below `folder` that `names` lead to, in any letter case, if there is one."""
    for name in names:
        if not folder.is_dir():
            return None
        same = sorted(p for p in folder.iterdir() if p.name.casefold() == name.casefold() and p.is_dir())
        if not same:
            return None
        folder = same[0]
    return folder


def clips_in(folder: Path) -> dict[str, Path]:
    """Name → each clip in a folder, or in its `frames` and `videos`: a folder of pictures, else a video file."""
    clips: dict[str, Path] = {}
    for place in (folder, child(folder, "videos"), child(folder, "frames")):  # frames count where there are both
        for path in sorted(place.iterdir()) if place else ():
            if path.name.startswith("."):
                continue
            if path.is_dir() and path.name.casefold() not in ("frames", "videos", "landmarks", "masks"):
                clips[path.name] = path
            elif is_video(path.name) and path.is_file():
                clips[path.stem] = path
    return dict(sorted(clips.items()))


def frame_number(stem: str) -> int | None:
    """Return the last number in a picture's name without its extension: 131 of `131`, 45 of `id13_0011_045`."""
    numbers = re.findall(r"\d+", stem)
    return int(numbers[-1]) if numbers else None


def clip_items(
    clip: SourceItem, choice: FrameChoice, report: TechniqueReport, bona_fide: Sequence[SourceItem] = ()
) -> Iterator[SourceItem]:
    """Yield the chosen frames of a clip, each paired with the nearest bona fide one; what is unusable is counted.

    Args:
        clip: what is known of the clip; its `path` is a folder of pictures or a video file.
        choice: which frames.
        report: of its technique.
        bona_fide: the frames, by number, of the clip that it was made from.
    """
    frames = _choose(clip, choice, report, {item.frame for item in bona_fide if item.frame is not None})
    for number, file in frames.items():
        pair = nearest(bona_fide, number)
        yield replace(
            clip,
            path=file,
            source_path=clip.source_path if file == clip.path else f"{clip.source_path}/{file.name}",
            frame=number,
            pair=pair.key if pair else None,
            cropped=file != clip.path,
        )
        if file != clip.path:
            report.use(paired=pair is not None)
    if frames and clip.path.is_file():
        report.use(paired=bool(bona_fide))


def _choose(
    clip: SourceItem, choice: FrameChoice, report: TechniqueReport, matching: Collection[int]
) -> dict[int, Path]:
    """Choose the frames of a clip: number → the file it is in."""
    if clip.path.is_dir():
        pictures = {frame_number(path.stem): path for path in sorted(clip.path.iterdir()) if is_picture(path.name)}
        if unnumbered := pictures.pop(None, None):
            report.drop("no frame number in its name", f"{clip.source_path}/{unnumbered.name}")
        numbers = sorted(number for number in pictures if number is not None)
        if not numbers:
            report.drop("a folder of frames without a picture", clip.source_path)
        return {number: pictures[number] for number in choice.of(numbers, matching)}
    try:
        with Video(clip.path) as video:
            present, promised = video.count()
    except BadPictureError as error:
        report.drop(str(error), clip.source_path)
        return {}
    if not present:
        report.drop("a video without a frame", clip.source_path)
    elif present < promised:
        report.notes.append(f"{clip.source_path}: cut short, {present} of {promised} frames are there")
    return dict.fromkeys(choice.of(range(present), matching), clip.path)


def nearest(frames: Sequence[SourceItem], number: int | None) -> SourceItem | None:
    """Return the item with this frame number, else the nearest one (the earlier of two), of items by frame number."""
    if number is None or not frames:
        return None
    at = bisect_left(frames, number, key=lambda item: item.frame or 0)
    around = frames[max(0, at - 1) : at + 1]
    return min(around, key=lambda item: abs((item.frame or 0) - number))
