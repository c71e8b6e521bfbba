"""Count a dataset's rows by split, category, technique, source and ability."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from dfa_instruct.instruct.options import OPTION

COLUMNS: Final = ("label", "category", "technique", "pairing", "source", "identities", "split", "qa", "ad_by")
"""The columns that are counted. Images are not read."""

_REVIEWED: Final = re.compile(r", (accept|edit|reject)ed by ")
_WORD: Final = re.compile(r"[a-z]{2,}(?:['’-][a-z]+)*")


class Statistics:
    """The counts of a stream of rows.

    Attributes:
        images: The number of images by split and category.
        techniques: The number of images by category and technique.
        pairings: The number of forgeries by technique and by how their bona fide picture was found.
        questions: The number of questions by ability.
        words: The frequency of each word in the questions and answers.
        sources: The number of images by category, technique (empty for bona fide images) and source.
        writers: The number of images by ability and by who wrote its text.
        identities: The identities in each split.
    """

    def __init__(self) -> None:
        self.images: Counter[tuple[str, str]] = Counter()
        self.techniques: Counter[tuple[str, str]] = Counter()
        self.pairings: Counter[tuple[str, str]] = Counter()
        self.questions: Counter[str] = Counter()
        self.words: Counter[str] = Counter()
        self.sources: Counter[tuple[str, str, str]] = Counter()
        self.writers: Counter[tuple[str, str]] = Counter()
        self.identities: dict[str, set[str]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row, which has at least the columns `COLUMNS`."""
        self.images[row["split"], row["category"]] += 1
        if row["technique"]:
            self.techniques[row["category"], row["technique"]] += 1
            if pairing := row["pairing"]:
                self.pairings[row["technique"], pairing] += 1
        self.questions.update(pair["ability"] for pair in row["qa"])
        for pair in row["qa"]:
            question = OPTION.sub("", pair["question"])  # the options are no words of the question
            self.words.update(_WORD.findall(f"{question}\n{pair['answer']}".lower()))
        self.sources[row["category"], row["technique"] or "", row["source"]] += 1
        self.writers.update((ability, row[f"{ability}_by"]) for ability in ("ad", "fc") if row.get(f"{ability}_by"))
        self.identities.setdefault(row["split"], set()).update(row["identities"])

    def images_of(self, split: str | None = None, category: str | None = None) -> int:
        """Return the number of images of a split, of a category, or of both."""
        return sum(n for (s, c), n in self.images.items() if split in (None, s) and category in (None, c))

    def reviewed(self) -> bool:
        """Return whether a person has reviewed any of the texts."""
        return any(_REVIEWED.search(by) for _, by in self.writers)
