"""What people decided on descriptions: accepted, edited or rejected, each by whom and when.

A decision is about one text: on another one of the same face it says nothing. What a reviewer decides later stands in
place of what was decided before, and taking it back restores that.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import Any, Final, Literal, get_args

from dfa_instruct.annotate.store import Store

Choice = Literal["accept", "edit", "reject"]
LONGEST_NAME: Final = 60


@dataclass(frozen=True, slots=True)
class Decision:
    """What one reviewer decided on the description of one face.

    `claims` are those of an edit, with their verdicts, and `grounding` is their score; else there are none.
    """

    reviewer: str
    choice: Choice
    claims: tuple[Mapping[str, Any], ...] = ()
    grounding: float | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two reviewers: the descriptions on which both decided, the share on which alike, and Cohen's kappa.

    `kappa` is None where it has no value: both have chosen one and the same each time.
    """

    reviewers: tuple[str, str]
    both: int
    alike: float
    kappa: float | None


class Decisions:
    """The decisions in a store; each is on the disk when the call that makes it returns."""

    def __init__(self, store: Store) -> None:
        self.connection = store.connection

    def put(self, face_id: str, description: str, decision: Decision) -> None:
        """Keep a decision; the same as this reviewer's last one on this description is not kept twice."""
        last = [known for known in self.on(face_id, description) if known.reviewer == decision.reviewer]
        if last == [decision]:
            return
        self.connection.execute(
            "INSERT INTO decisions (face_id, description, reviewer, choice, claims, grounding, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                face_id,
                description,
                decision.reviewer,
                decision.choice,
                json.dumps(decision.claims),
                decision.grounding,
                datetime.now(UTC).isoformat(timespec="seconds"),
            ),
        )

    def take_back(self, reviewer: str, among: Container[tuple[str, str]]) -> str | None:
        """Take back what a reviewer decided last.

        Args:
            reviewer: whose decision.
            among: faces, each with its description: decisions on others stay.

        Returns:
            The face that it was about; None: there was nothing.
        """
        rows = self.connection.execute(
            "SELECT number, face_id, description FROM decisions WHERE reviewer = ? ORDER BY number DESC", (reviewer,)
        )
        for number, face_id, description in rows.fetchall():
            if (face_id, description) in among:
                self.connection.execute("DELETE FROM decisions WHERE number = ?", (number,))
                return str(face_id)
        return None

    def on(self, face_id: str, description: str) -> list[Decision]:
        """Return the last decision of each reviewer on a description, the oldest first."""
        rows = self.connection.execute(
            "SELECT reviewer, choice, claims, grounding, max(number) FROM decisions"
            " WHERE face_id = ? AND description = ? GROUP BY reviewer ORDER BY 5",
            (face_id, description),
        )
        return [Decision(name, choice, tuple(json.loads(claims)), score) for name, choice, claims, score, _ in rows]

    def choices(self) -> dict[str, dict[tuple[str, str], Choice]]:
        """Return each reviewer's last choice by face and description."""
        found: dict[str, dict[tuple[str, str], Choice]] = defaultdict(dict)
        rows = self.connection.execute(
            "SELECT reviewer, face_id, description, choice, max(number) FROM decisions GROUP BY 1, 2, 3"
        )
        for reviewer, face_id, description, choice, _ in rows:
            found[reviewer][face_id, description] = choice
        return dict(found)


def agreements(choices: Mapping[str, Mapping[tuple[str, str], Choice]]) -> list[Agreement]:
    """Compare each two reviewers on the descriptions on which both decided.

    Args:
        choices: as `Decisions.choices` returns them.
    """
    from sklearn.metrics import cohen_kappa_score

    found = []
    for one, other in combinations(sorted(choices), 2):
        shared = sorted(choices[one].keys() & choices[other].keys())
        if shared:
            first, second = ([choices[name][key] for key in shared] for name in (one, other))
            alike = sum(a == b for a, b in zip(first, second, strict=True)) / len(shared)
            same = len({*first, *second}) == 1  # chance alone would agree, and kappa is 0 / 0
            kappa = None if same else float(cohen_kappa_score(first, second, labels=get_args(Choice)))
            found.append(Agreement((one, other), len(shared), alike, kappa))
    return found


def reviewer_name(given: str) -> str:
    """Return a reviewer's name as rows have it.

    Raises:
        ValueError: it is empty, too long, or no plain words.
    """
    name = " ".join(given.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or "," in name:
        raise ValueError(f"reviewer: expected a name of 1 to {LONGEST_NAME} characters without a comma, not {given!r}")
    return name
