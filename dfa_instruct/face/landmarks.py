"""The indices of the features among the 81 landmarks; see `dfa_instruct.records.Landmarks`."""

from __future__ import annotations

import numpy as np

RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
OUTER_LIPS, INNER_LIPS = slice(48, 60), slice(60, 68)
RIGHT_BROW, LEFT_BROW = slice(17, 22), slice(22, 27)
CONTOUR, FOREHEAD = slice(0, 17), slice(68, 81)
EYES, BROWS, RIM = (RIGHT_EYE, LEFT_EYE), (RIGHT_BROW, LEFT_BROW), np.r_[CONTOUR, FOREHEAD]

MIRRORED = np.concatenate(
    [
        np.arange(17)[::-1],  # contour
        np.arange(17, 27)[::-1],  # eyebrows
        np.r_[27:31, 35:30:-1],  # nose
        np.array([45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]),  # eyes
        np.r_[54:47:-1, 59:54:-1, 64:59:-1, 67:64:-1],  # lips
        np.arange(68, 81)[::-1],  # forehead
    ]
)
"""For each landmark of a mirrored face, the index of the same landmark in the original."""
