"""Forgery techniques in the paper's four categories.

A recipe names a technique of this package, one of a plug-in (entry-point group `dfa_instruct.techniques`), `onnx:PATH`
or `diffusers:MODEL`. `dfa_instruct.techniques.registry` finds it. A technique is a `Technique`, or a `Fittable` that
becomes one by learning from the training split.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np

from dfa_instruct.records import Face, Forgery
from dfa_instruct.vocabulary import Category


class Named(Protocol):
    """An object with the name and the category of a technique."""

    @property
    def name(self) -> str:
        """The technique's name in the records."""
        ...

    @property
    def category(self) -> Category:
        """One of the four categories of forgeries."""
        ...


class Technique(Named, Protocol):
    """A technique that can forge faces.

    Face swapping and face reenactment are given a donor or driver, whose identity the forgery then shows, too. A
    technique of these categories that needs neither sets its attribute `needs_other` to False.
    """

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Forge one aligned face of the target's size.

        Args:
            target: The bona fide face to change, with landmarks. None for entire face synthesis.
            other: The donor of face swapping or the driver of face reenactment, with landmarks, aligned to the same
                square. None for face editing and entire face synthesis.
            rng: The only source of randomness, so that the same seed gives the same picture.

        Raises:
            ValueError: The technique cannot use these faces, for example a profile. The caller counts this and goes on.
        """
        ...


@runtime_checkable
class Fittable(Named, Protocol):
    """A technique that has to learn from the training split before it can forge."""

    def fit(self, faces: Iterable[Face], *, seed: int) -> Technique:
        """Learn from bona fide faces.

        Args:
            faces: Aligned faces of one size, in an order that mixes people.
            seed: The seed of all randomness. The same seed learns the same.

        Raises:
            ValueError: There are too few faces to learn from.
        """
        ...
