"""Read folders of clips, as in FaceForensics++ and Celeb-DF: each clip is a video file or a folder of its frames."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from posixpath import join
from typing import Annotated, Final, TypeVar

from pydantic import Field

from dfa_instruct.sources import NOT_READ, UNKNOWN, ClipFrames, SourceItem, TechniqueReport
from dfa_instruct.sources.decoding import FrameChoice, Video
from dfa_instruct.sources.pictures import BadPictureError
from dfa_instruct.sources.walk import Refuse, entries, is_picture, is_video
from dfa_instruct.vocabulary import Category

File = TypeVar("File")

Word = Annotated[str, Field(coerce_numbers_to_str=True)]
"""A word of a table in a recipe, where YAML reads 0 and 1 as numbers."""
NOT_CLIPS: Final = ("frames", "videos", "landmarks", "masks")
"""Folders next to the clips that are not clips."""


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """The settings that all sources of clips share.

    Args:
        root: The folder of the dataset.
        frames: How many frames to take from each clip, evenly spread over every `interval`-th frame; None takes all. A
            forged clip takes the frames of its bona fide clip where possible.
        interval: See `frames`.
        pair_within: A forged frame is paired with the bona fide frame with the same number. If there is none, it is
            paired with the most similar one (outside the face) up to this many frames before or after, if any is
            similar enough. 0 turns this off.
        follow_links: Follow links to folders, and links that lead out of `root`.
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
        """The choice of frames that `frames` and `interval` define."""
        return FrameChoice(self.frames, self.interval)

    def entries(self, below: str, refuse: Refuse | None = None) -> tuple[list[str], list[str]]:
        """List the files and folders in a folder below the root; see `dfa_instruct.sources.walk.entries`."""
        return entries(self.root.expanduser(), below, refuse, self.follow_links)


def select_folders(settings: ClipSettings, refuse: Refuse, below: str, names: Iterable[str]) -> dict[str, str]:
    """Find the folders with these names in a folder, ignoring case, and refuse everything else there.

    Returns:
        The name of each folder that exists, as given → its path.
    """
    wanted = {name.casefold(): name for name in names}
    found: dict[str, str] = {}
    files, folders = settings.entries(below, refuse)
    for name in (*files, *folders):
        given = wanted.pop(name.casefold(), None) if name in folders else None
        if given is None:
            refuse(join(below, name), NOT_READ)
        else:
            found[given] = join(below, name)
    return found


def find_clips(settings: ClipSettings, refuse: Refuse, below: str) -> dict[str, str]:
    """Find the clips in a folder and in its subfolders `frames` and `videos`.

    Returns:
        The name of each clip → its folder of frames or, if there is none, its video file.
    """
    clips: dict[str, str] = {}
    _, folders = settings.entries(below, refuse)
    inside = [join(below, name) for kind in ("videos", "frames") for name in folders if name.casefold() == kind]
    for place in (below, *inside):  # frames come last, because they take precedence over videos
        files, folders = settings.entries(place, refuse)
        here = {name: join(place, name) for name in folders if name.casefold() not in NOT_CLIPS}
        for name in (*filter(is_picture, files), *(name for name in folders if name not in here)):
            if join(place, name) not in inside:
                refuse(join(place, name), NOT_READ)
        for name in filter(is_video, files):
            if (clip := PurePosixPath(name).stem) in here:
                refuse(join(place, name), "the same name as another clip in its folder")
            else:
                here[clip] = join(place, name)
        for name in clips.keys() & here.keys():
            refuse(clips[name], f"the same clip is read from {here[name]}")
        clips |= here
    return dict(sorted(clips.items()))


def add_frame(files: dict[int, File], name: str, file: File, report: TechniqueReport, path: str) -> None:
    """Add a frame to `files` under its number, the last number in its name, or drop it.

    Args:
        files: The frames of the clip by their numbers.
        name: The name without extension: 131 is the number of `131`, 45 of `id13_0011_045`.
        file: The file to add.
        report: The report of the technique.
        path: The path for the report.
    """
    numbers = re.findall(r"\d+", name)
    if not numbers:
        report.drop("no frame number in its name", path)
    elif int(numbers[-1]) in files:
        report.drop("the same frame number as another file in its folder", path)
    else:
        files[int(numbers[-1])] = file


def clip_items(
    clip: SourceItem, settings: ClipSettings, report: TechniqueReport, bona_fide: ClipFrames | None = None
) -> Iterator[SourceItem]:
    """Yield the sampled frames of a clip, and count its files in the report.

    If the clip is a forgery, each frame is paired with a bona fide frame where possible. A bona fide frame that is
    listed only for a pair is yielded right before the forged frame.

    Args:
        clip: The item of the clip; its `path` is a folder of pictures or a video file.
        settings: The settings that choose the frames.
        report: The report of the clip's technique.
        bona_fide: The frames of the bona fide clip that a forged `clip` was made from. None for a bona fide clip.
    """
    frames = read_clip(clip, settings, report, bona_fide.sampled if bona_fide else ())
    pairs = 0
    for number in frames.sampled:
        *pair_only, item = with_pair(frames.item(number), bona_fide, settings.pair_within)
        pairs += item.pair is not None
        if clip.path != item.path:
            report.use(paired=item.pair is not None)
        yield from (*pair_only, item)
    if frames.sampled and clip.path.is_file():
        report.use(paired=pairs > 0)


