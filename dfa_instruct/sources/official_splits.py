"""The official lists of FaceForensics++ and Celeb-DF: which of their videos are for training, which for testing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dfa_instruct.vocabulary import Split

PUBLISHED: Final = ("faceforensics", "celebdf", "df40")
"""The sources whose videos the lists name."""
PAIRS: Final[dict[Split, str]] = {"train": "train.json", "validation": "val.json", "test": "test.json"}
TESTING: Final = "List_of_testing_videos.txt"
VIDEO: Final = re.compile(r"(.*/)?(?P<dataset>ff|celeb|youtube)/(?P<clip>[^/]+)")


def read_official(folder: Path) -> dict[str, Split]:
    """Read FaceForensics++'s official splits, train.json, val.json and test.json: pairs of video numbers.

    Returns:
        The split of each identity (`ff/071`).

    Raises:
        ValueError: a file is missing, or is not a list of pairs.
    """
    assignment: dict[str, Split] = {}
    for split, name in PAIRS.items():
        path = folder / name
        try:
            pairs = json.loads(path.read_text(encoding="utf-8"))
            assignment |= {"ff/" + video: split for first, second in pairs for video in (first, second)}
        except (OSError, ValueError, TypeError, RecursionError) as error:
            expected = 'a list of pairs of video numbers, [["071", "054"], …]'
            raise ValueError(f"official_splits: {path}: expected {expected} ({error})") from error
    return assignment


@dataclass(frozen=True)
class OfficialLists:
    """What the lists say that lie beside the data: FaceForensics++'s splits, Celeb-DF's videos for testing."""

    ff: dict[str, Split] = field(default_factory=dict)
    testing: frozenset[str] = frozenset()

    @classmethod
    def beside(cls, folders: Iterable[Path]) -> OfficialLists:
        """Read those that lie in the folders. Nobody has asked for them: what is of another form is none of them."""
        ff: dict[str, Split] = {}
        testing: set[str] = set()
        for folder in folders:
            with suppress(ValueError):
                ff |= read_official(folder)
            if (folder / TESTING).is_file():
                lines = (folder / TESTING).read_text(encoding="utf-8", errors="replace").casefold().splitlines()
                testing |= {Path(line.split()[-1]).stem for line in lines if line.strip()}
        return cls(ff, frozenset(testing))

    def split_of(self, video: str | None) -> Split | None:
        """Say where the lists put a video, called as `SourceItem.video` is; None: they do not tell."""
        match = VIDEO.fullmatch(video or "")
        if match and match["dataset"] == "ff":
            return self.ff.get(f"ff/{match['clip'][:3]}")  # that of the target
        if match and self.testing:
            return "test" if match["clip"] in self.testing else "train"
        return None
