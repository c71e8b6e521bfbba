"""What is promised of a dataset folder, and what became of each promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dfa_instruct.duplicates import NEAR

if TYPE_CHECKING:
    from rich.console import Group

PROMISES: Final[dict[str, str]] = {
    "card": "a card with the dataset's configuration is there",
    "columns": "the columns are those of DFA-Instruct, nothing in them is null but what may be; parameters are JSON",
    "splits": "a row's split is that of its file: train, validation or test",
    "categories": "no split is empty, nor lacks a category for any reason but the recipe or too few people",
    "images": "every image is a PNG that decodes, is square and of one size",
    "hashes": "a face_id follows from the pixels, and is there once",
    "identities": "an identity is in one split only",
    "videos": "a video is in one split only",
    "sources": "a row has the SHA-256 of the file it comes from; an entire face that was made here comes from none",
    "landmarks": "landmarks are 81 finite points of a face in the picture",
    "pairs": "a pair is a bona fide face of the same split and frame, and whoever is in it is in the forgery, too; "
    "bona fide and synthesized faces have none",
    "donors": "a donor or driver is a bona fide face of the same split, and whoever is in it is in the forgery, too",
    "pixels": "outside of the face a forgery shows what its pair shows (a sample)",
    "labels": "label, category, technique and artifacts agree",
    "evidence": "the artifacts are those that the pixels of a forgery and of its pair give again (a sample)",
    "questions": "seven questions an image: one of DF-D, DF-C and AD each, four of FC",
    "answers": "every answer follows from its question and the row's label, category and artifacts",
    "writers": "who wrote a description and a conversation is named; a description is made of its findings",
    "bench": "test rows have the standardised questions of DFA-Bench, and no other row has any",
    "duplicates": f"no picture is in two splits (perceptual hashes differ in more than {NEAR} of 256 bits)",
    "provenance": "a forged image carries its technique and its source's hash in its PNG",
}
"""What is promised of a dataset folder, by the name under which it is reported."""
NAMED: Final = 3
"""Examples kept of each broken promise."""


@dataclass
class Finding:
    """What became of one promise: how often it was checked and broken, the first examples, and warnings.

    A warning tells of something that is worth knowing and breaks no promise.
    """

    checked: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def check(self, kept: bool, example: str) -> None:
        """Count one check; `example` names the row and says what is wrong with it."""
        self.checked += 1
        if not kept:
            self.broken += 1
            if len(self.examples) < NAMED:
                self.examples.append(example)


class Findings(dict[str, Finding]):
    """Promise → what became of it."""

    def __init__(self) -> None:
        super().__init__({promise: Finding() for promise in PROMISES})

    def check(self, promise: str, kept: bool, example: str) -> None:
        """Count one check of a promise; see `Finding.check`."""
        self[promise].check(kept, example)


def report(findings: Mapping[str, Finding]) -> Group:
    """Lay the findings out for a terminal: a table of the promises, examples of the broken ones, warnings."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    laid = Table(title="What is promised")
    laid.add_column("promise")
    laid.add_column("checks", justify="right")
    laid.add_column("broken", justify="right")
    laid.add_column("")
    named: list[Any] = []
    for name, finding in findings.items():
        verdict = Text("broken", "bold red") if finding.broken else Text("held" if finding.checked else "not checked")
        laid.add_row(PROMISES[name], str(finding.checked), str(finding.broken), verdict)
        if finding.broken:
            named.append(Text(f"Broken: {PROMISES[name]}", "bold"))
            named += [Padding(Text(example), (0, 0, 0, 2)) for example in finding.examples]
            if more := finding.broken - len(finding.examples):
                named.append(Padding(Text(f"and {more} more"), (0, 0, 0, 2)))
    named += [Text(f"Warning: {warning}") for finding in findings.values() for warning in finding.warnings]
    return Group(laid, *named)
