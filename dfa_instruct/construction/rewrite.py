"""Write the questions and answers of an existing dataset again, from annotations that were written after its build.

Nothing is detected, forged or measured, and no picture is decoded. All other columns stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from dfa_instruct.annotate import Annotator
from dfa_instruct.dataset.features import FEATURES
from dfa_instruct.dataset.reading import paths_of, tables_of
from dfa_instruct.dataset.statistics import Statistics
from dfa_instruct.dataset.writer import write_tables
from dfa_instruct.instruct.sampling import instruct
from dfa_instruct.instruct.templates import Libraries
from dfa_instruct.records import Artifact, FaceRecord
from dfa_instruct.schema import from_columns, to_columns
from dfa_instruct.vocabulary import Category

REWRITTEN = ("qa", "bench", "ad_by", "fc_by", "grounding", "findings", "descriptions")
"""The columns that are written again."""
KEPT = [name for name in FEATURES.arrow_schema.names if name not in REWRITTEN]


def reinstruct(folder: Path, output: Path, annotator: Annotator, seed: int, library: Libraries) -> Statistics:
    """Write the questions and answers of a dataset folder again. The same annotations and seed give the same bytes.

    Args:
        folder: A dataset folder.
        output: The new dataset folder, which may be the same.
        annotator: The annotator that describes the faces.
        seed: The seed that draws the questions. With the seed of the build, they are the same questions as before.
        library: The templates.

    Raises:
        FileNotFoundError: There is no dataset in the folder.
        FileExistsError: The output contains something else.
        ValueError: A file cannot be read or lacks a column.
    """
    return write_tables(_tables(paths_of(folder), annotator, seed, library), output)


def _tables(paths: list[Path], annotator: Annotator, seed: int, library: Libraries) -> Iterator[pa.Table]:
    schema = FEATURES.arrow_schema
    rewritten = pa.schema([schema.field(name) for name in REWRITTEN])
    techniques: dict[str, Category] = {}
    for table in tables_of(paths, ["technique", "category"]):
        techniques |= {row["technique"]: row["category"] for row in table.to_pylist() if row["technique"]}
    with tqdm(desc="write questions", unit="image") as bar:
        for table in tables_of(paths, KEPT):
            rows = table.drop_columns(["image", "landmarks"]).to_pylist()
            new_rows = [_rewrite(row, annotator, seed, techniques, library) for row in rows]
            new = pa.Table.from_pylist(new_rows, schema=rewritten)
            columns = {name: (new if name in REWRITTEN else table)[name] for name in schema.names}
            yield pa.table(columns, schema=schema)
            bar.update(len(rows))


def _rewrite(
    row: dict[str, Any], annotator: Annotator, seed: int, techniques: Mapping[str, Category], library: Libraries
) -> dict[str, Any]:
    """Return the new values of the columns `REWRITTEN` for a row. Its pixels are not needed."""
    face = from_columns(FaceRecord, row)
    artifacts = [Artifact(**artifact) for artifact in row["artifacts"]]
    made = to_columns(instruct(face, artifacts, annotator.annotate(face, artifacts), seed, techniques, library))
    return {name: made[name] for name in REWRITTEN}
