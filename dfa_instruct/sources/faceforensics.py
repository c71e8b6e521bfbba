"""FaceForensics++: original and manipulated sequences, as videos or as frames extracted from them.

    original_sequences/youtube/c23/{videos/000.mp4, frames/000/000.png}
    manipulated_sequences/<Method>/c23/{videos/000_003.mp4, frames/000_003/000.png}

In `A_B`, A is the target, whose bona fide clip is `original/A`. B is the donor or driver.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

from dfa_instruct.sources import NOT_READ, UNKNOWN, ClipFrames, SourceItem, TechniqueReport
from dfa_instruct.sources.clips import (
    ClipSettings,
    clip_items,
    find_clips,
    find_folder,
    read_clip,
    refuse_others,
    refused_hint,
)
from dfa_instruct.sources.technique_names import (
    DATASET_TECHNIQUES,
    find_technique,
    require_techniques,
    select_techniques,
)
from dfa_instruct.vocabulary import Category

TECHNIQUES: Final = DATASET_TECHNIQUES["faceforensics"]
CLIP: Final = re.compile(r"\d{3}")
PAIR: Final = re.compile(r"(?P<target>\d{3})_(?P<donor>\d{3})")
MISNAMED: Final = "not named as in FaceForensics++ (000, 000_003)"


@dataclass(frozen=True, slots=True)
class FaceForensicsSettings(ClipSettings):
    """Which part of FaceForensics++ to read.

    Args:
        root: the folder that contains `original_sequences`.
        compression: the compression level to read.
        techniques: the techniques to read, each of which must exist; None reads all that exist.
    """

    compression: str = "c23"
    techniques: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        ClipSettings.__post_init__(self)
        select_techniques("faceforensics", self.techniques)

    @property
    def categories(self) -> set[Category]:
        """The categories of the items."""
        return {"bona_fide", *select_techniques("faceforensics", self.techniques).values()}


class FaceForensicsSource:
    """FaceForensics++ on disk. Its identities and its bona fide videos are `ff/000` to `ff/999`."""

    Settings = FaceForensicsSettings
    name = "faceforensics"

    def __init__(self, settings: FaceForensicsSettings) -> None:
        self.settings = settings
        self.root = settings.root.expanduser()
        self.report: dict[str, TechniqueReport] = {}
        expected = f"expected original_sequences/youtube/{settings.compression} in it"
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder; {expected}")
        self._refused: dict[str, str] = {}
        refuse = self._refused.__setitem__
        originals = find_folder(settings, refuse, "", "original_sequences", "youtube", settings.compression)
        if originals is None:
            raise FileNotFoundError(f"{self.root}: {expected}{refused_hint(self._refused)}")
        self._folder = originals
        self._originals = find_clips(settings, refuse, originals)
        self._techniques = select_techniques("faceforensics", settings.techniques)
        self.frames_of = lru_cache(maxsize=1024)(self._frames_of)

    def items(self) -> Iterator[SourceItem]:
        """Yield the bona fide frames, then the frames of each technique, clip by clip."""
        self.report = defaultdict(TechniqueReport)
        for name, file in self._originals.items():
            if CLIP.fullmatch(name):
                yield from clip_items(self._bona_fide(name, file), self.settings, self.report["bona_fide"])
            else:
                self.report["bona_fide"].drop(MISNAMED, file)
        refused = dict(self._refused)
        refuse = refused.__setitem__
        refuse_others(self.settings, refuse, "", "original_sequences", "manipulated_sequences")
        for folder in map(str, PurePosixPath(self._folder).parents[:-1]):
            refuse_others(self.settings, refuse, folder, "youtube", self.settings.compression)
        manipulated = find_folder(self.settings, refuse, "", "manipulated_sequences")
        files, folders = self.settings.entries(manipulated, refuse) if manipulated else ([], [])
        for name in (*files, *folders):
            technique = find_technique("faceforensics", name) if name in folders else None
            if technique in self._techniques:
                yield from self._technique(technique, f"{manipulated}/{name}", refused)
            else:
                refuse(f"{manipulated}/{name}", NOT_READ)
        for file, reason in refused.items():
            self._report_refused(file, reason)
        require_techniques("faceforensics", self.settings.techniques, self.report, self.root)

    def _technique(self, technique: str, folder: str, refused: dict[str, str]) -> Iterator[SourceItem]:
        compression, refuse = self.settings.compression, refused.__setitem__
        compressed = find_folder(self.settings, refuse, folder, compression)
        if compressed is None:
            others = ", ".join(self.settings.entries(folder, refuse)[1]) or "nothing"
            self.report[technique].notes.append(f"{folder}: not read, it contains no {compression}, but {others}")
            return
        refuse_others(self.settings, refuse, folder, compression)
        for name, file in find_clips(self.settings, refuse, compressed).items():
            if pair := PAIR.fullmatch(name):
                yield from self._forged(technique, pair["target"], pair["donor"], file)
            else:
                self.report[technique].drop(MISNAMED, file)

    def _report_refused(self, file: str, reason: str) -> None:
        """Count a refused file under the technique in its path, if that technique is read."""
        top, _, below = file.casefold().partition("/")
        technique = find_technique("faceforensics", below.partition("/")[0])
        if top == "original_sequences":
            self.report["bona_fide"].refuse(reason, file)
        elif technique in self._techniques:
            self.report[technique].refuse(reason, file)
        else:
            self.report[UNKNOWN].ignore(reason, file)

    def _frames_of(self, video: str) -> ClipFrames | None:
        dataset, _, name = video.partition("/")
        if dataset != "ff" or name not in self._originals:
            return None
        return read_clip(self._bona_fide(name, self._originals[name]), self.settings, TechniqueReport())

    def _bona_fide(self, name: str, file: str) -> SourceItem:
        video = f"ff/{name}"
        return SourceItem(self.root / file, self.name, file, "bona_fide", None, identities=(video,), video=video)

    def _forged(self, technique: str, target: str, donor: str, file: str) -> Iterator[SourceItem]:
        clip = SourceItem(
            self.root / file,
            self.name,
            file,
            TECHNIQUES[technique],
            technique,
            identities=(f"ff/{target}", f"ff/{donor}"),
            video=f"{technique}/ff/{target}_{donor}",
        )
        return clip_items(clip, self.settings, self.report[technique], self.frames_of(f"ff/{target}"))
