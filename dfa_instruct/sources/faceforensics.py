"""FaceForensics++: original and manipulated sequences, as videos or as frames cut from them.

    original_sequences/youtube/c23/{videos/000.mp4, frames/000/000.png}
    manipulated_sequences/<Method>/c23/{videos/000_003.mp4, frames/000_003/000.png}

In `A_B`, A is the target and its bona fide clip is `original/A`; B is the donor or the driver.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

from dfa_instruct.errors import nearest
from dfa_instruct.sources import NOT_READ, UNKNOWN, Frames, SourceItem, TechniqueReport
from dfa_instruct.sources.clips import ClipSettings, child, clip_items, clips_in, name_rest, not_read, read_clip
from dfa_instruct.sources.technique_names import DATASET_TECHNIQUES, asked_for, find_technique, require
from dfa_instruct.vocabulary import Category

TECHNIQUES: Final = DATASET_TECHNIQUES["faceforensics"]
CLIP: Final = re.compile(r"\d{3}")
PAIR: Final = re.compile(r"(?P<target>\d{3})_(?P<donor>\d{3})")
MISNAMED: Final = "not called as in FaceForensics++ (000, 000_003)"


@dataclass(frozen=True, slots=True)
class FaceForensicsSettings(ClipSettings):
    """Which part of FaceForensics++ is read.

    `root` holds `original_sequences`. `techniques` are those that must be there; none: all that are.
    """

    compression: str = "c23"
    techniques: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        ClipSettings.__post_init__(self)
        for name in self.techniques or ():
            if find_technique("faceforensics", name) is None:
                raise ValueError(f"unknown technique {name!r}{nearest(name, TECHNIQUES)}")

    @property
    def categories(self) -> set[Category]:
        """What it yields."""
        return {"bona_fide", *asked_for("faceforensics", self.techniques).values()}


class FaceForensicsSource:
    """FaceForensics++ on disk. Its identities are `ff/000` to `ff/999`, its bona fide videos likewise."""

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
        originals = child(settings, refuse, "", "original_sequences", "youtube", settings.compression)
        if originals is None:
            raise FileNotFoundError(f"{self.root}: {expected}{not_read(self._refused)}")
        self._folder = originals
        self._originals = clips_in(settings, refuse, originals)
        self._techniques = asked_for("faceforensics", settings.techniques)
        self.frames_of = lru_cache(maxsize=1024)(self._frames_of)

    def items(self) -> Iterator[SourceItem]:
        """Yield the bona fide frames, then those of each technique, clip by clip."""
        self.report = defaultdict(TechniqueReport)
        for name, file in self._originals.items():
            if CLIP.fullmatch(name):
                yield from clip_items(self._bona_fide(name, file), self.settings, self.report["bona_fide"])
            else:
                self.report["bona_fide"].drop(MISNAMED, file)
        refused = dict(self._refused)
        refuse = refused.__setitem__
        name_rest(self.settings, refuse, "", "original_sequences", "manipulated_sequences")
        for folder in map(str, PurePosixPath(self._folder).parents[:-1]):
            name_rest(self.settings, refuse, folder, "youtube", self.settings.compression)
        manipulated = child(self.settings, refuse, "", "manipulated_sequences")
        files, folders = self.settings.entries(manipulated, refuse) if manipulated else ([], [])
        for name in (*files, *folders):
            technique = find_technique("faceforensics", name) if name in folders else None
            if technique in self._techniques:
                yield from self._technique(technique, f"{manipulated}/{name}", refused)
            else:
                refuse(f"{manipulated}/{name}", NOT_READ)
        for file, reason in refused.items():
            self._refuse(file, reason)
        require(self.settings.techniques, self.name, self.report, self.root)

    def _technique(self, technique: str, folder: str, refused: dict[str, str]) -> Iterator[SourceItem]:
        wanted = self.settings.compression
        compressed = child(self.settings, refused.__setitem__, folder, wanted)
        if compressed is None:
            others = ", ".join(self.settings.entries(folder, refused.__setitem__)[1]) or "nothing"
            self.report[technique].notes.append(f"{folder}: no {wanted} in it, but {others}; not read")
            return
        name_rest(self.settings, refused.__setitem__, folder, wanted)
        for name, file in clips_in(self.settings, refused.__setitem__, compressed).items():
            if pair := PAIR.fullmatch(name):
                yield from self._forged(technique, pair["target"], pair["donor"], file)
            else:
                self.report[technique].drop(MISNAMED, file)

    def _refuse(self, file: str, reason: str) -> None:
        """Count what is not read with the technique that it lies in, if that is asked for."""
        top, _, below = file.casefold().partition("/")
        technique = find_technique("faceforensics", below.partition("/")[0])
        if top == "original_sequences":
            self.report["bona_fide"].leave_out(reason, file)
        elif technique in self._techniques:
            self.report[technique].leave_out(reason, file)
        else:
            self.report[UNKNOWN].pass_over(reason, file)

    def _frames_of(self, video: str) -> Frames | None:
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
        bona_fide = self.frames_of(f"ff/{target}")
        return clip_items(clip, self.settings, self.report[technique], bona_fide)
