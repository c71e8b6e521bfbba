"""Reading a dataset folder, or the same on the Hub, as streams of rows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import IterableDataset, load_dataset
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard
from yaml import YAMLError

BATCH = 100
"""Rows that are read at a time; of itself `datasets` takes a file's first row group, and stops at an empty file."""


def open_splits(where: str, columns: Sequence[str] | None = None) -> dict[str, IterableDataset]:
    """Open every split as a stream.

    Args:
        where: a dataset folder, or the id of a dataset repository on the Hub.
        columns: those to read; none: all. What is not named is not read from the disk.

    Raises:
        FileNotFoundError: there is no such folder or repository, it holds no dataset, or not what its card names.
        ValueError: a file cannot be read, a column is not there, or the card's header is not as expected.
    """
    path = Path(where)
    if not path.exists() and (path.is_absolute() or path.parent.is_dir()):
        raise FileNotFoundError(f"{where}: no such folder")  # and nothing that the Hub need be asked for
    if path.exists() and not any(file.is_file() for file in path.glob("data/*.parquet")):
        raise FileNotFoundError(f"{where}: no dataset folder of dfa-instruct (expected data/<split>-*.parquet)")
    with _explained(where):
        splits = load_dataset(where, columns=columns and list(columns), batch_size=BATCH, streaming=True)
    if columns and (wrong := _wrong_in(path, columns)):
        raise ValueError(f"{where}: {wrong}")
    return {str(name): rows for name, rows in splits.items()}


def rows_of(where: str, split: str, rows: Any, title: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a split, with a progress bar.

    Raises:
        ValueError: a file cannot be read; the message names it.
    """
    from tqdm import tqdm

    with _explained(where, split):
        yield from tqdm(rows, f"{title} {split}", unit="image")


def files_of(folder: Path) -> dict[str, list[Path]]:
    """Return the Parquet files of each split that the card names; others may be left of an earlier build.

    Raises:
        FileNotFoundError: there is no dataset folder, or a file is missing.
        ValueError: the card's header is not YAML, or names no files.
    """
    card = folder / "README.md"
    if not card.is_file() or not (folder / "data").is_dir():
        raise FileNotFoundError(f"{folder}: no dataset folder of dfa-instruct (expected README.md and data/)")
    try:
        configs = MetadataConfigs.from_dataset_card_data(DatasetCard.load(card).data)
        parts = {part["split"]: part["path"] for part in configs["default"]["data_files"]}
    except YAMLError as error:
        raise ValueError(f"{folder}: the header of its README.md is not YAML: {error}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{card}: its header names no files ({error})") from error
    found = {split: sorted(folder.glob(pattern)) for split, pattern in parts.items()}
    if missing := [parts[split] for split in parts if not found[split]]:
        raise FileNotFoundError(f"{folder}: {missing[0]} is not there, which its README.md names")
    return found


@contextmanager
def _explained(where: str, split: str = "") -> Iterator[None]:
    """Say of what cannot be read which file it is: Arrow's error may not, and what `datasets` logs of it is long."""
    logger = logging.getLogger("datasets")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    except (OSError, ValueError, YAMLError) as error:
        folder = Path(where)
        if wrong := _wrong_in(folder):
            raise ValueError(f"{where}: {wrong}") from error
        if split:
            raise ValueError(f"{where}: a file of the split {split} cannot be read: {error}") from error
        if folder.exists():
            files_of(folder)
        raise ValueError(f"{where}: {error}") from error
    finally:
        logger.setLevel(level)


def _wrong_in(folder: Path, columns: Sequence[str] = ()) -> str | None:
    """Say what is wrong with the first Parquet file of a folder that cannot be read, or lacks a column."""
    for path in sorted(folder.glob("data/*.parquet")):
        try:
            names = pq.read_schema(path).names
            pq.read_table(path, columns=names[:0] if "face_id" not in names else ["face_id"])
        except (OSError, ValueError) as error:
            return f"{path.name} cannot be read: {error}"
        if missing := [column for column in columns if column not in names]:
            return f"{path.name} has no column {missing[0]!r}"
    return None
