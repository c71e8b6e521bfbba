"""Measure how well a map shows where a face was forged, against the pixels that differ from its bona fide face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfa_instruct.evidence.paired import changed_pixels
from dfa_instruct.sources.pictures import read_image
from dfa_instruct.vocabulary import Split

MAX_FORGERIES: Final = 600
"""The largest number of forgeries of a split that are used. They are drawn at random."""

Map = NDArray[np.float32]
"""How probably each patch of a face is forged, shape (rows, columns), 0 to 1."""
Mask = NDArray[np.bool_]
"""Which pixels of a face are changed, shape (side, side)."""


def localised_faces(data: Path | None, split: Split) -> Iterator[tuple[Image.Image, Mask]]:
    """Yield the faces of a split whose changed pixels are known, with these pixels.

    They are the forgeries with a bona fide face of the same frame, and these bona fide faces, whose masks are empty.

    Raises:
        ValueError: The split is missing or empty.
    """
    from dfa_instruct.bench.runner import load_rows

    rows = {row["face_id"]: row for row in load_rows(data, None, split)}
    forged = [row for row in rows.values() if row["pairing"] == "same_frame" and row["pair_id"] in rows]
    chosen = np.random.default_rng(0).permutation(len(forged))[:MAX_FORGERIES]
    shown: set[str] = set()
    for row in (forged[number] for number in sorted(chosen)):
        pixels, pair = (read_image(rows[row[key]]["image"]["bytes"], smallest=1) for key in ("face_id", "pair_id"))
        yield Image.fromarray(pixels), changed_pixels(pixels, pair)
        if row["pair_id"] not in shown:
            shown.add(row["pair_id"])
            yield Image.fromarray(pair), np.zeros(pair.shape[:2], bool)


def patch_shares(changed: Mask, grid: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the share of changed pixels in each patch, shape (rows, columns)."""
    return np.asarray(cv2.resize(changed.astype(np.float32), grid[::-1], interpolation=cv2.INTER_AREA), np.float32)


def enlarged(made: Map, side: int) -> Map:
    """Return a map interpolated to the pixels of a square of this side."""
    return np.asarray(cv2.resize(made, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1), np.float32)


def overlap(made: Map, changed: Mask, threshold: float) -> float:
    """Return the intersection over union of the pixels above a threshold and the changed pixels."""
    named = enlarged(made, len(changed)) > threshold
    return float((named & changed).sum() / max((named | changed).sum(), 1))


def best_threshold(maps: Sequence[Map], masks: Sequence[Mask]) -> float:
    """Return the threshold with the highest mean intersection over union."""
    thresholds = np.linspace(0.05, 0.95, 19)
    overlaps = [np.mean([overlap(made, mask, t) for made, mask in zip(maps, masks, strict=True)]) for t in thresholds]
    return float(thresholds[np.argmax(overlaps)])


def localisation_scores(maps: Sequence[Map], masks: Sequence[Mask], threshold: float) -> dict[str, float]:
    """Score maps of forged faces.

    Args:
        maps: The map of each forged face.
        masks: Its changed pixels.
        threshold: The value above which a pixel counts as forged.

    Returns:
        The number of `faces` that are changed in part (the others are skipped), and in percent: `pixel_auc`, the mean
        over the faces of the area under the ROC curve of their pixels; `iou`, the mean intersection over union at the
        threshold; and `pointing`, the share of faces with a change at the maximum of the map (the pointing game of
        Zhang et al., 2018).
    """
    from sklearn.metrics import roc_auc_score

    large = [enlarged(made, len(mask)) for made, mask in zip(maps, masks, strict=True)]
    pairs = [(made, mask) for made, mask in zip(large, masks, strict=True) if mask.any() and not mask.all()]
    return {
        "faces": len(pairs),
        "pixel_auc": 100 * float(np.mean([roc_auc_score(mask.ravel(), made.ravel()) for made, mask in pairs])),
        "iou": 100 * float(np.mean([overlap(made, mask, threshold) for made, mask in pairs])),
        "pointing": 100 * float(np.mean([mask.ravel()[made.argmax()] for made, mask in pairs])),
    }


def image_blind_map(masks: Sequence[Mask]) -> Map:
    """Return the share of the masks in which each pixel is changed, as a map that does not look at the face."""
    return np.asarray(np.mean(masks, axis=0), np.float32)
