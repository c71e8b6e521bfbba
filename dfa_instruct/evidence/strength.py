"""Artifacts: what they are measured by, how strong they are, and which of them are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.records import Artifact
from dfa_instruct.vocabulary import ARTIFACTS, REGIONS, ArtifactKind, Region

MAX_REGIONS: Final = 4
MAX_KINDS: Final = 2  # of artifacts named in one region


def bands(lightness: NDArray[np.float32]) -> dict[ArtifactKind, NDArray[np.float32]]:
    """Split off the finest detail (below about 3 px) and the middle one (about 3 to 10 px)."""
    fine = cv2.GaussianBlur(lightness, (0, 0), 0.8)
    middle = cv2.GaussianBlur(lightness, (0, 0), 2.5)
    return {"texture": lightness - fine, "sharpness": fine - middle}


def rms(values: NDArray[np.floating]) -> float:
    """Root of the mean square; 0 of nothing."""
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def strength(value: float, scale: tuple[float, float]) -> float:
    """Bring a measure to a strength: 0 where its scale begins, 1 where it ends."""
    return float(np.clip((value - scale[0]) / (scale[1] - scale[0]), 0, 1))


def rank(strengths: Mapping[Region, Mapping[ArtifactKind, float]]) -> list[Artifact]:
    """Name the regions with the strongest artifacts: the strongest region first, its artifacts together."""
    artifacts = [
        Artifact(region, kind, round(strength, 3))
        for region in REGIONS
        for kind in ARTIFACTS
        if (strength := strengths.get(region, {}).get(kind, 0.0)) > 0
    ]
    artifacts.sort(key=lambda a: -a.strength)
    named: dict[Region, list[Artifact]] = {}
    for artifact in artifacts:
        named.setdefault(artifact.region, []).append(artifact)
    # What is faint beside the strongest region is not worth a word, nor a second artifact beside a region's first.
    return [
        artifact
        for of_region in list(named.values())[:MAX_REGIONS]
        if of_region[0].strength > 0.25 * artifacts[0].strength
        for artifact in of_region[:MAX_KINDS]
        if artifact.strength > 0.6 * of_region[0].strength
    ]
