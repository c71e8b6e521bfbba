"""Celeb-DF (v1, v2): Celeb-real, YouTube-real and Celeb-synthesis, as videos or as frames extracted from them.

    Celeb-real/{id0_0000.mp4, frames/id0_0000/000.png}
    YouTube-real/{00043.mp4, frames/00043/000.png}
    Celeb-synthesis/{id0_id1_0000.mp4, frames/id0_id1_0000/000.png}

`id0_id1_0000` is the clip `Celeb-real/id0_0000` of id0 with the face of id1. YouTube-real does not say who is in its
clips, so each of them counts as one identity.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from dfa_instruct.sources import UNKNOWN, ClipFrames, SourceItem, TechniqueReport
from dfa_instruct.sources.clips import (
    ClipSettings,
    Word,
    clip_items,
    find_clips,
    find_folder,
    read_clip,
    refuse_others,
    refused_hint,
)
from dfa_instruct.sources.technique_names import DATASET_TECHNIQUES
from dfa_instruct.vocabulary import Category, Label

((TECHNIQUE, CATEGORY),) = DATASET_TECHNIQUES["celebdf"].items()
CELEB: Final = re.compile(r"(?P<target>id\d+)_(?P<take>\d+)")
YOUTUBE: Final = re.compile(r"\d{5}")
SWAP: Final = re.compile(r"(?P<target>id\d+)_(?P<donor>id\d+)_(?P<take>\d+)")
MISNAMED: Final = "not named as in Celeb-DF (id0_0000, 00043, id0_id1_0000)"
LISTED: Final = re.compile(r"(?P<word>\S+)\s+(?P<path>(?P<folder>[^/]+)/(?P<clip>[^/]+)\.mp4)")


@dataclass(frozen=True, slots=True)
class CelebDFSettings(ClipSettings):
    """Which part of Celeb-DF to read.

    Args:
        root: the folder that contains `Celeb-real`.
        forgeries: read Celeb-synthesis.
        testing_list: the dataset's `List_of_testing_videos.txt`; if given, only its videos are read.
        labels: the meaning of the numbers in this list (`{"1": bona_fide, "0": forged}`), on which projects disagree.
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
        """The categories of the items."""
        return {"bona_fide", CATEGORY} if self.forgeries else {"bona_fide"}


class CelebDFSource:
    """Celeb-DF on disk, with identities such as `celeb/id0` or `youtube/00043` and videos such as `celeb/id0_0000`."""

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
        folders = {name: find_folder(settings, refuse, "", name) for name in read}
        if folders["Celeb-real"] is None and folders["YouTube-real"] is None:
            raise FileNotFoundError(f"{self.root}: {expected}{refused_hint(self._refused)}")
        clips = {name: find_clips(settings, refuse, folder) if folder else {} for name, folder in folders.items()}
        refuse_others(settings, refuse, "", *read)
        self._originals = {f"celeb/{name.casefold()}": file for name, file in clips["Celeb-real"].items()}
        self._originals |= {f"youtube/{name}": file for name, file in clips["YouTube-real"].items()}
        self._swapped = clips.get("Celeb-synthesis", {})
        self._missing: list[str] = []
        if settings.testing_list:
            self._keep_listed(settings.testing_list)
        self.frames_of = lru_cache(maxsize=1024)(self._frames_of)

    def _keep_listed(self, path: Path) -> None:
        """Keep only the clips in the list of test videos."""
        listed = read_testing_list(path, self.settings.labels)
        clips = self._originals | {_video_of(name): file for name, file in self._swapped.items()}
        self._refused |= {file: f"not in {path}" for video, file in clips.items() if video not in listed}
        self._originals = {video: file for video, file in self._originals.items() if video in listed}
        self._swapped = {name: file for name, file in self._swapped.items() if _video_of(name) in listed}
        self._missing = [v for v in listed if v not in clips and (self.settings.forgeries or TECHNIQUE not in v)]

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
                self.report["bona_fide"].refuse(reason, file)
            elif top == "celeb-synthesis" and self.settings.forgeries:
                self.report[TECHNIQUE].refuse(reason, file)
            else:
                self.report[UNKNOWN].ignore(reason, file)
        for video in self._missing:
            self.report[TECHNIQUE if TECHNIQUE in video else "bona_fide"].drop("listed, not on disk", video)

    def _frames_of(self, video: str) -> ClipFrames | None:
        file = self._originals.get(video)
        clip = self._bona_fide(video, file) if file else None
        return read_clip(clip, self.settings, TechniqueReport()) if clip else None

    def _bona_fide(self, video: str, file: str) -> SourceItem | None:
        """Return the item of a bona fide clip, or None if it is not named as in Celeb-DF."""
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
    """Read Celeb-DF's list of test videos, with lines such as `1 YouTube-real/00170.mp4`.

    Args:
        path: the list.
        labels: the meaning of the first word of each line.

    Returns:
        The names of the videos, as in `SourceItem.video`, sorted.

    Raises:
        FileNotFoundError: the list does not exist.
        ValueError: a line does not have this form, its first word is not in `labels`, or the label contradicts the
            folder of the video.
    """
    path = path.expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected Celeb-DF's List_of_testing_videos.txt")
    videos = set()
    prefixes = {"celeb-real": "celeb/", "youtube-real": "youtube/", "celeb-synthesis": _video_of("")}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        match = LISTED.fullmatch(line.strip())
        folder = match["folder"].casefold() if match else ""
        if not match or folder not in prefixes:
            raise ValueError(f"{where}: expected '1 YouTube-real/00170.mp4', not {line.strip()!r}")
        label = labels.get(match["word"])
        if label is None:
            raise ValueError(f"{where}: unknown label {match['word']!r}; `labels` has {', '.join(sorted(labels))}")
        if label != ("forged" if folder == "celeb-synthesis" else "bona_fide"):
            raise ValueError(f"{where}: `labels` says that {match['word']} means {label}, which {match['path']} is not")
        videos.add(prefixes[folder] + match["clip"].casefold())
    return sorted(videos)
