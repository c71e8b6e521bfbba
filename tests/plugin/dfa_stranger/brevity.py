"""A metric: how many words the answers have."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any


def words(predictions: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {"mean": fmean(len(prediction["answer"].split()) for prediction in predictions)}
