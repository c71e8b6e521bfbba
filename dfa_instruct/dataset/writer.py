"""Write a dataset folder from a stream of tables: the card, and Parquet files that are named after their contents."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Features

from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.dataset.card import SplitFiles, dataset_card
from dfa_instruct.dataset.features import FEATURES
from dfa_instruct.dataset.statistics import Statistics
from dfa_instruct.vocabulary import SPLITS

ROWS_PER_GROUP = 100
BYTES_PER_FILE = 500_000_000


def refuse_foreign(folder: Path) -> None:
    """Raise a FileExistsError if `folder` contains anything but a dataset of this package."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; expected a folder")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in names if name not in ("data", "README.md")]
    if foreign or (names and not (folder / "data").is_dir()):
        found = ", ".join(foreign[:3]) or "README.md"
        raise FileExistsError(f"{folder} contains something else ({found}); choose an empty or a new folder")


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Make a temporary folder beside another folder. If the process is killed, the next call removes it."""
    path = folder.with_name(f".{folder.name}.scratch")
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write_tables(tables: Iterable[pa.Table], folder: Path) -> Statistics:
    """Write a dataset folder from a stream of tables, in constant memory.

    The folder is written to a temporary place and moved at the end, so it is complete or not there at all. An existing
    dataset folder is replaced.

    Args:
        tables: Tables with the columns of `FEATURES`.
        folder: The dataset folder.

    Returns:
        The counts of the rows.

    Raises:
        FileExistsError: The folder contains something else.
        ValueError: There are no rows.
    """
    refuse_foreign(folder)
    statistics = Statistics()
    with scratch_folder(folder) as scratch:
        made = scratch / DATASET_NAME
        data = made / "data"
        data.mkdir(parents=True)
        with ExitStack() as stack:
            writers = {split: stack.enter_context(SplitWriter(data, split)) for split in SPLITS}
            for table in tables:
                for row in table.drop_columns(["image", "landmarks"]).to_pylist():
                    statistics.add(row)
                for split, writer in writers.items():
                    writer.add(table.filter(pc.field("split") == split))
        if not statistics.images_of():
            raise ValueError(f"{folder}: there are no rows to write")
        parts: dict[str, SplitFiles] = {split: writer.split_files() for split, writer in writers.items() if writer.rows}
        dataset_card(statistics, parts).save(made / "README.md")
        if folder.exists():
            folder.rename(scratch / "before")
        made.rename(folder)
    return statistics


class SplitWriter:
    """Write the Parquet files of a split into an existing folder, each with at most about `BYTES_PER_FILE`.

    Use it as a context manager. On exit, the files get their final names, which contain the first 16 hexadecimal digits
    of a hash of the contents of all files.
    """

    def __init__(self, data: Path, split: str, features: Features = FEATURES) -> None:
        self.data, self.split, self.schema = data, split, features.arrow_schema
        self.files: list[Path] = []
        self.writer: pq.ParquetWriter | None = None
        self.rows = self.bytes = self.bytes_in_file = self.bytes_on_disk = 0
        self.fingerprint = ""
        self.waiting = self.schema.empty_table()

    def __enter__(self) -> Self:
        return self

    def add(self, table: pa.Table) -> None:
        """Add rows. They are written in groups of `ROWS_PER_GROUP`."""
        self.waiting = pa.concat_tables([self.waiting, table])
        while len(self.waiting) >= ROWS_PER_GROUP:
            self._write(self.waiting.slice(0, ROWS_PER_GROUP))
            self.waiting = self.waiting.slice(ROWS_PER_GROUP)

    def _write(self, group: pa.Table) -> None:
        group = group.combine_chunks()
        if self.writer is None or self.bytes_in_file + group.nbytes > BYTES_PER_FILE:
            self._close()
            self.files.append(self.data / f"{self.split}-{len(self.files):05d}")
            # With content-defined chunks, the same pictures give the same bytes in several files. Xet sends them once.
            self.writer = pq.ParquetWriter(
                self.files[-1], self.schema, use_content_defined_chunking=True, data_page_version="2.0"
            )
            self.bytes_in_file = 0
        self.writer.write_table(group)
        self.rows += len(group)
        self.bytes += group.nbytes
        self.bytes_in_file += group.nbytes

    def _close(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and len(self.waiting):
            self._write(self.waiting)
        self._close()
        content = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                content.update(hashlib.file_digest(file, "sha256").digest())
            self.bytes_on_disk += path.stat().st_size
        self.fingerprint = content.hexdigest()[:16]
        self.files = [
            path.rename(path.with_name(f"{path.name}-of-{len(self.files):05d}-{self.fingerprint}.parquet"))
            for path in self.files
        ]

    def split_files(self) -> SplitFiles:
        """Return what the card's header says about the files. They must be closed."""
        pattern = f"{self.data.name}/{self.split}-*-{self.fingerprint}.parquet"
        return SplitFiles(pattern, self.rows, self.bytes, self.bytes_on_disk)
