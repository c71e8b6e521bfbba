"""The fifth step: make forgeries, measure artifacts, annotate, and write questions and answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from dfa_instruct.annotate import Annotator
from dfa_instruct.annotate.registry import annotator
from dfa_instruct.construction.pool import Pool
from dfa_instruct.construction.recipe import Recipe, techniques_of
from dfa_instruct.construction.work_folder import (
    DROPPED_SCHEMA,
    ROWS_AT_ONCE,
    PlanReport,
    Step,
    WorkFolder,
    face_from_row,
    one_thread,
    shard_writer,
)
from dfa_instruct.dataset.features import FEATURES, row_columns
from dfa_instruct.evidence.paired import evidence_of
from dfa_instruct.evidence.population import PopulationEvidence
from dfa_instruct.instruct.sampling import instruct
from dfa_instruct.instruct.templates import Libraries, libraries
from dfa_instruct.pairs import is_false_pair, without_pair
from dfa_instruct.records import Artifact, Face
from dfa_instruct.techniques import Fittable, Technique
from dfa_instruct.techniques.forge import forge
from dfa_instruct.vocabulary import Category, Split


@dataclass(frozen=True)
class _Shared:
    """What all shards share. `categories` maps each technique of the dataset to its category."""

    pool: Pool
    techniques: list[Technique]
    population: PopulationEvidence | None
    annotator: Annotator
    library: Libraries
    categories: dict[str, Category]


@lru_cache(maxsize=1)
def _shared(work: WorkFolder, made: int) -> _Shared:
    """Read the pool and fit what learns from it, once in each process.

    `made` is the time at which the pool was written. It distinguishes this build from an earlier one in the folder.
    """
    recipe = TypeAdapter(Recipe).validate_json((work.root / "recipe.json").read_bytes())
    pool = Pool(work, recipe.size)
    train = list(pool.by_split["train"])
    mixed = [train[i] for i in np.random.default_rng(recipe.seed).permutation(len(train))]
    found = techniques_of(recipe) if recipe.forgeries_per_face else []
    with one_thread():  # more threads would add in another order, and the bytes would differ
        fitted = [t.fit(mixed, seed=recipe.seed) if isinstance(t, Fittable) else t for t in found]
        population = PopulationEvidence.fit(mixed) if len(mixed) > 1 else None
    library = libraries(recipe.templates)
    described_by = annotator(recipe.annotator, library)
    return _Shared(pool, fitted, population, described_by, library, work.report("plan", PlanReport).techniques)


class MakeRows(Step):
    """Make the rows of a shard: forge, measure, annotate, and write questions and answers."""

    folder = "rows"
    recipe_keys = ("annotator", "forgeries_per_face", "seed", "shares", "size", "techniques", "templates")
    depends_on = (
        "annotate",
        "construction/steps/make_rows.py",
        "dataset/__init__.py",
        "dataset/features.py",
        "evidence",
        "instruct",
        "sqlite_file.py",
    )

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the rows, and the forgeries that could not be made."""
        work = self.work
        shared = _shared(work, work.file("plan", "pool.arrow").stat().st_mtime_ns)
        table = pq.read_table(work.shard("faces", rank))
        row_of = {face_id: row for row, face_id in reversed(list(enumerate(table["face_id"].to_pylist())))}

        def face(row: int, split: Split) -> Face:
            return face_from_row(table.slice(row, 1).to_pylist()[0], self.recipe.size, split)

        with (
            one_thread(),
            shard_writer(work.dropped("rows", rank), DROPPED_SCHEMA) as drop,
            shard_writer(work.shard("rows", rank), FEATURES.arrow_schema) as write,
        ):
            for job in pq.read_table(work.shard("plan", rank)).to_pylist():
                split: Split = job["split"]
                target = face(job["row"], split) if job["row"] >= 0 else None
                if job["technique"] < 0:
                    assert target is not None
                    made, bona_fide = target, None
                    if target.pair_id in row_of:
                        bona_fide = face(row_of[target.pair_id], split)
                        if is_false_pair(target, bona_fide):
                            made, bona_fide = without_pair(target), None
                else:
                    technique, bona_fide = shared.techniques[job["technique"]], target
                    donors = shared.pool.by_split[split]
                    try:
                        made = forge(technique, target, donors, job["number"], split, self.recipe.seed)
                    except ValueError as error:
                        named = (
                            f"{target.source}/{target.source_path}" if target else f"{technique.name}/{job['number']}"
                        )
                        drop({"what": named, "technique": technique.name, "reason": str(error)})
                        continue
                artifacts = evidence_of(made, bona_fide, shared.population)
                write(self.row(made, artifacts, shared))

    def row(self, face: Face, artifacts: list[Artifact], shared: _Shared) -> dict[str, Any]:
        """Return the columns of a face's row, with its annotation and its questions and answers."""
        annotation = shared.annotator.annotate(face, artifacts)
        row = instruct(face, artifacts, annotation, self.recipe.seed, shared.categories, shared.library)
        return row_columns(row, face.to_png())


def finished_rows(work: WorkFolder, shards: int) -> Iterator[pa.Table]:
    """Yield the rows of all shards as tables, without rows whose pixels an earlier row has."""
    paths = [work.shard("rows", shard) for shard in range(shards)]
    names = [pq.read_table(path, columns=["face_id"])["face_id"].to_numpy() for path in paths]
    first = np.zeros(sum(len(n) for n in names), bool)
    first[np.unique(np.concatenate(names).astype("U16"), return_index=True)[1]] = True
    begin = 0
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE):
                table = pa.Table.from_batches([batch])
                yield table.filter(pa.array(first[begin : begin + len(table)]))
                begin += len(table)
