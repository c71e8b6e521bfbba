"""Forgery techniques in the paper's four categories, behind one small interface that a plug-in can join."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from dfa_instruct.records import FaceRecord, Forgery
from dfa_instruct.techniques.edit import Eyes, Lips, Skin
from dfa_instruct.techniques.reenact import Reenactment, thin_plate
from dfa_instruct.techniques.swap import DelaunaySwap, FeatheredSwap
from dfa_instruct.techniques.warp import piecewise_affine
from dfa_instruct.vocabulary import Category


class Technique(Protocol):
    """An object that forges.

    What it is given follows from its category: face swapping a target and a donor, face reenactment a target and a
    driver, face editing a target only, entire face synthesis neither.
    """

    name: str
    category: Category

    def forge(self, target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator) -> Forgery:
        """Forge one aligned face of the target's size.

        Args:
            target: the bona fide face to change; its `landmarks` are set.
            other: the donor or the driver, aligned to the same square; its `landmarks` are set.
            rng: the only source of chance, so that a seed repeats the picture.

        Raises:
            ValueError: the landmarks do not allow this technique (a profile, say); the caller counts and drops.
        """
        ...


TECHNIQUES: Final[dict[str, Technique]] = {
    technique.name: technique
    for technique in (
        DelaunaySwap(),
        FeatheredSwap(),
        Reenactment("triangulated_reenactment", piecewise_affine),
        Reenactment("thin_plate_reenactment", thin_plate),
        Lips(),
        Skin(),
        Eyes(),
    )
}
"""Name → the techniques that need no fitting. `dfa_instruct.techniques.synthesize.Eigenfaces.fit` makes one more."""
