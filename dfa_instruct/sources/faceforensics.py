"""FaceForensics++: original and manipulated sequences, as videos or as frames cut from them.

    original_sequences/youtube/c23/{videos/000.mp4, frames/000/000.png}
    manipulated_sequences/<Method>/c23/{videos/000_003.mp4, frames/000_003/000.png}

In `A_B`, A is the target and its bona fide clip is `original/A`; B is the donor or the driver.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from dfa_instruct.sources import UNKNOWN, SourceItem, TechniqueReport, suggestion
from dfa_instruct.sources.catalogue import DATASET_TECHNIQUES, find_technique, require
from dfa_instruct.sources.clips import ClipSettings, child, clip_items, clips_in

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
                raise ValueError(f"unknown technique {name!r}; {suggestion(name, TECHNIQUES)}")


class FaceForensicsSource:
    """FaceForensics++ on disk. Its identities are `ff/000` to `ff/999`, its bona fide videos likewise."""

    name = "faceforensics"

    def __init__(self, settings: FaceForensicsSettings) -> None:
        self.settings = settings
        self.root = settings.root.expanduser()
        self.report: dict[str, TechniqueReport] = {}
        originals = child(self.root, "original_sequences", "youtube", settings.compression)
        if originals is None:
            raise FileNotFoundError(f"{self.root}: expected original_sequences/youtube/{settings.compression} in it")
        self._originals = clips_in(originals)
        asked = settings.techniques
        self._techniques = {find_technique("faceforensics", n) for n in (TECHNIQUES if asked is None else asked)}
        self.frames_of = lru_cache(maxsize=1024)(self._frames_of)

    def items(self) -> Iterator[SourceItem]:
        """Yield the bona fide frames, then those of each technique, clip by clip."""
        self.report = defaultdict(TechniqueReport)
        for name, path in self._originals.items():
            if CLIP.fullmatch(name):
                yield from self._bona_fide(name, path, self.report["bona_fide"])
            else:
                self.report["bona_fide"].drop(MISNAMED, path.relative_to(self.root).as_posix())
        manipulated = child(self.root, "manipulated_sequences")
        for folder in sorted(manipulated.iterdir()) if manipulated else ():
            technique = find_technique("faceforensics", folder.name)
            if technique is None:
                self.report[UNKNOWN].notes.append(f"{folder.name}: no technique that is known, and not read")
            compressed = child(folder, self.settings.compression)
            if technique is None or compressed is None or technique not in self._techniques:
                continue
            for name, path in clips_in(compressed).items():
                if pair := PAIR.fullmatch(name):
                    yield from self._forged(technique, pair["target"], pair["donor"], path)
                else:
                    self.report[technique].drop(MISNAMED, path.relative_to(self.root).as_posix())
        require(self.settings.techniques, self.name, self.report, self.root)

    def _frames_of(self, video: str) -> Sequence[SourceItem]:
        dataset, _, name = video.partition("/")
        if dataset != "ff" or name not in self._originals:
            return ()
        return tuple(self._bona_fide(name, self._originals[name], TechniqueReport()))

    def _bona_fide(self, name: str, path: Path, report: TechniqueReport) -> Iterator[SourceItem]:
        where = path.relative_to(self.root).as_posix()
        video = f"ff/{name}"
        clip = SourceItem(path, self.name, where, "bona_fide", None, identities=(video,), video=video)
        return clip_items(clip, self.settings.choice, report)

    def _forged(self, technique: str, target: str, donor: str, path: Path) -> Iterator[SourceItem]:
        clip = SourceItem(
            path,
            self.name,
            path.relative_to(self.root).as_posix(),
            TECHNIQUES[technique],
            technique,
            identities=(f"ff/{target}", f"ff/{donor}"),
            video=f"{technique}/ff/{target}_{donor}",
        )
        bona_fide = self.frames_of(f"ff/{target}")
        return clip_items(clip, self.settings.choice, self.report[technique], bona_fide)
