"""What the steps share: the work folder, files that are written atomically, reports, and the base class of a step."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger
from pydantic import TypeAdapter
from threadpoolctl import threadpool_limits

from dfa_instruct.duplicates import perceptual_hash
from dfa_instruct.records import Face
from dfa_instruct.schema import arrow_schema, from_columns, to_columns
from dfa_instruct.vocabulary import Category, Split

if TYPE_CHECKING:
    from dfa_instruct.construction.recipe import Recipe

logger.disable("datatrove")  # its reports on each task would hide the progress bars; errors come as exceptions
BONA_FIDE = "bona_fide"
ROWS_AT_ONCE = 100
"""Number of rows of a shard that are written or read together."""
REASONS = 4
"""Number of reasons for dropping files that are printed for each technique."""
FIRST = 5
"""Number of files that are named for each reason."""
DROPPED_SCHEMA = pa.schema({"what": pa.string(), "technique": pa.string(), "reason": pa.string()})
FACE_SCHEMA = arrow_schema(Face).append(pa.field("hash", pa.binary()))
"""The columns of a face with its raw pixels (size · size · 3 bytes) and its perceptual hash."""
LeftOut = Mapping[str, tuple[int, list[str]]]
"""Reason → the number of files that were left out for it, and the first of them."""
Report = TypeVar("Report")


@dataclass
class ListedTechnique:
    """The numbers of files of a technique that were found, understood and paired, and what the user should know."""

    found: int
    resolved: int
    paired: int
    left_out: dict[str, tuple[int, list[str]]]
    notes: list[str]


@dataclass
class ListReport:
    """The report of the first step: the number of images in each shard, and counts for each `<source>/<technique>`."""

    sizes: list[int]
    techniques: dict[str, ListedTechnique]


@dataclass
class SourceMargin:
    """The margin of a source, and how many of its sampled pictures contain the whole square with this margin."""

    margin: float
    inside: int
    sampled: int


@dataclass
class PlanReport:
    """The report of the plan."""

    sizes: list[int]  # the number of rows in each shard
    near_duplicates_inside: int  # the number of near-duplicates within a split, which are kept
    cost: str  # a sentence that says how many faces the splits cost
    lacking: list[str]  # messages about splits that lack a category
    techniques: dict[str, Category]


@dataclass(frozen=True)
class WorkFolder:
    """The folder in which the steps leave their results."""

    root: Path

    def file(self, step: str, name: str) -> Path:
        """Return the path of a step's file. Create its folder."""
        folder = self.root / step
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def logs(self, step: str) -> Path:
        """Return the folder in which datatrove marks the completed tasks of a step."""
        return self.root / "logs" / step

    def shard(self, step: str, rank: int) -> Path:
        """Return the path of the file that a task of a step writes."""
        return self.file(step, f"{rank:05d}.parquet")

    def shards(self, step: str) -> list[Path]:
        """Return the files that the tasks of a step have written."""
        return sorted((self.root / step).glob("[0-9]*[0-9].parquet"))

    def dropped(self, step: str, rank: int) -> Path:
        """Return the path of the file that lists what a task of a step dropped."""
        return self.file(step, f"{rank:05d}.dropped.parquet")

    @property
    def dropped_table(self) -> Path:
        """Return the path of the CSV that lists everything that was dropped. It stays beside the dataset."""
        return self.root.with_suffix(".dropped.csv")

    def report(self, step: str, kind: type[Report]) -> Report:
        """Read the report of a step."""
        return TypeAdapter(kind).validate_json(self.file(step, "report.json").read_bytes())

    def write_report(self, step: str, report: Any) -> None:
        """Write the report of a step."""
        with atomic_path(self.file(step, "report.json")) as path:
            path.write_bytes(TypeAdapter(Any).dump_json(report))

    def all_dropped(self) -> Iterator[dict[str, str]]:
        """Yield everything that was dropped, in the order of the steps: what, of which technique, and why."""
        for step in ("list", "faces", "plan", "rows"):
            for path in sorted((self.root / step).glob("*.dropped.parquet")):
                yield from pq.read_table(path).to_pylist()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and move it to `path` at the end. So `path` never holds half a file."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    yield partial
    partial.replace(path)


@contextmanager
def shard_writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Open a Parquet file and yield a function that writes one row to it."""
    rows: list[dict[str, Any]] = []
    # The file is read once only, so statistics and a dictionary of the pixels would be of no use.
    options: dict[str, Any] = {"compression": "lz4", "use_dictionary": False, "write_statistics": False}
    with atomic_path(path) as partial, pq.ParquetWriter(partial, schema, **options) as file:

        def flush() -> None:
            file.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        def write(row: dict[str, Any]) -> None:
            rows.append(row)
            if len(rows) == ROWS_AT_ONCE:
                flush()

        yield write
        if rows:
            flush()


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit OpenCV and linear algebra to one thread, because the workers already share the processors."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        yield
    cv2.setNumThreads(before)


@dataclass
class Step(PipelineStep):
    """A step of the construction. Each of its datatrove tasks makes one shard."""

    recipe: Recipe
    work: WorkFolder

    folder: ClassVar[str]
    """The name of its folder in the work folder."""
    recipe_keys: ClassVar[tuple[str, ...]]
    """The recipe keys that it reads."""
    depends_on: ClassVar[tuple[str, ...]]
    """The files and folders of the package that it runs, apart from those that the steps before it declare."""
    type = "dfa-instruct"

    def __post_init__(self) -> None:
        super().__init__()
        self.name = type(self).__name__

    def close(self) -> None:
        """Release what the tasks of a process share."""


def seeded_hash(seed: int, name: str) -> bytes:
    """Return 8 bytes that follow from a seed and a name. Sorting by them gives a reproducible random order."""
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()


def group_by_reason(left_out: Iterable[tuple[str, str]]) -> dict[str, tuple[int, list[str]]]:
    """Group pairs of a file and a reason by reason, the most common reason first."""
    counts: Counter[str] = Counter()
    first: dict[str, list[str]] = defaultdict(list)
    for file, reason in left_out:
        counts[reason] += 1
        if counts[reason] <= FIRST:
            first[reason].append(file)
    return {reason: (n, first[reason]) for reason, n in counts.most_common()}


def too_few(name: str, good: int, found: int, left_out: LeftOut, least: float, key: str) -> str | None:
    """Return an error message if fewer than a share of `least` of the files found of a technique are good, else None.

    `key` is `resolved` or `aligned`, so that the message can name the recipe key `least_<key>`.
    """
    if not found or good / found >= least:
        return None
    reasons = [
        f"{n}: {reason} ({', '.join(files)}" + (f" and {n - len(files)} more)" if n > len(files) else ")")
        for reason, (n, files) in islice(left_out.items(), REASONS)
    ]
    return (
        f"{name}: {good} of {found} ({good / found:.1%}) {key}, and the recipe's least_{key} is {least:.0%}"
        f"; dropped: {'; '.join(reasons)}"
    )


def face_row(face: Face) -> dict[str, Any]:
    """Return the columns of `FACE_SCHEMA` for a face."""
    return {**to_columns(face), "hash": perceptual_hash(face.image)}


def face_from_row(row: dict[str, Any], size: int, split: Split) -> Face:
    """Return the face of a row of `FACE_SCHEMA`."""
    image = np.frombuffer(row["image"], np.uint8).reshape(size, size, 3)
    return from_columns(Face, row, image=image, split=split)
