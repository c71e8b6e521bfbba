"""What people have written about the faces of a dataset: its place in the store, and the annotation that it makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from dfa_instruct.annotate.claims import merge_findings, read_findings
from dfa_instruct.annotate.store import Store
from dfa_instruct.records import HUMAN, Annotation, Description, Finding
from dfa_instruct.vocabulary import Label

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS descriptions (
    number INTEGER PRIMARY KEY,
    face_id TEXT NOT NULL,
    person TEXT NOT NULL,
    about TEXT NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (face_id, person, about)
) STRICT
"""


class Descriptions:
    """People's words in a store."""

    def __init__(self, store: Store) -> None:
        self.connection = store.connection
        self.connection.execute(_TABLE)

    def put(self, written: Iterable[tuple[str, Description]]) -> None:
        """Write pairs of a face id and a description, all or none.

        A person's new words replace their earlier words about the same part of the same face.
        """
        rows = [(face_id, one.person, one.about, one.text) for face_id, one in written]
        with self.connection:  # rolls back after an error
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(
                "INSERT INTO descriptions (face_id, person, about, text) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET text = excluded.text",
                rows,
            )

    def of(self, face_id: str, label: Label) -> tuple[Description, ...]:
        """Return the descriptions of a face in the order in which they were written to the store."""
        rows = self.connection.execute(
            "SELECT person, about, text FROM descriptions WHERE face_id = ? ORDER BY number", (face_id,)
        )
        return tuple(
            Description(person, about, text, read_findings(text, about) if label == "forged" else ())
            for person, about, text in rows
        )

    def digest(self) -> str:
        """Return a hash of all descriptions."""
        rows = self.connection.execute("SELECT face_id, person, about, text FROM descriptions ORDER BY number")
        return hashlib.sha256(json.dumps(rows.fetchall()).encode()).hexdigest()


def descriptions_of(row: Mapping[str, Any]) -> tuple[Description, ...]:
    """Return the descriptions in a row of a dataset."""
    return tuple(
        Description(
            one["person"],
            one["about"],
            one["text"],
            tuple(Finding(f["region"], tuple(f["artifacts"]), f["sentence"]) for f in one["findings"]),
        )
        for one in row.get("descriptions") or ()
    )


def by_person(descriptions: Iterable[Description]) -> dict[str, list[Description]]:
    """Group descriptions by person, in the order in which they first appear."""
    found: dict[str, list[Description]] = {}
    for description in descriptions:
        found.setdefault(description.person, []).append(description)
    return found


def whole_text(of_person: Sequence[Description]) -> str:
    """Return what one person has written about a face as one text.

    It is the description of the whole face, followed by those of parts that it does not name. If there is no such
    description, each part begins with its name.
    """
    lines = [one.text for one in of_person if not one.about]
    whole = "\n".join(lines).lower()
    for one in of_person:
        if one.about and one.about.lower() not in whole:
            lines.append(one.text if whole else f"{one.about[0].upper()}{one.about[1:]}: {one.text}")
    return "\n".join(lines)


def in_words_of_people(annotation: Annotation, descriptions: tuple[Description, ...]) -> Annotation:
    """Return the annotation with the description and the findings of the first person in `descriptions`."""
    own = next(iter(by_person(descriptions).values()))
    text = whole_text(own)
    findings = merge_findings(finding for one in own for finding in one.findings if finding.sentence in text)
    return replace(annotation, ad=text, findings=findings, ad_by=HUMAN, grounding=None, descriptions=descriptions)
