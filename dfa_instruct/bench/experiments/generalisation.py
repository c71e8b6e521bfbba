"""Generalisation: figures of test faces whose technique or source does not occur in the training split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dfa_instruct.bench.metrics import Prediction
from dfa_instruct.bench.results import HeldOut, Rows, task_figures
from dfa_instruct.bench.rows import stream


def generalisation(data: Path | None, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, HeldOut]:
    """Compare the figures of held-out techniques and sources with those of the others.

    Args:
        data: The dataset folder. Its training split tells what a model may have seen.
        rows: The test rows.
        predictions: The predictions about these rows.

    Returns:
        The figures for "techniques" and "sources", as far as any are held out.
    """
    try:
        train = list(stream(data, "train", ["technique", "source"]))
    except ValueError:  # the folder has test faces only, so that nothing is known of the training
        return {}
    found: dict[str, HeldOut] = {}
    for column in ("technique", "source"):
        trained = {row[column] for row in train}
        held_out = sorted({row[column] for row in rows if row[column] is not None} - trained)
        if not held_out:
            continue
        unseen = {row["face_id"] for row in rows if row[column] in held_out}
        shared = {row["face_id"] for row in rows if column == "technique" and row["label"] == "bona_fide"}
        result: HeldOut = {"held_out": held_out, "images": len(unseen)}
        if figures := task_figures([p for p in predictions if p["face_id"] not in unseen]):
            result["seen"] = figures
        if figures := task_figures([p for p in predictions if p["face_id"] in unseen | shared]):
            result["unseen"] = figures
        found[f"{column}s"] = result
    return found
