"""One reviewer's work: the descriptions of a split's forgeries, those with the lowest grounding score first.

Descriptions that people have written are not reviewed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from dfa_instruct.annotate.answer_parsing import NotUnderstoodError, check_claims, claims_to_findings, one_line
from dfa_instruct.annotate.decisions import Agreement, Choice, Decision, Decisions, agreements, reviewer_name
from dfa_instruct.annotate.descriptions import Descriptions
from dfa_instruct.annotate.faces import Faces, artifacts_of, face_of
from dfa_instruct.annotate.from_store import current_description
from dfa_instruct.annotate.grounding import ground_in, ground_missing
from dfa_instruct.annotate.measured import Measured, description
from dfa_instruct.annotate.store import Store, store_path
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.records import MEASURED
from dfa_instruct.vocabulary import Split

_LINE: Final = re.compile(r"(\w+)\s*\(([\w\s,]*)\)\s*:\s*(\S.*)")


@dataclass(frozen=True, slots=True)
class Item:
    """A description to review: its author (`by`), its claims with their verdicts, and its grounding score.

    The text of the description, as it is rendered, identifies it in a decision.
    """

    face_id: str
    by: str
    claims: tuple[Mapping[str, Any], ...]
    grounding: float | None
    description: str

    @property
    def contradicted(self) -> bool:
        """Whether the pixels contradict any of the claims."""
        return any(claim.get("verdict") == "contradicted" for claim in self.claims)


@dataclass(frozen=True)
class Progress:
    """The number of items, of items with a decision by the reviewer, and of contradicted items without one."""

    items: int
    decided: int
    contradicted_left: int
    agreements: list[Agreement]


class Work:
    """The items of one reviewer and the actions on them. Every decision is written to the store at once."""

    def __init__(self, folder: Path, split: Split, reviewer: str, templates: Path | None = None) -> None:
        """Open a dataset folder and its store, and sort the descriptions of the split.

        Args:
            folder: The dataset folder.
            split: The split to review.
            reviewer: The reviewer's name.
            templates: The folder of templates from which the dataset was made. Default: the package's.

        Raises:
            FileNotFoundError: The folder contains no dataset.
            ValueError: The split has no forgeries, the name is not valid, or the store is not one.
        """
        self.faces = Faces(folder)
        self.path = store_path(folder)
        self.reviewer = reviewer_name(reviewer)
        library = libraries(templates)
        measured = Measured(library)
        items = []
        with Store(self.path) as store:
            ground_missing(self.faces, store)
            people = Descriptions(store)
            for row in self.faces.rows():
                face = face_of(row)
                if row["split"] == split and row["label"] == "forged" and not people.of(face.face_id, face.label):
                    current = current_description(store, face.face_id, measured.annotate(face, artifacts_of(row)))
                    text = description(claims_to_findings(current.parsed), library)
                    items.append(Item(face.face_id, current.by, tuple(current.parsed), current.grounding, text))
        if not items:
            raise ValueError(
                f"{folder}: no forgery in the split {split} without a description by people; nothing is left to review"
            )
        self.items = sorted(items, key=lambda item: (_score(item), item.face_id))
        self.number_of = {item.face_id: number for number, item in enumerate(self.items)}
        self.items_by_key = {(item.face_id, item.description): item for item in self.items}

    def decision(self, item: Item) -> Decision | None:
        """Return this reviewer's decision on an item."""
        with Store(self.path) as store:
            decisions = Decisions(store).latest(item.face_id, item.description)
        return next((decision for decision in decisions if decision.reviewer == self.reviewer), None)

    def choice(self, item: Item) -> Choice | None:
        """Return this reviewer's choice on an item."""
        decision = self.decision(item)
        return decision.choice if decision else None

    def claims(self, item: Item) -> tuple[Mapping[str, Any], ...]:
        """Return the claims of an item, as edited by this reviewer."""
        decision = self.decision(item)
        return (decision and decision.claims) or item.claims

    def decide(self, item: Item, choice: Choice) -> None:
        """Accept or reject an item."""
        self._put(item, Decision(self.reviewer, choice))

    def edit(self, item: Item, text: str) -> None:
        """Replace the claims of an item by those in a text (see `read_lines`), and ground them.

        Raises:
            NotUnderstoodError: The text cannot be parsed; the message says why.
        """
        claims, grounding = ground_in(self.faces, read_lines(text), item.face_id)
        self._put(item, Decision(self.reviewer, "edit", tuple(claims), grounding))

    def _put(self, item: Item, decision: Decision) -> None:
        with Store(self.path) as store:
            Decisions(store).put(item.face_id, item.description, decision)

    def undo(self) -> int | None:
        """Undo this reviewer's last decision and return the number of its item, or None if there was none."""
        with Store(self.path) as store:
            face_id = Decisions(store).undo(self.reviewer, self.items_by_key)
        return None if face_id is None else self.number_of[face_id]

    def next_open(self, number: int) -> int:
        """Return the first item without a decision from `number` on, or `number` if there is none."""
        decided = self._choices().get(self.reviewer, {})
        for other in (*range(number, len(self.items)), *range(number)):
            if (self.items[other].face_id, self.items[other].description) not in decided:
                return other
        return number % len(self.items)

    def progress(self) -> Progress:
        """Count the decisions, and compare the reviewers of this split."""
        choices = self._choices()
        decided = choices.get(self.reviewer, {})
        left = sum(item.contradicted for key, item in self.items_by_key.items() if key not in decided)
        return Progress(len(self.items), len(decided), left, agreements(choices))

    def _choices(self) -> dict[str, dict[tuple[str, str], Choice]]:
        """Return the choices of each reviewer on the items."""
        with Store(self.path) as store:
            choices = Decisions(store).choices()
        return {
            name: {key: choice for key, choice in chosen.items() if key in self.items_by_key}
            for name, chosen in choices.items()
        }


def _score(item: Item) -> float:
    """Return the grounding score; 0 if no claim of a language model could be measured."""
    return 1.0 if item.by == MEASURED else item.grounding or 0.0


def lines(claims: Iterable[Mapping[str, Any]]) -> str:
    """Format claims for the editor, one sentence per line: "mouth (colour, geometry): The lips are too red."."""
    return "\n".join(
        f"{region} ({', '.join(claim['artifact'] for claim in group)}): {sentence}"
        for (region, sentence), group in groupby(claims, lambda claim: (claim["region"], claim["sentence"]))
    )


def read_lines(text: str) -> list[dict[str, Any]]:
    """Parse claims in the format of `lines`.

    Raises:
        NotUnderstoodError: A line has another format, or a claim is not valid, or there are no claims.
    """
    claims: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if not (match := _LINE.fullmatch(one_line(line))):
            raise NotUnderstoodError(f"Line {number}: expected region (artifact, artifact): sentence, found {line!r}")
        region, artifacts, sentence = match.groups()
        claims += [{"region": region, "artifact": artifact, "sentence": sentence} for artifact in artifacts.split(",")]
    if not claims:
        raise NotUnderstoodError("The description is empty; reject it instead.")
    check_claims(claims)
    return claims
