"""The lettered options of a question: the five categories (DF-C), or four techniques (which one made a forgery)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from dfa_instruct.vocabulary import CATEGORIES, Category

TECHNIQUES_OFFERED: Final = 4
LETTERS: Final = "ABCDE"
"""The letters of options, in order."""


def categories_offered(rng: np.random.Generator) -> tuple[str, ...]:
    """Return the names of the five categories, shuffled."""
    names = list(CATEGORIES.values())
    return tuple(names[i] for i in rng.permutation(len(names)))


def techniques_offered(
    technique: str | None, category: Category, techniques: Mapping[str, Category], rng: np.random.Generator
) -> tuple[str, ...]:
    """Return a technique among three others, shuffled: one of its category where there is one, then of others.

    Two that differ in capitals only are never both offered.

    Args:
        technique: the right one; none where it is not known.
        category: its category.
        techniques: name → category, of what may be offered.
        rng: shuffles.

    Returns:
        Four names; none where there are fewer than four, or the right one is not known.
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
    """Write options a line each, as "A. Face editing"."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
