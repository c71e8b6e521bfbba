"""A technique: the middle of the face in negative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dfa_instruct.records import Face, Forgery
from dfa_instruct.vocabulary import Category


@dataclass(frozen=True)
class Negative:
    """Takes each value from `white`."""

    white: int = 255
    name: ClassVar[str] = "stranger_negative"
    category: ClassVar[Category] = "face_editing"

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        assert target is not None
        image = target.image.copy()
        middle = image[len(image) // 3 : -len(image) // 3, len(image) // 3 : -len(image) // 3]
        middle[:] = np.uint8(self.white) - middle
        return Forgery(image, target.landmarks, {"white": self.white})
