"""Read a dataset folder, or a dataset repository on the Hub, as a stream."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import IterableDataset, load_dataset
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard
from tqdm import tqdm
from yaml import YAMLError

from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.vocabulary import SPLITS

ROWS_AT_ONCE: Final = 100


def open_splits(where: str, columns: Sequence[str] | None = None) -> dict[str, IterableDataset]:
    """Open every split as a stream.

    Args:
        where: A dataset folder, or the id of a dataset repository on the Hub.
        columns: The columns to read. Default: all.

    Raises:
        FileNotFoundError: There is no such folder, or a file that its card names is missing.
        ValueError: A file or the card cannot be read, a column is missing, or there is no such repository.
    """
    folder = Path(where)
    source: dict[str, Any]
    if folder.exists():
        for path in paths_of(folder):
            with _open(path, columns or ()):
                pass
        source = {"path": DATASET_NAME, "data_dir": where}
    elif folder.is_absolute() or folder.parent.is_dir():
        raise FileNotFoundError(f"{where}: no such folder")  # a path, so the Hub is not asked
    else:  # without a batch size, `datasets` reads as many rows as the first row group has, and fails if it is empty
        source = {"path": where, "batch_size": ROWS_AT_ONCE}
    with _errors_begin(where):
        splits = load_dataset(**source, columns=columns and list(columns), streaming=True)
    return {str(name): rows for name, rows in splits.items()}


def rows_of(where: str, split: str, rows: Any, title: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a split with a progress bar.

    Raises:
        ValueError: A file cannot be read.
    """
    with _errors_begin(f"{where}: a file of the split {split} cannot be read"):
        yield from tqdm(rows, f"{title} {split}", unit="image")


def files_of(folder: Path) -> dict[str, list[Path]]:
    """Return the Parquet files of each split.

    These are the files that the card names, because the folder may contain files of an earlier build. If there is no
    card, or it names no files, these are `data/<split>-*.parquet`.

    Raises:
        FileNotFoundError: The folder contains no dataset, or a file that the card names is missing.
        ValueError: The card's header is not YAML or has an unexpected form.
    """
    card = folder / "README.md"
    try:
        configs = MetadataConfigs.from_dataset_card_data(DatasetCard.load(card).data) if card.is_file() else {}
        named = {part["split"]: part["path"] for part in configs["default"]["data_files"]} if configs else {}
    except YAMLError as error:
        raise ValueError(f"{folder}: the header of its README.md is not YAML: {error}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{card}: its header names no files ({error})") from error
    patterns = named or {split: f"data/{split}-*.parquet" for split in SPLITS}
    found = {split: sorted(folder.glob(pattern)) for split, pattern in patterns.items()}
    if missing := [split for split in named if not found[split]]:
        raise FileNotFoundError(f"{folder}: its README.md names {named[missing[0]]}, but there is no such file")
    if not any(found.values()):
        raise FileNotFoundError(f"{folder}: no dataset folder of dfa-instruct (expected data/<split>-*.parquet)")
    return {split: paths for split, paths in found.items() if paths}


def paths_of(folder: Path) -> list[Path]:
    """Return the Parquet files of all splits, sorted by name. See `files_of` for the errors."""
    return sorted(path for paths in files_of(folder).values() for path in paths)


def tables_of(paths: Iterable[Path], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of Parquet files as tables of at most `ROWS_AT_ONCE` rows.

    Raises:
        ValueError: A file cannot be read or lacks a column. The message names the file.
    """
    for path in paths:
        with _open(path, columns) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(columns)):
                yield pa.Table.from_batches([batch])


@contextmanager
def _open(path: Path, columns: Sequence[str]) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file that has these columns."""
    try:
        with pq.ParquetFile(path) as file:
            if missing := [column for column in columns if column not in file.schema_arrow.names]:
                raise ValueError(f"{path}: no column {missing[0]!r}")
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error


@contextmanager
def _errors_begin(beginning: str) -> Iterator[None]:
    """Put a text in front of the message of a reading error, and silence what `datasets` logs about it."""
    logger = logging.getLogger("datasets")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    except (OSError, ValueError, YAMLError) as error:
        raise ValueError(f"{beginning}: {error}") from error
    finally:
        logger.setLevel(level)
