"""Celeb-DF (v1, v2): Celeb-real, YouTube-real and Celeb-synthesis, as videos or as frames cut from them.

    Celeb-real/{id0_0000.mp4, frames/id0_0000/000.png}
    YouTube-real/{00043.mp4, frames/00043/000.png}
    Celeb-synthesis/{id0_id1_0000.mp4, frames/id0_id1_0000/000.png}

`id0_id1_0000` is the clip `Celeb-real/id0_0000` of id0 with the face of id1. A number of YouTube-real proves no
identity: each of its clips is one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from dfa_instruct.sources import UNKNOWN, Frames, SourceItem, TechniqueReport
from dfa_instruct.sources.clips import ClipSettings, Word, child, clip_items, clips_in, name_rest, not_read, read_clip
from dfa_instruct.sources.technique_names import DATASET_TECHNIQUES
from dfa_instruct.vocabulary import Category, Label

((TECHNIQUE, CATEGORY),) = DATASET_TECHNIQUES["celebdf"].items()
CELEB: Final = re.compile(r"(?P<target>id\d+)_(?P<take>\d+)")
YOUTUBE: Final = re.compile(r"\d{5}")
SWAP: Final = re.compile(r"(?P<target>id\d+)_(?P<donor>id\d+)_(?P<take>\d+)")
MISNAMED: Final = "not called as in Celeb-DF (id0_0000, 00043, id0_id1_0000)"
LISTED: Final = re.compile(r"(?P<word>\S+)\s+(?P<path>(?P<folder>[^/]+)/(?P<clip>[^/]+)\.mp4)")


@dataclass(frozen=True, slots=True)
class CelebDFSettings(ClipSettings):
    """Which part of Celeb-DF is read.

    `root` holds `Celeb-real`; `forgeries` false leaves Celeb-synthesis out. `testing_list` is the dataset's
    `List_of_testing_videos.txt`: then only its videos are read. `labels` says what the numbers in it mean
    (`{"1": bona_fide, "0": forged}`): projects differ, so it is not guessed.
    """

    forgeries: bool = True
    testing_list: Path | None = None
    labels: dict[Word, Label] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ClipSettings.__post_init__(self)
        if self.testing_list and not self.labels:
            raise ValueError("testing_list needs labels that say what its numbers mean, as in {'1': bona_fide, …}")

    @property
    def categories(self) -> set[Category]:
        """What it yields."""
        return {"bona_fide", CATEGORY} if self.forgeries else {"bona_fide"}


class CelebDFSource:
    """Celeb-DF on disk. Its identities are `celeb/id0` and `youtube/00043`; bona fide videos `celeb/id0_0000`, …"""

    Settings = CelebDFSettings
    name = "celebdf"

    def __init__(self, settings: CelebDFSettings) -> None:
        self.settings = settings
        self.root = settings.root.expanduser()
        self.report: dict[str, TechniqueReport] = {}
        expected = "expected Celeb-real, YouTube-real and Celeb-synthesis in it"
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder; {expected}")
        self._refused: dict[str, str] = {}
        refuse = self._refused.__setitem__
        read = ("Celeb-real", "YouTube-real", *(["Celeb-synthesis"] if settings.forgeries else []))
        folders = {name: child(settings, refuse, "", name) for name in read}
        if folders["Celeb-real"] is None and folders["YouTube-real"] is None:
            raise FileNotFoundError(f"{self.root}: {expected}{not_read(self._refused)}")
        clips = {name: clips_in(settings, refuse, folder) if folder else {} for name, folder in folders.items()}
        name_rest(settings, refuse, "", *read)
        self._originals = {f"celeb/{name.casefold()}": file for name, file in clips["Celeb-real"].items()}
        self._originals |= {f"youtube/{name}": file for name, file in clips["YouTube-real"].items()}
        self._swapped = clips.get("Celeb-synthesis", {})
        self._missing: list[str] = []
        if settings.testing_list:
            listed = read_testing_list(settings.testing_list, settings.labels)
            every = {**self._originals, **{_video_of(name): file for name, file in self._swapped.items()}}
            self._refused |= {file: f"not in {settings.testing_list}" for v, file in every.items() if v not in listed}
            self._originals = {video: file for video, file in self._originals.items() if video in listed}
            self._swapped = {name: file for name, file in self._swapped.items() if _video_of(name) in listed}
            there = {*self._originals, *map(_video_of, self._swapped)}
            self._missing = [v for v in listed if v not in there and (settings.forgeries or TECHNIQUE not in v)]
        self.frames_of = lru_cache(maxsize=1024)(self._frames_of)

    def items(self) -> Iterator[SourceItem]:
        """Yield the bona fide frames, then the forged ones, clip by clip."""
        self.report = defaultdict(TechniqueReport)
        for video, file in self._originals.items():
            report = self.report["bona_fide"]
            if clip := self._bona_fide(video, file):
                yield from clip_items(clip, self.settings, report)
            else:
                report.drop(MISNAMED, file)
        for name, file in self._swapped.items():
            if swap := SWAP.fullmatch(name.casefold()):
                yield from self._forged(swap, file)
            else:
                self.report[TECHNIQUE].drop(MISNAMED, file)
        for file, reason in self._refused.items():
            top = file.partition("/")[0].casefold()
            if top in ("celeb-real", "youtube-real"):
                self.report["bona_fide"].leave_out(reason, file)
            elif top == "celeb-synthesis" and self.settings.forgeries:
                self.report[TECHNIQUE].leave_out(reason, file)
            else:
                self.report[UNKNOWN].pass_over(reason, file)
        for video in self._missing:
            self.report[TECHNIQUE if TECHNIQUE in video else "bona_fide"].drop("listed, not on disk", video)

    def _frames_of(self, video: str) -> Frames | None:
        file = self._originals.get(video)
        clip = self._bona_fide(video, file) if file else None
        return read_clip(clip, self.settings, TechniqueReport()) if clip else None

    def _bona_fide(self, video: str, file: str) -> SourceItem | None:
        """Say what is known of a bona fide clip; nothing where its name is none of Celeb-DF's."""
        dataset, _, name = video.partition("/")
        match = (CELEB if dataset == "celeb" else YOUTUBE).fullmatch(name)
        if not match:
            return None
        identity = f"celeb/{match['target']}" if dataset == "celeb" else video
        return SourceItem(self.root / file, self.name, file, "bona_fide", None, identities=(identity,), video=video)

    def _forged(self, swap: re.Match[str], file: str) -> Iterator[SourceItem]:
        clip = SourceItem(
            self.root / file,
            self.name,
            file,
            CATEGORY,
            TECHNIQUE,
            identities=(f"celeb/{swap['target']}", f"celeb/{swap['donor']}"),
            video=_video_of(swap[0]),
        )
        bona_fide = self.frames_of(f"celeb/{swap['target']}_{swap['take']}")
        return clip_items(clip, self.settings, self.report[TECHNIQUE], bona_fide)


