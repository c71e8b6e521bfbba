"""The lettered options of a question: the five categories (DF-C) or four techniques (DF-T)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from dfa_instruct.vocabulary import CATEGORIES, Category

TECHNIQUES_OFFERED: Final = 4
LETTERS: Final = "ABCDE"
"""The letters of options, in order."""
OPTION: Final = re.compile(rf"^[{LETTERS}]\. (.*)$", re.MULTILINE)
"""One line of lettered options, see `lettered`."""


def categories_offered(rng: np.random.Generator) -> tuple[str, ...]:
    """Return the names of the five categories, shuffled."""
    names = list(CATEGORIES.values())
    return tuple(names[i] for i in rng.permutation(len(names)))


def techniques_offered(
    technique: str | None, category: Category, techniques: Mapping[str, Category], rng: np.random.Generator
) -> tuple[str, ...]:
    """Return a technique and three others, shuffled. If possible, exactly one of the others is of its category.

    Names that differ in upper and lower case only are never offered together.

    Args:
        technique: The right technique. None: it is unknown.
        category: Its category.
        techniques: The category of each technique that can be offered.
        rng: Shuffles the names.

    Returns:
        Four names. No names if the technique is unknown or there are fewer than four.
    """
    if technique is None:
        return ()
    others = {name.casefold(): name for name in sorted(techniques)}
    others.pop(technique.casefold(), None)
    mixed = [[*others.values()][i] for i in rng.permutation(len(others))]
    alike = [name for name in mixed if techniques[name] == category]
    wrong = [*alike[:1], *(name for name in mixed if name not in alike), *alike[1:]]
    if len(wrong) < TECHNIQUES_OFFERED - 1:
        return ()
    offered = [technique, *wrong[: TECHNIQUES_OFFERED - 1]]
    return tuple(offered[i] for i in rng.permutation(TECHNIQUES_OFFERED))


def lettered(options: Sequence[str]) -> str:
    """Write each option on a line, as "A. Face editing"."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
