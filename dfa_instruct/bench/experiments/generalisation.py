"""Generalisation: figures of the test faces whose technique, or whose source, the training split has never shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfa_instruct.bench.rows import stream
from dfa_instruct.bench.runner import Rows, summed_up


def generalisation(data: Path | None, rows: Rows, results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Make the figures of held-out techniques and sources, each beside those of the others.

    Args:
        data: the dataset folder; its train split tells what a model may have seen.
        rows: the test rows that were asked about.
        results: of `run_bench`.

    Returns:
        Nothing where nothing is held out, else for `techniques` and `sources`: `held_out`, their names, `images`, how
        many test faces are of them, and the figures of `seen` and `unseen` faces by task. With the forged faces of a
        technique stand all bona fide ones, for ACER needs both.
    """
    try:
        train = list(stream(data, "train", ["technique", "source"]))
    except ValueError:  # a folder of test faces only: nothing is known of what was seen
        return {}
    found: dict[str, dict[str, Any]] = {}
    for column in ("technique", "source"):
        shown = {row[column] for row in train}
        held_out = sorted({row[column] for row in rows if row[column] is not None} - shown)
        if not held_out:
            continue
        unseen = {row["face_id"] for row in rows if row[column] in held_out}
        shared = {row["face_id"] for row in rows if column == "technique" and row["label"] == "bona_fide"}
        found[f"{column}s"] = {"held_out": held_out, "images": len(unseen)}
        for name, chosen in (("seen", {row["face_id"] for row in rows} - unseen), ("unseen", unseen | shared)):
            of = [p for p in results["predictions"] if p["face_id"] in chosen]
            if of:
                figures = summed_up(of, [row for row in rows if row["face_id"] in chosen])
                found[f"{column}s"][name] = figures["tasks"]
    return found
