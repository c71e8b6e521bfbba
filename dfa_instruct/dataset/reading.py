"""Reading a dataset folder, or the same on the Hub, as streams of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import IterableDataset, load_dataset
from yaml import YAMLError

BATCH = 100
"""Rows that are read at a time; of itself `datasets` takes a file's first row group, and stops at an empty file."""


def open_splits(where: str, columns: Sequence[str] | None = None) -> dict[str, IterableDataset]:
    """Open every split as a stream.

    Args:
        where: a dataset folder, or the id of a dataset repository on the Hub.
        columns: those to read; none: all. What is not named is not read from the disk.

    Raises:
        FileNotFoundError: there is no such folder or repository, or it holds no dataset.
        ValueError: a column is not there, or the card's header is not YAML.
    """
    path = Path(where)
    if not path.exists() and (path.is_absolute() or (path.parent != Path() and path.parent.is_dir())):
        raise FileNotFoundError(f"{where}: no such folder")  # and nothing that the Hub need be asked for
    if path.exists() and not any(path.glob("data/*.parquet")):
        raise FileNotFoundError(f"{where}: no dataset folder of dfa-instruct (expected data/<split>-*.parquet)")
    try:
        splits = load_dataset(where, columns=columns and list(columns), batch_size=BATCH, streaming=True)
    except YAMLError as error:
        raise ValueError(f"{where}: the header of its README.md is not YAML: {error}") from error
    return {str(name): rows for name, rows in splits.items()}


def rows_of(where: str, split: str, rows: Any, title: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a split, with a progress bar.

    Raises:
        ValueError: a file cannot be read; the message names it.
    """
    from tqdm import tqdm

    try:
        yield from tqdm(rows, f"{title} {split}", unit="image")
    except (OSError, ValueError) as error:
        file = _unreadable(Path(where)) or f"a file of the split {split}"
        raise ValueError(f"{where}: {file} cannot be read: {error}") from error


def _unreadable(folder: Path) -> str | None:
    """Name the first Parquet file of a folder that cannot be read; Arrow's error may not."""
    for path in sorted(folder.glob("data/*.parquet")):
        try:
            pq.read_table(path, columns=["face_id"])
        except (OSError, ValueError):
            return path.name
    return None
