"""Convert between RGB and L*a*b*, which separates lightness from colour."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.records import Pixels


def to_lab(image: Pixels) -> NDArray[np.float32]:
    """Convert RGB to L*a*b*, with L* from 0 to 100."""
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def to_rgb(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert L*a*b* to RGB from 0 to 255, without rounding."""
    return np.asarray(255 * cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).clip(0, 1), np.float32)
