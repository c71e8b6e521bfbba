"""Review decisions: who accepted, edited or rejected a description, and when.

A decision applies to one text. It does not apply to another description of the same face. The last decision of each
reviewer counts; undoing it restores the one before.
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
MAX_NAME_LENGTH: Final = 60


@dataclass(frozen=True, slots=True)
class Decision:
    """One reviewer's decision on one description. An edit has the new claims with verdicts, and their score."""

    reviewer: str
    choice: Choice
    claims: tuple[Mapping[str, Any], ...] = ()
    grounding: float | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of two reviewers.

    Args:
        reviewers: Their names.
        count: The descriptions that both have decided on.
        observed: The share of these on which both made the same choice (0 to 1).
        kappa: Cohen's kappa; None if it is undefined because both always made one and the same choice.
    """

    reviewers: tuple[str, str]
    count: int
    observed: float
    kappa: float | None


class Decisions:
    """The decisions in a store. Every write is committed at once."""

    def __init__(self, store: Store) -> None:
        self.connection = store.connection

    def put(self, face_id: str, description: str, decision: Decision) -> None:
        """Write a decision, unless it equals the reviewer's last one on this description."""
        if decision in self.latest(face_id, description):
            return
        claims, now = json.dumps(decision.claims), datetime.now(UTC).isoformat(timespec="seconds")
        self.connection.execute(
            "INSERT INTO decisions (face_id, description, reviewer, choice, claims, grounding, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (face_id, description, decision.reviewer, decision.choice, claims, decision.grounding, now),
        )

    def undo(self, reviewer: str, candidates: Container[tuple[str, str]]) -> str | None:
        """Delete the last of a reviewer's decisions about `candidates`, pairs of a face id and a description.

        Returns:
            The id of the face that the decision was about, or None if there was none.
        """
        rows = self.connection.execute(
            "SELECT number, face_id, description FROM decisions WHERE reviewer = ? ORDER BY number DESC", (reviewer,)
        )
        for number, face_id, description in rows.fetchall():
            if (face_id, description) in candidates:
                self.connection.execute("DELETE FROM decisions WHERE number = ?", (number,))
                return str(face_id)
        return None

    def latest(self, face_id: str, description: str) -> list[Decision]:
        """Return the last decision of each reviewer on a description, the oldest first."""
        rows = self.connection.execute(
            "SELECT reviewer, choice, claims, grounding, max(number) FROM decisions"
            " WHERE face_id = ? AND description = ? GROUP BY reviewer ORDER BY 5",
            (face_id, description),
        )
        return [Decision(name, choice, tuple(json.loads(claims)), score) for name, choice, claims, score, _ in rows]

    def choices(self) -> dict[str, dict[tuple[str, str], Choice]]:
        """Return each reviewer's last choice on each description: reviewer → (face id, description) → choice."""
        choices: dict[str, dict[tuple[str, str], Choice]] = defaultdict(dict)
        rows = self.connection.execute(
            "SELECT reviewer, face_id, description, choice, max(number) FROM decisions GROUP BY 1, 2, 3"
        )
        for reviewer, face_id, description, choice, _ in rows:
            choices[reviewer][face_id, description] = choice
        return dict(choices)


def agreements(choices: Mapping[str, Mapping[tuple[str, str], Choice]]) -> list[Agreement]:
    """Compute the agreement of every two reviewers who share descriptions, from `Decisions.choices`."""
    from sklearn.metrics import cohen_kappa_score

    found = []
    for one, other in combinations(sorted(choices), 2):
        shared = sorted(choices[one].keys() & choices[other].keys())
        if shared:
            first, second = ([choices[name][key] for key in shared] for name in (one, other))
            observed = sum(a == b for a, b in zip(first, second, strict=True)) / len(shared)
            undefined = len({*first, *second}) == 1  # 0 / 0
            kappa = None if undefined else float(cohen_kappa_score(first, second, labels=get_args(Choice)))
            found.append(Agreement((one, other), len(shared), observed, kappa))
    return found


def reviewer_name(given: str) -> str:
    """Return a reviewer's name with single spaces.

    Raises:
        ValueError: The name is empty, too long, or contains a comma or unprintable characters.
    """
    plain = " ".join(given.split())
    if not plain or len(plain) > MAX_NAME_LENGTH or not plain.isprintable() or "," in plain:
        raise ValueError(
            f"reviewer: expected a name of 1 to {MAX_NAME_LENGTH} characters without a comma, not {given!r}"
        )
    return plain
