"""The embedded sample: portraits that this package draws. They show no real person and need no face detection."""

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
    """How many portraits to draw.

    Args:
        identities: The number of people.
        pictures: The number of pictures of each person.
        seed: The seed of the drawings.
        first: The number of the first person. Different numbers are different people, for any seed.
    """

    identities: Annotated[int, Field(ge=1)] = 160
    pictures: Annotated[int, Field(ge=1)] = 5
    seed: Annotated[int, Field(ge=0)] = 0
    first: Annotated[int, Field(ge=0)] = 0
    categories: ClassVar[set[Category]] = {"bona_fide"}


@dataclass
class SampleSource:
    """The portraits as items. `draw_item` draws them."""

    Settings: ClassVar[type] = SampleSettings
    settings: SampleSettings
    name: str = SAMPLE
    report: dict[str, TechniqueReport] = field(default_factory=dict)

    def items(self) -> Iterator[SourceItem]:
        """Yield one item per picture. Its path has everything that `draw_item` needs."""
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
    """Return whether an item belongs to this source, and is not a file."""
    return item.path.parts[0] == f"{SAMPLE}:"


def draw_item(item: SourceItem, size: int) -> Face:
    """Draw the aligned face of an item, shape (size, size, 3), with its landmarks."""
    seed, identity, count, picture = (int(part) for part in item.path.parts[1:])
    return _draw_person(identity, count, size, seed)[picture]


_draw_person = lru_cache(maxsize=1)(draw_person)  # all pictures of a person are drawn at once, and requested in order
