"""Folders of clips, as FaceForensics++ and Celeb-DF have them: each clip a video file or a folder of its frames."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Final

from pydantic import Field

from dfa_instruct.sources import NOT_READ, Frames, SourceItem, TechniqueReport
from dfa_instruct.sources.decoding import FrameChoice, Video
from dfa_instruct.sources.pictures import BadPictureError
from dfa_instruct.sources.walk import Refuse, entries, is_picture, is_video

Word = Annotated[str, Field(coerce_numbers_to_str=True)]
"""A word of a table, as a recipe gives it: YAML reads 0 and 1 as numbers."""
NO_CLIPS: Final = ("frames", "videos", "landmarks", "masks")
"""Folders beside the clips that are none."""


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """What the sources of clips share.

    `frames` of every clip are taken (none: all), evenly spread over every `interval`-th one; a forged clip's where its
    bona fide clip's are. A forged frame is paired with the bona fide one of its number; where there is none, and
    `pair_within` is above 0, with the one of so many frames before and after it that looks most like it outside of the
    face, if any looks like it at all. Links that lead out of `root` are refused unless `follow_links`.
    """

    root: Path
    frames: int | None = 32
    interval: int = 1
    pair_within: int = 0
    follow_links: bool = False

    def __post_init__(self) -> None:
        if self.interval < 1 or (self.frames is not None and self.frames < 1):
            raise ValueError("frames and interval must be 1 or more")
        if self.pair_within < 0:
            raise ValueError("pair_within must be 0 or more")

    @property
    def choice(self) -> FrameChoice:
        """What `frames` and `interval` ask for."""
        return FrameChoice(self.frames, self.interval)

    def entries(self, below: str, refuse: Refuse) -> tuple[list[str], list[str]]:
        """Name the files and the folders in a folder below the root; see `dfa_instruct.sources.walk.entries`."""
        return entries(self.root.expanduser(), below, refuse, self.follow_links)


def child(settings: ClipSettings, refuse: Refuse, below: str, *names: str) -> str | None:
    """Name the folder below `below` that `names` lead to, in any letter case, if there is one."""
    for name in names:
        _, folders = settings.entries(below, refuse)
        found = next((folder for folder in folders if folder.casefold() == name.casefold()), None)
        if found is None:
            return None
        below = f"{below}/{found}" if below else found
    return below


def name_rest(settings: ClipSettings, refuse: Refuse, below: str, *read: str) -> None:
    """Tell `refuse` what lies in a folder beside the folders that are read, in any letter case."""
    files, folders = settings.entries(below, refuse)
    for name in (*files, *folders):
        if name.casefold() not in map(str.casefold, read):
            refuse(f"{below}/{name}" if below else name, NOT_READ)


def clips_in(settings: ClipSettings, refuse: Refuse, below: str) -> dict[str, str]:
    """Name → each clip in a folder, or in its `frames` and `videos`: a folder of pictures, else a video file."""
    clips: dict[str, str] = {}
    _, folders = settings.entries(below, refuse)
    inside = [f"{below}/{name}" for which in ("videos", "frames") for name in folders if name.casefold() == which]
    for place in (below, *inside):  # frames count where there are both
        here: dict[str, str] = {}
        files, folders = settings.entries(place, refuse)
        here |= {name: f"{place}/{name}" for name in folders if name.casefold() not in NO_CLIPS}
        for name in (*filter(is_picture, files), *(name for name in folders if name not in here)):
            if f"{place}/{name}" not in inside:
                refuse(f"{place}/{name}", NOT_READ)
        for name in filter(is_video, files):
            if (clip := PurePosixPath(name).stem) in here:
                refuse(f"{place}/{name}", "the name of another clip beside it")
            else:
                here[clip] = f"{place}/{name}"
        for name in clips.keys() & here.keys():
            refuse(clips[name], f"the same clip is read from {here[name]}")
        clips |= here
    return dict(sorted(clips.items()))


def not_read(refused: Mapping[str, str]) -> str:
    """Say which links were not followed: the end of a message about a folder that was not found."""
    return "".join(f"; {file} is {reason}, see follow_links" for file, reason in refused.items())


def frame_number(stem: str) -> int | None:
    """Return the last number in a picture's name without its extension: 131 of `131`, 45 of `id13_0011_045`."""
    numbers = re.findall(r"\d+", stem)
    return int(numbers[-1]) if numbers else None


