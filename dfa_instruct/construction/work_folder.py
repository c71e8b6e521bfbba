"""What the steps share: the work folder, whole shards, the step itself."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger
from threadpoolctl import threadpool_limits

from dfa_instruct.duplicates import perceptual_hash
from dfa_instruct.records import Face
from dfa_instruct.schema import arrow_schema, from_columns, to_columns
from dfa_instruct.vocabulary import Split

if TYPE_CHECKING:
    from dfa_instruct.construction.recipe import Recipe

logger.disable("datatrove")  # its report on every task would drown the progress bars; errors come as exceptions
BONA_FIDE = "bona_fide"
ROWS_AT_ONCE = 100
"""Rows of a shard that are written, and read, together."""
REASONS = 4
"""Why something was dropped: so many reasons are printed of each technique."""
FIRST = 5
"""Files named of each reason for which too little of a technique is usable."""
Missed = Mapping[str, tuple[int, list[str]]]
"""Reason → how many files were left out for it, and the first of them."""
DROPPED_SCHEMA = pa.schema({"what": pa.string(), "technique": pa.string(), "reason": pa.string()})
FACE_SCHEMA = arrow_schema(Face).append(pa.field("hash", pa.binary()))
"""A face's columns, its pixels as they are (size · size · 3 bytes), and its perceptual hash."""


@dataclass(frozen=True)
class WorkFolder:
    """Where the steps leave what they make."""

    root: Path

    def file(self, step: str, name: str) -> Path:
        """Name a step's file, in a folder that is there."""
        folder = self.root / step
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def logs(self, step: str) -> Path:
        """Name the folder in which datatrove marks the tasks of a step that are complete."""
        return self.root / "logs" / step

    def shard(self, step: str, rank: int) -> Path:
        """Name the file with what a task of a step made."""
        return self.file(step, f"{rank:05d}.parquet")

    def shards(self, step: str) -> list[Path]:
        """Name the files with what all tasks of a step made."""
        return sorted((self.root / step).glob("[0-9]*[0-9].parquet"))

    def dropped(self, step: str, rank: int) -> Path:
        """Name the file with what a task of a step dropped."""
        return self.file(step, f"{rank:05d}.dropped.parquet")

    @property
    def dropped_table(self) -> Path:
        """Name the CSV of all that was dropped: it stands beside the dataset, and stays."""
        return self.root.with_suffix(".dropped.csv")

    def report(self, step: str) -> dict[str, Any]:
        """Read what a step says of all its shards."""
        return json.loads(self.file(step, "report.json").read_text(encoding="utf-8"))

    def all_dropped(self) -> Iterator[dict[str, str]]:
        """Yield what was dropped, in the order of the steps: what, of which technique, why."""
        for step in ("list", "faces", "plan", "rows"):
            for path in sorted((self.root / step).glob("*.dropped.parquet")):
                yield from pq.read_table(path).to_pylist()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give another name to write to, and move it to `path` at the end: the file is whole or not there."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    yield partial
    partial.replace(path)


def _quick_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file for pixels that are read once again: neither statistics nor a dictionary of them are of use."""
    return pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=False, write_statistics=False)


@contextmanager
def shard_writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write a Parquet file row by row, `ROWS_AT_ONCE` rows at a time."""
    rows: list[dict[str, Any]] = []
    with whole(path) as partial, _quick_writer(partial, schema) as file:

        def write(row: dict[str, Any]) -> None:
            rows.append(row)
            if len(rows) == ROWS_AT_ONCE:
                flush()

        def flush() -> None:
            file.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        yield write
        if rows:
            flush()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV and the linear algebra to one thread: the workers share the processors already."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        yield
    cv2.setNumThreads(before)


@dataclass
class Step(PipelineStep):
    """A step of the construction: it knows the recipe and the work folder, and is told which shard is its own."""

    recipe: Recipe
    work: WorkFolder

    folder: ClassVar[str]
    """What it makes stands here, in the work folder."""
    type = "dfa-instruct"

    def __post_init__(self) -> None:
        super().__init__()
        self.name = type(self).__name__

    def close(self) -> None:
        """Let go of what the tasks that one process has run share."""


def digest(seed: int, name: str) -> bytes:
    """Draw a lot for a name: an order by it is random, and the same wherever it is drawn."""
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()


def missed(left_out: Iterable[tuple[str, str]]) -> dict[str, tuple[int, list[str]]]:
    """Bring files and the reasons why they were left out together, as `Missed`, the commonest reason first."""
    counts: Counter[str] = Counter()
    first: dict[str, list[str]] = defaultdict(list)
    for file, reason in left_out:
        counts[reason] += 1
        if counts[reason] <= FIRST:
            first[reason].append(file)
    return {reason: (n, first[reason]) for reason, n in counts.most_common()}


def too_few(name: str, good: int, found: int, bad: Missed, least: float, key: str) -> str | None:
    """Say that too little of a technique is usable, at which rate, why, and which files are the first; else None."""
    if not found or good / found >= least:
        return None
    reasons = [
        f"{n}: {reason} ({', '.join(files)}" + (f" and {n - len(files)} more)" if n > len(files) else ")")
        for reason, (n, files) in islice(bad.items(), REASONS)
    ]
    return (
        f"{name}: {good} of {found} ({good / found:.1%}) {key}, and the recipe's least_{key} is {least:.0%}"
        f"; dropped: {'; '.join(reasons)}"
    )


def face_row(face: Face) -> dict[str, Any]:
    """Lay a face out as the columns of `FACE_SCHEMA`."""
    return {**to_columns(face), "hash": perceptual_hash(face.image)}


def face_of(row: dict[str, Any], size: int, split: Split) -> Face:
    """Read a face from its columns."""
    image = np.frombuffer(row["image"], np.uint8).reshape(size, size, 3)
    return from_columns(Face, row, image=image, split=split)
