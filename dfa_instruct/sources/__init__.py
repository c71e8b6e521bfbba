"""Where faces come from: each source lists the pictures of one layout on disk and says what their paths tell.

A source reads no pixel. It yields one `SourceItem` a picture (or a frame of a video); the engine decodes, detects and
aligns them later, in parallel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dfa_instruct.vocabulary import Category


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One picture on disk, or one frame of a video file, and what its path or a table says of it.

    `path` is the file, `source_path` its name below the source's root (POSIX). `frame` is the number of the frame in
    its video: of a video file it is the frame to decode, of a picture the number in its name. `pair` is the `key` of
    the bona fide item that a forgery was made from. `cropped` says that the picture is a cropped face already.
    """

    path: Path
    source: str
    source_path: str
    category: Category
    technique: str | None
    identities: tuple[str, ...]
    video: str | None = None
    frame: int | None = None
    pair: str | None = None
    cropped: bool = False

    @property
    def key(self) -> str:
        """Name the item: unique in a build, the same in every build."""
        return f"{self.source}/{self.source_path}" + ("" if self.frame is None else f"#{self.frame}")


@dataclass(slots=True)
class TechniqueReport:
    """What a source found of one technique (or of `bona_fide`): files, how many gave an item, how many have a pair."""

    found: int = 0
    resolved: int = 0
    paired: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason → files."""


class Source(Protocol):
    """A layout on disk. `report` is filled while `items` runs."""

    report: dict[str, TechniqueReport]

    def items(self) -> Iterator[SourceItem]:
        """Yield what can be used, in an order that depends on the names only.

        Raises:
            FileNotFoundError, ValueError: the root is missing or holds nothing of this layout.
        """
        ...
