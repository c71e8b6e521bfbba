"""The faces of a dataset folder, as a stream."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from datasets import Image, IterableDataset, load_dataset

from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.vocabulary import Split


def stream(data: Path | None, split: Split, columns: Sequence[str] | None = None) -> IterableDataset:
    """Open a split of a dataset folder, or some columns of it; images are not decoded.

    Raises:
        ValueError: there is no such split.
    """
    try:
        faces = load_dataset(
            DATASET_NAME, data_dir=data and str(data), split=split, streaming=True, columns=columns and list(columns)
        )
    except ValueError as error:
        where = data or "the dataset folder"
        raise ValueError(f"{where}: no {split} split (expected data/{split}-*.parquet): {error}") from error
    return faces.cast_column("image", Image(decode=False)) if columns is None or "image" in columns else faces


def pictures_of(face_ids: Collection[str], data: Path | None) -> dict[str, bytes]:
    """Return the test faces of these names as encoded images.

    Raises:
        ValueError: the dataset lacks one.
    """
    wanted = set(face_ids)
    rows = stream(data, "test", ["face_id", "image"])
    found = {row["face_id"]: row["image"]["bytes"] for row in rows if row["face_id"] in wanted}
    if lacking := sorted(wanted - found.keys()):
        raise ValueError(
            f"{data or 'the dataset folder'}: no test face {lacking[0]}; it is not the dataset that was asked about"
        )
    return found
