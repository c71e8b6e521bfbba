"""How far people's descriptions of forged faces agree with the pixels and with each other.

A person names a region by calling it faulty. The pixels name a region if comparing the forgery with its bona fide face
has shown an artifact there. Kappa is Cohen's kappa of these decisions: 1 is full agreement, 0 is what chance would
give. The kappa of all regions together is also high if everybody names the same regions in every face, so the table by
region tells more.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from dfa_instruct.annotate.claims import merge_findings
from dfa_instruct.annotate.descriptions import by_person, descriptions_of
from dfa_instruct.dataset.reading import open_splits, rows_of
from dfa_instruct.vocabulary import REGIONS, ArtifactKind, Region

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS: Final = ("label", "technique", "pairing", "artifacts", "descriptions")
ALL: Final = "all"

Named = Mapping[Region, Collection[ArtifactKind]]
"""The regions that a person or the pixels name, with the kinds of artifacts."""


@dataclass
class Agreement:
    """The agreement about the faces of one technique.

    Attributes:
        faces: The number of forged faces that people have described.
        people: One entry for each person and face: the regions that are named.
        with_pixels: What a person and the pixels name in the same face, for faces with a pair.
        with_each_other: What two people name in the same face.
    """

    faces: int = 0
    people: list[Named] = field(default_factory=list)
    with_pixels: list[tuple[Named, Named]] = field(default_factory=list)
    with_each_other: list[tuple[Named, Named]] = field(default_factory=list)

    def add(self, people: Sequence[Named], pixels: Named | None) -> None:
        """Add a face. `pixels` is None if it has no pair."""
        self.faces += 1
        self.people += people
        self.with_pixels += [(named, pixels) for named in people if pixels is not None]
        self.with_each_other += combinations(people, 2)


def agreement(where: str) -> dict[str, Agreement]:
    """Compare the descriptions in a dataset folder or a repository on the Hub, by technique.

    Returns:
        Technique → the agreement, and that of all techniques as `ALL`. Empty if people have described no forged face.

    Raises:
        FileNotFoundError: See `dfa_instruct.dataset.reading.open_splits`.
        ValueError: See `open_splits` and `rows_of`.
    """
    found: dict[str, Agreement] = defaultdict(Agreement)
    for split, rows in open_splits(where, COLUMNS).items():
        for row in rows_of(where, split, rows, "compare"):
            descriptions = descriptions_of(row)
            if row["label"] == "bona_fide" or not descriptions:
                continue
            people = [
                {one.region: one.artifacts for one in merge_findings(f for words in own for f in words.findings)}
                for own in by_person(descriptions).values()
            ]
            pixels = _evident(row["artifacts"]) if row["pairing"] in ("same_frame", "content") else None
            for name in (row["technique"] or "unknown", ALL):
                found[name].add(people, pixels)
    return dict(found)


def _evident(artifacts: Iterable[Mapping[str, Any]]) -> Named:
    kinds: dict[Region, list[ArtifactKind]] = defaultdict(list)
    for artifact in artifacts:
        kinds[artifact["region"]].append(artifact["artifact"])
    return kinds


def kappa(pairs: Iterable[tuple[Named, Named]], regions: Collection[Region] = tuple(REGIONS)) -> float:
    """Return Cohen's kappa of the pairs, where each side of a pair decides for each region whether to name it.

    The result is NaN if all decisions are the same.
    """
    from sklearn.metrics import cohen_kappa_score

    decisions = [(region in one, region in other) for one, other in pairs for region in regions]
    if len({decision for pair in decisions for decision in pair}) < 2:
        return math.nan
    first, second = zip(*decisions, strict=True)
    return float(cohen_kappa_score(first, second))


def _share(hits: Iterable[bool]) -> str:
    counted = list(hits)
    return f"{100 * fmean(counted):.0f} %" if counted else "–"


def _written(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def technique_tables(found: Mapping[str, Agreement]) -> list[Table]:
    """Return a table of what people and the pixels name, and one of their agreement, both by technique."""
    coverage = _table("Regions named by a person (R) and by the pixels (P)", "technique")
    agreed = _table("Agreement with the pixels and of two people", "technique")
    for heading in ("faces", "opinions", "R", "of R in P", "of P in R"):
        coverage.add_column(heading, justify="right")
    for heading in ("kappa with P", "same kind in both", "pairs of people", "their kappa"):
        agreed.add_column(heading, justify="right")
    for name, one in sorted(found.items(), key=lambda item: (item[0] == ALL, item[0])):
        if name == ALL:
            coverage.add_section()
            agreed.add_section()
        coverage.add_row(
            name,
            str(one.faces),
            str(len(one.people)),
            f"{fmean(map(len, one.people)):.1f}",
            _share(region in pixels for named, pixels in one.with_pixels for region in named),
            _share(region in named for named, pixels in one.with_pixels for region in pixels),
        )
        agreed.add_row(
            name,
            _written(kappa(one.with_pixels)),
            _share(
                not {*named[region]}.isdisjoint(pixels[region])
                for named, pixels in one.with_pixels
                for region in named
                if region in pixels and named[region]
            ),
            str(len(one.with_each_other)),
            _written(kappa(_both_ways(one.with_each_other))),
        )
    return [coverage, agreed]


def region_table(found: Agreement) -> Table:
    """Return a table of the agreement by region, over all techniques."""
    table = _table("The same by region, over all techniques", "region")
    for heading in ("people name it", "P names it", "kappa with P", "kappa of two people"):
        table.add_column(heading, justify="right")
    for region in REGIONS:
        table.add_row(
            region,
            _share(region in named for named in found.people),
            _share(region in pixels for _, pixels in found.with_pixels),
            _written(kappa(found.with_pixels, [region])),
            _written(kappa(_both_ways(found.with_each_other), [region])),
        )
    return table


def _table(title: str, first: str) -> Table:
    from rich.table import Table

    table = Table(title=title)
    table.add_column(first)
    return table


def _both_ways(pairs: Iterable[tuple[Named, Named]]) -> Iterable[tuple[Named, Named]]:
    """Yield each pair in both orders, because neither of two people is the first."""
    for one, other in pairs:
        yield one, other
        yield other, one
