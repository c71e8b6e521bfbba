"""The fourth step: forge, measure, annotate, ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfa_instruct.annotate import Annotator, annotator
from dfa_instruct.dataset import FEATURES, ROWS_PER_GROUP, to_columns
from dfa_instruct.evidence import SAME_PICTURE, PopulationEvidence, likeness, measure
from dfa_instruct.instruct import bench_questions, questions_and_answers
from dfa_instruct.records import FaceRecord, InstructRow
from dfa_instruct.steps.plan import Pool, techniques
from dfa_instruct.steps.work import DROPPED_SCHEMA, Step, WorkFolder, face_of, one_thread, shard_writer
from dfa_instruct.techniques import Fittable, Technique
from dfa_instruct.vocabulary import Split

ATTEMPTS = 6
"""How many donors or drivers are tried for a face before its forgery is dropped."""


@dataclass(frozen=True)
class _Shared:
    """What the rows of all shards have in common."""

    pool: Pool
    techniques: list[Technique]
    population: PopulationEvidence | None
    annotator: Annotator


@lru_cache(maxsize=1)
def _shared(work: WorkFolder, made: int) -> _Shared:
    """Fit it, once a process; `made`, when the pool was drawn, tells one build from the next in the same place."""
    recipe = work.recipe()
    pool = Pool(work, recipe.size)
    train = pool.faces("train")
    mixed = [train[i] for i in np.random.default_rng(recipe.seed).permutation(len(train))]
    found = techniques(recipe) if recipe.forgeries_per_face else []
    with one_thread():  # with more, sums would be taken in another order, and the bytes differ
        fitted = [t.fit(mixed, seed=recipe.seed) if isinstance(t, Fittable) else t for t in found]
        population = PopulationEvidence.fit(mixed) if len(mixed) > 1 else None
    return _Shared(pool, fitted, population, annotator(recipe.annotator))


class MakeRows(Step):
    """Forge, measure, annotate and ask: the rows of a shard."""

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the rows, and the forgeries that could not be made."""
        work = self.work
        shared = _shared(work, work.file("plan", "pool.arrow").stat().st_mtime_ns)
        table = pq.read_table(work.shard("faces", rank))
        row_of = {face_id: row for row, face_id in reversed(list(enumerate(table["face_id"].to_pylist())))}

        def face(row: int, split: Split) -> FaceRecord:
            return face_of(table.slice(row, 1).to_pylist()[0], self.recipe.size, split)

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
                        landmarks = target.landmarks if bona_fide.landmarks is None else bona_fide.landmarks
                        if landmarks is not None and likeness(made.image, bona_fide.image, landmarks) < SAME_PICTURE:
                            made = replace(made, pair_id=None, pairing="refused")
                            bona_fide = None
                else:
                    technique, bona_fide = shared.techniques[job["technique"]], target
                    try:
                        made = self.forge(technique, target, job["number"], split, shared.pool)
                    except ValueError as error:
                        what = (
                            f"{target.source}/{target.source_path}" if target else f"{technique.name}/{job['number']}"
                        )
                        drop({"what": what, "technique": technique.name, "reason": str(error)})
                        continue
                write(self.row(made, bona_fide, shared))

    def row(self, face: FaceRecord, bona_fide: FaceRecord | None, shared: _Shared) -> dict[str, Any]:
        """Say and ask of a face what its evidence gives: the columns of its row."""
        if face.label == "bona_fide":
            artifacts = []
        elif bona_fide is not None and not (face.landmarks is None and bona_fide.landmarks is None):
            artifacts = measure(face, bona_fide)
        else:
            artifacts = shared.population.measure(face) if shared.population else []
        annotation = shared.annotator.annotate(face, artifacts)
        qa = questions_and_answers(face, annotation, self.recipe.seed)
        bench = bench_questions(face, annotation, self.recipe.seed) if face.split == "test" else []
        return to_columns(InstructRow(face, artifacts, qa, bench))

    def forge(
        self, technique: Technique, target: FaceRecord | None, number: int, split: Split, pool: Pool
    ) -> FaceRecord:
        """Forge with the first donor or driver that the technique can use; all of them are of the same split.

        Raises:
            ValueError: none served, or the face itself does not.
        """
        seed = [self.recipe.seed, int(target.face_id, 16) if target else number, *technique.name.encode()]
        rng = np.random.default_rng(seed)
        needs_other = technique.category in ("face_swapping", "face_reenactment")
        rows = pool.rows[split]
        refusal = ValueError("no other identity in its split")
        for _ in range(ATTEMPTS if needs_other else 1):
            other = None
            if target is not None and needs_other:
                if not len(rows):
                    break
                other = pool.face(int(rows[rng.integers(len(rows))]))
                if other.identities == target.identities:
                    continue
            try:
                forgery = technique.forge(target, other, rng)
            except ValueError as error:
                refusal = error
                continue
            sources = [face for face in (target, other) if face is not None]
            invented = f"{technique.name}/{number:06d}"
            return FaceRecord(
                image=forgery.image,
                label="forged",
                category=technique.category,
                technique=technique.name,
                identities=tuple(i for f in sources for i in f.identities) or (invented,),
                pair_id=target.face_id if target else None,
                pairing="same_frame" if target else None,
                source=target.source if target else technique.name,
                source_path=target.source_path if target else invented,
                source_sha256=target.source_sha256 if target else "",
                video=target.video if target else None,
                frame=target.frame if target else None,
                landmarks=forgery.landmarks,
                split=split,
                parameters={
                    **forgery.parameters,
                    "seed": self.recipe.seed,
                    **({"other": other.face_id} if other else {}),
                },
            )
        raise refusal


def finished_rows(work: WorkFolder, shards: int) -> Iterator[pa.Table]:
    """Yield the rows of all shards but those whose pixels another row has already."""
    paths = [work.shard("rows", shard) for shard in range(shards)]
    names = [pq.read_table(path, columns=["face_id"])["face_id"].to_numpy() for path in paths]
    first = np.zeros(sum(len(n) for n in names), bool)
    first[np.unique(np.concatenate(names).astype("U16"), return_index=True)[1]] = True
    begin = 0
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_PER_GROUP):
                table = pa.Table.from_batches([batch])
                yield table.filter(pa.array(first[begin : begin + len(table)]))
                begin += len(table)
