"""One reviewer's work: the descriptions of a split's forgeries, those first that the pixels bear out least."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from dfa_instruct.annotate.answer_parsing import NotUnderstoodError, check_claims, findings, one_line
from dfa_instruct.annotate.decisions import Agreement, Choice, Decision, Decisions, agreements, reviewer_name
from dfa_instruct.annotate.faces import Faces, face_of
from dfa_instruct.annotate.from_store import newest
from dfa_instruct.annotate.grounding import ground_in, ground_missing
from dfa_instruct.annotate.measured import Measured, description
from dfa_instruct.annotate.store import Store, store_path
from dfa_instruct.records import MEASURED, Artifact
from dfa_instruct.vocabulary import Split

_LINE: Final = re.compile(r"(\w+)\s*\(([\w\s,]*)\)\s*:\s*(\S.*)")


@dataclass(frozen=True, slots=True)
class Item:
    """One description: of which face, by whom, its claims with their verdicts, and its score."""

    face_id: str
    by: str
    claims: tuple[Mapping[str, Any], ...]
    grounding: float | None

    @property
    def description(self) -> str:
        """The text as it is rendered, by which a decision knows it."""
        return description(findings(self.claims))

    @property
    def contradicted(self) -> bool:
        """Whether the pixels contradict any of its claims."""
        return any(claim.get("verdict") == "contradicted" for claim in self.claims)


@dataclass(frozen=True)
class Progress:
    """How many items there are, on how many a reviewer has decided, and how many contradicted ones are left."""

    items: int
    decided: int
    contradicted_left: int
    agreements: list[Agreement]


class Work:
    """What a reviewer sees and does; every decision is on the disk when its call returns."""

    def __init__(self, folder: Path, split: Split, reviewer: str) -> None:
        """Open a dataset folder and its store, and put the split's descriptions in order.

        Raises:
            FileNotFoundError: the folder holds no dataset.
            ValueError: there is no forgery in the split, the name is none, or the store is not one.
        """
        self.faces = Faces(folder)
        self.path = store_path(folder)
        self.reviewer = reviewer_name(reviewer)
        measured = Measured()
        with Store(self.path) as store:
            ground_missing(self.faces, store)
            found = []
            for row in self.faces.rows():
                if row["split"] == split and row["label"] == "forged":
                    face, artifacts = face_of(row), [Artifact(**artifact) for artifact in row["artifacts"]]
                    said = newest(store, face.face_id, measured.annotate(face, artifacts))
                    found.append(Item(face.face_id, said.by, tuple(said.parsed), said.grounding))
        if not found:
            raise ValueError(f"{folder}: no forgery in the split {split}, so there is no description to review")
        self.items = sorted(found, key=lambda item: (_borne_out(item), item.face_id))
        self.number_of = {item.face_id: number for number, item in enumerate(self.items)}
        self.keys = {(item.face_id, item.description): item for item in self.items}

    def chosen(self, item: Item) -> Choice | None:
        """Return what this reviewer has decided on an item."""
        with Store(self.path) as store:
            return next((d.choice for d in self._decided(store, item)), None)

    def claims(self, item: Item) -> tuple[Mapping[str, Any], ...]:
        """Return the claims of an item, as this reviewer has edited them."""
        with Store(self.path) as store:
            edited = next((d.claims for d in self._decided(store, item)), ())
        return edited or item.claims

    def _decided(self, store: Store, item: Item) -> list[Decision]:
        on = Decisions(store).on(item.face_id, item.description)
        return [decision for decision in on if decision.reviewer == self.reviewer]

    def decide(self, item: Item, choice: Choice) -> None:
        """Accept or reject an item."""
        with Store(self.path) as store:
            Decisions(store).put(item.face_id, item.description, Decision(self.reviewer, choice))

    def edit(self, item: Item, text: str) -> None:
        """Keep other claims in place of an item's; they are held against the pixels, too.

        Raises:
            NotUnderstoodError: the text is none of `lines`; the message says what is wrong.
        """
        claims, grounding = ground_in(self.faces, read_lines(text), item.face_id)
        with Store(self.path) as store:
            decision = Decision(self.reviewer, "edit", tuple(claims), grounding)
            Decisions(store).put(item.face_id, item.description, decision)

    def take_back(self) -> int | None:
        """Take this reviewer's last decision back; return the number of its item, None: there was none."""
        with Store(self.path) as store:
            face_id = Decisions(store).take_back(self.reviewer, self.keys)
        return None if face_id is None else self.number_of[face_id]

    def next_open(self, number: int) -> int:
        """Return the next item from a number on that is not decided; where all are, the item of the number."""
        with Store(self.path) as store:
            decided = Decisions(store).choices().get(self.reviewer, {})
        for other in (*range(number, len(self.items)), *range(number)):
            if (self.items[other].face_id, self.items[other].description) not in decided:
                return other
        return number % len(self.items)

    def progress(self) -> Progress:
        """Count what is done, and compare the reviewers on this split."""
        with Store(self.path) as store:
            choices = {
                name: {key: choice for key, choice in of_name.items() if key in self.keys}
                for name, of_name in Decisions(store).choices().items()
            }
        decided = choices.get(self.reviewer, {})
        left = sum(item.contradicted for key, item in self.keys.items() if key not in decided)
        return Progress(len(self.items), len(decided), left, agreements(choices))


def _borne_out(item: Item) -> float:
    """Return how far an item is borne out; of a language model's claims that could not be held against pixels: not."""
    return 1.0 if item.by == MEASURED else item.grounding or 0.0


def lines(claims: Iterable[Mapping[str, Any]]) -> str:
    """Write claims as a person edits them, a sentence a line: "mouth (colour, geometry): The lips are too red."."""
    return "\n".join(
        f"{region} ({', '.join(claim['artifact'] for claim in stated)}): {sentence}"
        for (region, sentence), stated in groupby(claims, lambda claim: (claim["region"], claim["sentence"]))
    )


def read_lines(text: str) -> list[dict[str, Any]]:
    """Read claims from lines.

    Raises:
        NotUnderstoodError: a line is of another form, a word is none of ours or comes twice, or nothing is left.
    """
    claims: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if not (found := _LINE.fullmatch(one_line(line))):
            raise NotUnderstoodError(f"Line {number}: expected region (artifact, artifact): sentence, found {line!r}")
        region, artifacts, sentence = found.groups()
        claims += [{"region": region, "artifact": artifact, "sentence": sentence} for artifact in artifacts.split(",")]
    if not claims:
        raise NotUnderstoodError("Nothing is left of the description; reject it instead.")
    check_claims(claims)
    return claims
