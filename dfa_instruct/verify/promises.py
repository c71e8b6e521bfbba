"""The promises of a dataset folder, and the findings about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dfa_instruct.duplicates import NEAR

if TYPE_CHECKING:
    from rich.console import Group

PROMISES: Final[dict[str, str]] = {
    "card": "there is a card, and it names the files",
    "columns": "the columns are those of DFA-Instruct, and no value is null that must not be; parameters are JSON",
    "splits": "the split of a row is the split of its file: train, validation or test",
    "categories": "each split has rows of each category, unless the recipe leaves some out or there are too few people",
    "images": "each image is a PNG that decodes; all images are square and have the same size",
    "hashes": "each face_id follows from the pixels and occurs once",
    "identities": "each identity is in one split only",
    "videos": "each video is in one split only",
    "sources": "each row has the SHA-256 of its source file, unless the whole face was synthesized in the build",
    "landmarks": "landmarks are 81 finite points of a face in the picture",
    "pairs": "a pair is a bona fide face of the same split and frame, and its identities are among the forgery's; "
    "bona fide and synthesized faces have no pair",
    "donors": "a donor or driver is a bona fide face of the same split, and its identities are among the forgery's",
    "pixels": "outside the face, a forgery shows the same as its pair (checked on a sample)",
    "labels": "label, category, technique and artifacts agree",
    "evidence": "measuring a forgery against its pair gives the artifacts of its row (checked on a sample)",
    "questions": "each image has seven questions: one each of DF-D, DF-C and AD, and four of FC",
    "answers": "each answer follows from its question and the row's label, category and artifacts",
    "writers": "each row names who wrote its description and its conversation; a description consists of its findings",
    "bench": "test rows have the standardised questions of DFA-Bench, and other rows have none",
    "duplicates": f"no picture is in two splits (their perceptual hashes differ in more than {NEAR} of 256 bits)",
    "provenance": "the PNG of a forged image contains its technique and the hash of its source",
}
"""Name of a promise → the promise."""
NAMED: Final = 3
"""Number of examples that are kept for each broken promise."""


@dataclass
class Finding:
    """The result of checking one promise.

    Attributes:
        checked: How often it was checked.
        broken: How often it was broken.
        examples: What is wrong in the first rows that break it.
        warnings: What looks wrong but does not break the promise.
    """

    checked: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def check(self, kept: bool, example: str) -> None:
        """Count one check. `example` names the row and says what is wrong, in case the promise is not kept."""
        self.checked += 1
        if not kept:
            self.broken += 1
            if len(self.examples) < NAMED:
                self.examples.append(example)


class Findings(dict[str, Finding]):
    """Name of a promise → its finding."""

    def __init__(self) -> None:
        super().__init__({promise: Finding() for promise in PROMISES})

    def check(self, promise: str, kept: bool, example: str) -> None:
        """Count one check of a promise; see `Finding.check`."""
        self[promise].check(kept, example)


def report(findings: Mapping[str, Finding]) -> Group:
    """Return a table of all promises, followed by examples of the broken ones and by warnings."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(title="The promises of the dataset")
    table.add_column("promise")
    table.add_column("checks", justify="right")
    table.add_column("broken", justify="right")
    table.add_column("")
    examples: list[Any] = []
    for name, finding in findings.items():
        verdict = Text("broken", "bold red") if finding.broken else Text("held" if finding.checked else "not checked")
        table.add_row(PROMISES[name], str(finding.checked), str(finding.broken), verdict)
        if finding.broken:
            examples.append(Text(f"Broken: {PROMISES[name]}", "bold"))
            examples += [Padding(Text(example), (0, 0, 0, 2)) for example in finding.examples]
            if more := finding.broken - len(finding.examples):
                examples.append(Padding(Text(f"and {more} more"), (0, 0, 0, 2)))
    examples += [Text(f"Warning: {warning}") for finding in findings.values() for warning in finding.warnings]
    return Group(table, *examples)
