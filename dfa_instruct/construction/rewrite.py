"""Step 3 again: the questions and answers of a dataset that stands, from what was written of its faces since.

Nothing is detected, forged or measured, and no picture is decoded: the rows keep their columns, but for what is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from dfa_instruct.annotate import Annotator
from dfa_instruct.dataset.features import FEATURES
from dfa_instruct.dataset.statistics import Statistics
from dfa_instruct.dataset.writer import ROWS_PER_GROUP, write_tables
from dfa_instruct.instruct.sampling import instruct
from dfa_instruct.instruct.templates import Libraries
from dfa_instruct.records import Artifact, FaceRecord
from dfa_instruct.schema import from_columns, to_columns
from dfa_instruct.vocabulary import Category

ASKED = ("qa", "bench", "ad_by", "fc_by", "grounding", "findings")
"""The columns that are written anew."""
KEPT = [name for name in FEATURES.arrow_schema.names if name not in ASKED]


def reinstruct(folder: Path, output: Path, annotator: Annotator, seed: int, library: Libraries) -> Statistics:
    """Write a dataset folder anew, asked by the build's own step; the same annotations and seed give the same bytes.

    Args:
        folder: a dataset folder.
        output: where the new one is written; it may be the same.
        annotator: who describes the faces.
        seed: that of the build, if the same questions are to be drawn.
        library: the templates.

    Raises:
        FileNotFoundError: the folder holds no dataset.
        FileExistsError: the output holds something else.
        ValueError: a file cannot be read, or has not the columns of a dataset.
    """
    paths = sorted(folder.glob("data/*.parquet"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no dataset folder of dfa-instruct (expected data/<split>-*.parquet)")
    return write_tables(_tables(paths, annotator, seed, library), output)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file that has the columns which are kept; its errors name it."""
    try:
        with pq.ParquetFile(path) as file:
            if missing := [name for name in KEPT if name not in file.schema_arrow.names]:
                raise ValueError(f"{path}: no column {missing[0]!r}")
            yield file
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error


def _techniques(paths: list[Path]) -> dict[str, Category]:
    """Map every technique of a dataset to its category."""
    found: dict[str, Category] = {}
    for path in paths:
        with _opened(path) as file:
            rows = file.read(["technique", "category"]).to_pylist()
            found |= {row["technique"]: row["category"] for row in rows if row["technique"]}
    return found


def _tables(paths: list[Path], annotator: Annotator, seed: int, library: Libraries) -> Iterator[pa.Table]:
    schema = FEATURES.arrow_schema
    asked = pa.schema([schema.field(name) for name in ASKED])
    techniques = _techniques(paths)
    with tqdm(desc="ask", unit="image") as bar:
        for path in paths:
            with _opened(path) as file:
                for batch in file.iter_batches(ROWS_PER_GROUP, columns=KEPT):
                    table = pa.Table.from_batches([batch])
                    rows = table.drop_columns(["image", "landmarks"]).to_pylist()
                    new = [_asked(row, annotator, seed, techniques, library) for row in rows]
                    anew = pa.Table.from_pylist(new, schema=asked)
                    columns = {name: (anew if name in ASKED else table)[name] for name in schema.names}
                    yield pa.table(columns, schema=schema)
                    bar.update(len(rows))


def _asked(
    row: dict[str, Any], annotator: Annotator, seed: int, techniques: Mapping[str, Category], library: Libraries
) -> dict[str, Any]:
    """Annotate a face and ask about it, by its row without the pixels."""
    face = from_columns(FaceRecord, row)
    artifacts = [Artifact(**artifact) for artifact in row["artifacts"]]
    made = to_columns(instruct(face, artifacts, annotator.annotate(face, artifacts), seed, techniques, library))
    return {name: made[name] for name in ASKED}
