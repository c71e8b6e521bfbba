"""Bands of detail, the strength of an artifact, and the choice of the artifacts that are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.records import Artifact
from dfa_instruct.vocabulary import ARTIFACTS, REGIONS, ArtifactKind, Region

MAX_REGIONS: Final = 4
"""The largest number of regions that are named in one face."""
MAX_KINDS: Final = 2
"""The largest number of artifacts that are named in one region."""


def bands(lightness: NDArray[np.float32]) -> dict[ArtifactKind, NDArray[np.float32]]:
    """Split lightness into fine detail (below about 3 px, "texture") and middle detail (3 to 10 px, "sharpness")."""
    fine = cv2.GaussianBlur(lightness, (0, 0), 0.8)
    middle = cv2.GaussianBlur(lightness, (0, 0), 2.5)
    return {"texture": lightness - fine, "sharpness": fine - middle}


def rms(values: NDArray[np.floating]) -> float:
    """Return the root mean square, or 0 for an empty array."""
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def strength(value: float, scale: tuple[float, float]) -> float:
    """Map a value to a strength that rises from 0 at the scale's lower end to 1 at its upper end."""
    return float(np.clip((value - scale[0]) / (scale[1] - scale[0]), 0, 1))


def rank(strengths: Mapping[Region, Mapping[ArtifactKind, float]]) -> list[Artifact]:
    """Choose the strongest artifacts.

    Args:
        strengths: The strength of each artifact in each region, from 0 to 1.

    Returns:
        The artifacts of at most `MAX_REGIONS` regions, at most `MAX_KINDS` in each. The strongest region comes first,
        and the artifacts of a region follow each other.
    """
    artifacts = [
        Artifact(region, kind, round(strength, 3))
        for region in REGIONS
        for kind in ARTIFACTS
        if (strength := strengths.get(region, {}).get(kind, 0.0)) > 0
    ]
    artifacts.sort(key=lambda artifact: -artifact.strength)
    by_region: dict[Region, list[Artifact]] = {}
    for artifact in artifacts:
        by_region.setdefault(artifact.region, []).append(artifact)
    # An artifact is dropped if it is faint compared with the strongest region, or with the first of its own region.
    return [
        artifact
        for found in list(by_region.values())[:MAX_REGIONS]
        if found[0].strength > 0.25 * artifacts[0].strength
        for artifact in found[:MAX_KINDS]
        if artifact.strength > 0.6 * found[0].strength
    ]
