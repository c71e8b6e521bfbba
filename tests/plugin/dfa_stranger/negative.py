"""A technique: the face's negative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dfa_instruct.records import FaceRecord, Forgery
from dfa_instruct.vocabulary import Category


@dataclass(frozen=True)
class Negative:
    """Takes each value from `white`."""

    white: int = 255
    name: ClassVar[str] = "stranger_negative"
    category: ClassVar[Category] = "face_editing"

    def forge(self, target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator) -> Forgery:
        assert target is not None
        return Forgery(np.uint8(self.white) - target.image, target.landmarks, {"white": self.white})
