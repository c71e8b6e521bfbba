"""FaceForensics++: original and manipulated sequences, as videos or as frames extracted from them.

    original_sequences/youtube/c23/{videos/000.mp4, frames/000/000.png}
    manipulated_sequences/<Method>/c23/{videos/000_003.mp4, frames/000_003/000.png}

A forged clip, such as `000_003`, has two numbers: first that of the target, which is also the number of the target's
bona fide clip (`000`), then that of the donor or driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dfa_instruct.sources import SourceItem
from dfa_instruct.sources.clips import ClipSettings, ClipSource, find_clips, select_folders
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
        root: The folder that contains `original_sequences`.
        compression: The compression level to read.
        techniques: The techniques to read, each of which must exist; None reads all that exist.
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


class FaceForensicsSource(ClipSource):
    """FaceForensics++ on disk. Its identities and its bona fide videos are `ff/000` to `ff/999`."""

    Settings = FaceForensicsSettings
    name = "faceforensics"

    def __init__(self, settings: FaceForensicsSettings) -> None:
        super().__init__(settings, f"original_sequences/youtube/{settings.compression}")
        self._compression, self._required = settings.compression, settings.techniques
        self._techniques = select_techniques("faceforensics", settings.techniques)
        self._notes: dict[str, str] = {}
        top = select_folders(settings, self._refuse, "", ["original_sequences", "manipulated_sequences"])
        originals = top.get("original_sequences")
        for name in ("youtube", settings.compression):
            originals = originals and select_folders(settings, self._refuse, originals, [name]).get(name)
        if not originals:
            raise self._missing_root()
        for name, file in find_clips(settings, self._refuse, originals).items():
            if CLIP.fullmatch(name):
                self._bona_fide[f"ff/{name}"] = self._clip(file, f"ff/{name}", "bona_fide", None, f"ff/{name}")
            else:
                self._refuse(file, MISNAMED)
        if manipulated := top.get("manipulated_sequences"):
            for technique, folder in select_folders(settings, self._refuse, manipulated, self._techniques).items():
                self._find_forgeries(technique, folder)

    def items(self) -> Iterator[SourceItem]:
        """Yield the bona fide frames, then the frames of each technique, clip by clip."""
        yield from super().items()
        for technique, note in self._notes.items():
            self.report[technique].notes.append(note)
        require_techniques("faceforensics", self._required, self.report, self.root)

    def _find_forgeries(self, technique: str, folder: str) -> None:
        compressed = select_folders(self.settings, self._refuse, folder, [self._compression]).get(self._compression)
        if compressed is None:
            others = ", ".join(self.settings.entries(folder)[1]) or "nothing"
            self._notes[technique] = f"{folder}: not read, it contains no {self._compression}, but {others}"
            return
        for name, file in find_clips(self.settings, self._refuse, compressed).items():
            if pair := PAIR.fullmatch(name):
                target, donor = f"ff/{pair['target']}", f"ff/{pair['donor']}"
                clip = self._clip(file, f"{technique}/ff/{name}", TECHNIQUES[technique], technique, target, donor)
                self._forged.append((clip, target))
            else:
                self._refuse(file, MISNAMED)

    def _technique_of(self, file: str) -> str | None:
        top, _, below = file.casefold().partition("/")
        technique = find_technique("faceforensics", below.partition("/")[0])
        if top == "original_sequences":
            return "bona_fide"
        return technique if technique in self._techniques else None
