"""Forgery techniques in the paper's four categories, behind one small interface that others can join.

A recipe names a technique: one of ours, one of a plug-in (entry-point group `dfa_instruct.techniques`), `onnx:PATH` or
`diffusers:MODEL`. `dfa_instruct.techniques.registry` finds it. What learns from the training split first is `Fittable`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np

from dfa_instruct.records import Face, Forgery
from dfa_instruct.vocabulary import Category


class Named(Protocol):
    """What every technique says of itself, before and after it is fitted."""

    @property
    def name(self) -> str:
        """As the records have it."""
        ...

    @property
    def category(self) -> Category:
        """One of forgeries."""
        ...


class Technique(Named, Protocol):
    """An object that forges.

    What it is given follows from its category: face swapping a target and a donor, face reenactment a target and a
    driver, face editing a target only, entire face synthesis neither.
    """

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Forge one aligned face of the target's size.

        Args:
            target: the bona fide face to change; its `landmarks` are set.
            other: the donor or the driver, aligned to the same square; its `landmarks` are set.
            rng: the only source of chance, so that a seed repeats the picture.

        Raises:
            ValueError: the landmarks do not allow this technique (a profile, say); the caller counts and drops.
        """
        ...


@runtime_checkable
class Fittable(Named, Protocol):
    """A technique that has yet to learn from the training split."""

    def fit(self, faces: Iterable[Face], *, seed: int) -> Technique:
        """Learn from bona fide faces of one size, in an order that mixes people; the same seed learns the same.

        Raises:
            ValueError: there are too few faces to learn from.
        """
        ...
