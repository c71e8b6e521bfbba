"""The embedded sample: drawn portraits, nobody real is in them, nothing is read from disk, no face need be found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from dfa_instruct.records import Face
from dfa_instruct.sources import SourceItem, TechniqueReport
from dfa_instruct.sources.portraits.drawing import draw_person
from dfa_instruct.vocabulary import Category

SAMPLE = "sample"


@dataclass(frozen=True)
class SampleSettings:
    """How many are drawn."""

    identities: Annotated[int, Field(ge=1)] = 160
    pictures: Annotated[int, Field(ge=1)] = 5
    """Of each identity."""
    seed: Annotated[int, Field(ge=0)] = 0
    first: Annotated[int, Field(ge=0)] = 0
    """Number of the first identity; people with other numbers are other people, whatever the seed."""
    categories: ClassVar[set[Category]] = {"bona_fide"}
    """What it yields."""


@dataclass
class SampleSource:
    """The portraits as items; `draw_item` draws them."""

    Settings: ClassVar[type] = SampleSettings
    settings: SampleSettings
    name: str = SAMPLE
    report: dict[str, TechniqueReport] = field(default_factory=dict)

    def items(self) -> Iterator[SourceItem]:
        """Yield an item a picture; its path says all that its drawing follows from."""
        count, seed = self.settings.pictures, self.settings.seed
        report = self.report.setdefault("bona_fide", TechniqueReport())
        for identity in range(self.settings.first, self.settings.first + self.settings.identities):
            person = f"sample_{identity:04d}"
            for picture in range(count):
                report.use()
                yield SourceItem(
                    path=Path(f"{SAMPLE}:/{seed}/{identity}/{count}/{picture}"),
                    source=SAMPLE,
                    source_path=f"{SAMPLE}/{person}/{picture:02d}.png",
                    category="bona_fide",
                    technique=None,
                    identities=(person,),
                )


def is_drawn(item: SourceItem) -> bool:
    """Tell an item of this source from a file."""
    return item.path.parts[0] == f"{SAMPLE}:"


def draw_item(item: SourceItem, size: int) -> Face:
    """Draw the picture of an item, aligned, shape (size, size, 3), with its landmarks."""
    seed, identity, count, picture = (int(part) for part in item.path.parts[1:])
    return _person(identity, count, size, seed)[picture]


_person = lru_cache(maxsize=1)(draw_person)  # a person's pictures are drawn together, and asked for one by one
