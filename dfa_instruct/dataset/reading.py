"""Reading a dataset folder, or the same on the Hub, as streams of rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
        ValueError: a column is not there, or the card's header is no YAML.
    """
    path = Path(where)
    if not path.exists() and (path.is_absolute() or (path.parent != Path() and path.parent.is_dir())):
        raise FileNotFoundError(f"{where}: no such folder")  # and nothing that the Hub need be asked for
    if path.exists() and not any(path.glob("data/*.parquet")):
        raise FileNotFoundError(f"{where}: no dataset folder of dfa-instruct (expected data/<split>-*.parquet)")
    try:
        splits = load_dataset(where, columns=columns and list(columns), batch_size=BATCH, streaming=True)
    except YAMLError as error:
        raise ValueError(f"{where}: the header of its README.md is no YAML: {error}") from error
    return {str(name): rows for name, rows in splits.items()}


def picture_path(where: str, kind: str) -> Path:
    """Name the picture drawn of a dataset: in the working directory, after the dataset."""
    return Path(f"{Path(where).resolve().name if Path(where).exists() else Path(where).name}-{kind}.png")
