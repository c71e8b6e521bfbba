"""Counting what a dataset holds, as the paper's Fig. 3 does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


class Statistics:
    """Counts over a stream of rows: images by split and category, by technique, questions by ability, identities."""

    def __init__(self) -> None:
        self.images: Counter[tuple[str, str]] = Counter()
        self.techniques: Counter[tuple[str, str]] = Counter()
        self.questions: Counter[str] = Counter()
        self.sources: set[str] = set()
        self.identities: dict[str, set[str]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row, given by the columns of `dfa_instruct.dataset.FEATURES`."""
        self.images[row["split"], row["category"]] += 1
        if row["technique"]:
            self.techniques[row["category"], row["technique"]] += 1
        self.questions.update(pair["ability"] for pair in row["qa"])
        self.sources.add(row["source"])
        self.identities.setdefault(row["split"], set()).update(row["identities"])

    def images_of(self, split: str | None = None, category: str | None = None) -> int:
        """Count the images of a split, of a category, or of both."""
        return sum(n for (s, c), n in self.images.items() if split in (None, s) and category in (None, c))