def _video_of(swapped: str) -> str:
    return f"{TECHNIQUE}/celeb/{swapped.casefold()}"


def read_testing_list(path: Path, labels: dict[str, Label]) -> list[str]:
    """Read Celeb-DF's list of test videos: lines such as `1 YouTube-real/00170.mp4`.

    Args:
        path: the list.
        labels: what its first words mean.

    Returns:
        The videos, called as `SourceItem.video` is, sorted.

    Raises:
        FileNotFoundError, ValueError: there is no such file, a line is not of this form, a word is not among
            `labels`, or what it means contradicts the folder of the video.
    """
    path = path.expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected Celeb-DF's List_of_testing_videos.txt")
    videos = set()
    places = {"celeb-real": "celeb/", "youtube-real": "youtube/", "celeb-synthesis": _video_of("")}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        match = LISTED.fullmatch(line.strip())
        if not match or match["folder"].casefold() not in places:
            raise ValueError(f"{path}, line {number}: expected '1 YouTube-real/00170.mp4', not {line.strip()!r}")
        if match["word"] not in labels:
            known = ", ".join(sorted(labels))
            raise ValueError(f"{path}, line {number}: unknown label {match['word']!r}; labels knows {known}")
        folder = match["folder"].casefold()
        if labels[match["word"]] != ("forged" if folder == "celeb-synthesis" else "bona_fide"):
            meant = labels[match["word"]]
            raise ValueError(f"{path}, line {number}: labels says that {match['word']} is {meant}, not {match['path']}")
        videos.add(places[folder] + match["clip"].casefold())
    return sorted(videos)
