"""Stream the faces of a dataset folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from datasets import IterableDataset

from dfa_instruct.construction.embedded_sample import default_directory
from dfa_instruct.dataset.reading import open_splits
from dfa_instruct.vocabulary import Split


def stream(data: Path | None, split: Split, columns: Sequence[str] | None = None) -> IterableDataset:
    """Open a split as a stream. Images are not decoded.

    Args:
        data: The dataset folder. Default: see `default_directory`.
        split: The split.
        columns: The columns to read. Default: all.

    Raises:
        FileNotFoundError: There is no dataset in the folder.
        ValueError: There is no such split, or a file cannot be read.
    """
    folder = data or default_directory()
    splits = open_splits(str(folder), columns)
    if split not in splits:
        raise ValueError(f"{folder}: no {split} split (expected data/{split}-*.parquet)")
    return splits[split].decode(False)


def pictures_of(face_ids: Collection[str], data: Path | None) -> dict[str, bytes]:
    """Return the encoded images of faces in the test split, by `face_id`.

    Raises:
        ValueError: The test split lacks one of the faces.
    """
    wanted = set(face_ids)
    rows = stream(data, "test", ["face_id", "image"])
    found = {row["face_id"]: row["image"]["bytes"] for row in rows if row["face_id"] in wanted}
    if lacking := sorted(wanted - found.keys()):
        folder = data or default_directory()
        raise ValueError(f"{folder}: no test face {lacking[0]}; it is not the dataset that was asked about")
    return found