def read_clip(
    clip: SourceItem, settings: ClipSettings, report: TechniqueReport, matching: Collection[int] = ()
) -> ClipFrames:
    """Find the frames of a clip and sample some of them; see `clip_items` and `FrameChoice.of`."""
    files: dict[int, Path] = {}
    if clip.path.is_dir():
        names, folders = settings.entries(clip.source_path, lambda file, reason: report.refuse(reason, file))
        for name in (*filter(is_video, names), *folders):
            report.ignore("in a folder of frames, but not a frame", f"{clip.source_path}/{name}")
        for name in filter(is_picture, names):
            add_frame(files, PurePosixPath(name).stem, clip.path / name, report, f"{clip.source_path}/{name}")
        if not files:
            report.drop("a folder of frames without a picture", clip.source_path)
        return ClipFrames(clip, files, dict.fromkeys(settings.choice.of(sorted(files), matching)))
    present = promised = 0
    try:
        with Video(clip.path) as video:
            present, promised = video.count()
        if not present:
            report.drop("a video without a frame", clip.source_path)
        elif present < promised:
            report.notes.append(f"{clip.source_path}: cut short, it has {present} of {promised} frames")
    except BadPictureError as error:
        report.drop(str(error), clip.source_path)
    files = dict.fromkeys(range(present), clip.path)
    return ClipFrames(clip, files, dict.fromkeys(settings.choice.of(range(present), matching)))


def with_pair(
    item: SourceItem, bona_fide: ClipFrames | None, within: int, likely_number: int | None = None
) -> tuple[SourceItem, ...]:
    """Pair a forged frame with the bona fide frame with the same number.

    Args:
        item: The forged frame.
        bona_fide: The frames of the clip that it was made from.
        within: If no frame has its number, the frames up to this many before and after become `pair_candidates`.
        likely_number: The number to use if the number of the forged frame means nothing. Since it is uncertain, it
            gives candidates only.

    Returns:
        The bona fide frames that are listed only for this forgery, then the forged frame.
    """
    number = item.frame if likely_number is None else likely_number
    if bona_fide is None or number is None:
        return (item,)
    if number in bona_fide.files and likely_number is None:
        pair = bona_fide.item(number)
        return (*([pair] if pair.pair_only else []), replace(item, pair=pair.key))
    near = range(number - within, number + within + 1) if within else ()
    found = [bona_fide.item(n) for n in sorted(near, key=lambda n: abs(n - number)) if n in bona_fide.files]
    candidates = tuple(frame.key for frame in found)
    return (*(frame for frame in found if frame.pair_only), replace(item, pair_candidates=candidates))


class ClipSource:
    """A dataset of bona fide clips and of forgeries of these clips.

    A subclass fills `_bona_fide` and `_forged` when it is created, and `_refused` with the files that it does not use.

    Args:
        settings: The settings of the subclass.
        expected: The folders that the root should contain, for the messages.
    """

    name: str

    def __init__(self, settings: ClipSettings, expected: str) -> None:
        self.settings = settings
        self.root = settings.root.expanduser()
        self.report: dict[str, TechniqueReport] = {}
        self._bona_fide: dict[str, SourceItem] = {}  # by the names of the videos
        self._forged: list[tuple[SourceItem, str]] = []  # each with the name of its bona fide video
        self._refused: dict[str, str] = {}
        self._expected = f"expected {expected} in it"
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder; {self._expected}")
        self.frames_of = lru_cache(maxsize=1024)(self._frames_of)

    @property
    def bona_fide_videos(self) -> Collection[str]:
        """The names of the bona fide videos."""
        return self._bona_fide

    def items(self) -> Iterator[SourceItem]:
        """Yield the bona fide frames, then the forged frames, clip by clip."""
        self.report = defaultdict(TechniqueReport)
        for clip in self._bona_fide.values():
            yield from clip_items(clip, self.settings, self.report["bona_fide"])
        for clip, video in self._forged:
            yield from clip_items(clip, self.settings, self.report[clip.technique or UNKNOWN], self.frames_of(video))
        for file, reason in self._refused.items():
            technique = self._technique_of(file)
            report = self.report[technique or UNKNOWN]
            (report.refuse if technique else report.ignore)(reason, file)

    def _refuse(self, file: str, reason: str) -> None:
        self._refused[file] = reason

    def _technique_of(self, file: str) -> str | None:
        """Return the technique that a refused file is reported under, or None if it belongs to no part that is read."""
        raise NotImplementedError

    def _frames_of(self, video: str) -> ClipFrames | None:
        clip = self._bona_fide.get(video)
        return read_clip(clip, self.settings, TechniqueReport()) if clip else None

    def _clip(self, file: str, video: str, category: Category, technique: str | None, *people: str) -> SourceItem:
        return SourceItem(self.root / file, self.name, file, category, technique, people, video)

    def _missing_root(self) -> FileNotFoundError:
        """Return the error about a root without the expected folders, with the links that were not followed."""
        links = {file: reason for file, reason in self._refused.items() if reason.startswith("a link")}
        hint = "".join(f"; {file} is {reason}, see follow_links" for file, reason in links.items())
        return FileNotFoundError(f"{self.root}: {self._expected}{hint}")