def clip_items(
    clip: SourceItem, settings: ClipSettings, report: TechniqueReport, bona_fide: Frames | None = None
) -> Iterator[SourceItem]:
    """Yield the chosen frames of a clip, each with its bona fide frame; what is unusable is counted.

    Args:
        clip: what is known of the clip; its `path` is a folder of pictures or a video file.
        settings: which frames.
        report: of its technique.
        bona_fide: the frames of the clip that it was made from.
    """
    frames = read_clip(clip, settings, report, bona_fide.chosen if bona_fide else ())
    pairs = 0
    for number in frames.chosen:
        *sought, item = with_pair(frames.item(number), bona_fide, settings.pair_within)
        pairs += item.pair is not None
        if clip.path != item.path:
            report.use(paired=item.pair is not None)
        yield from (*sought, item)
    if frames.chosen and clip.path.is_file():
        report.use(paired=pairs > 0)


def read_clip(
    clip: SourceItem, settings: ClipSettings, report: TechniqueReport, matching: Collection[int] = ()
) -> Frames:
    """Find the frames of a clip, and choose among them; see `clip_items` and `FrameChoice.of`."""
    files: dict[int, Path] = {}
    if clip.path.is_dir():
        names, folders = settings.entries(clip.source_path, lambda file, reason: report.leave_out(reason, file))
        for name in (*filter(is_video, names), *folders):
            report.pass_over("among the frames of a clip, and none of them", f"{clip.source_path}/{name}")
        for name in filter(is_picture, names):
            number = frame_number(PurePosixPath(name).stem)
            if number is None:
                report.drop("no frame number in its name", f"{clip.source_path}/{name}")
            elif number in files:
                report.drop("the frame number of another file beside it", f"{clip.source_path}/{name}")
            else:
                files[number] = clip.path / name
        if not files:
            report.drop("a folder of frames without a picture", clip.source_path)
        return Frames(clip, files, dict.fromkeys(settings.choice.of(sorted(files), matching)))
    present = promised = 0
    try:
        with Video(clip.path) as video:
            present, promised = video.count()
        if not present:
            report.drop("a video without a frame", clip.source_path)
        elif present < promised:
            report.notes.append(f"{clip.source_path}: cut short, {present} of {promised} frames are there")
    except BadPictureError as error:
        report.drop(str(error), clip.source_path)
    files = dict.fromkeys(range(present), clip.path)
    return Frames(clip, files, dict.fromkeys(settings.choice.of(range(present), matching)))


def with_pair(
    item: SourceItem, bona_fide: Frames | None, within: int, about: int | None = None
) -> tuple[SourceItem, ...]:
    """Find the bona fide frame that a forged one was made from: the frame of the same number.

    Args:
        item: the forged frame.
        bona_fide: the frames of the clip that it was made from.
        within: where no frame has its number, so many before and after it may be its own; their pixels tell.
        about: the number that counts, where the forged frame's own says nothing; no frame has it for certain.

    Returns:
        The bona fide frames that must be sought for it, then the forged frame.
    """
    number = item.frame if about is None else about
    if bona_fide is None or number is None:
        return (item,)
    if number in bona_fide.files and about is None:
        pair = bona_fide.item(number)
        return (*([pair] if pair.sought else []), replace(item, pair=pair.key))
    near = range(number - within, number + within + 1) if within else ()
    found = [bona_fide.item(n) for n in sorted(near, key=lambda n: abs(n - number)) if n in bona_fide.files]
    return (*(frame for frame in found if frame.sought), replace(item, among=tuple(frame.key for frame in found)))
