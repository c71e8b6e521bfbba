"""From bona fide faces to a dataset folder: split, forge, measure, annotate, ask, write.

Everything that chance decides comes from the seed and the face, so that the same inputs give the same bytes, with any
number of workers.
"""

from __future__ import annotations

import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dfa_instruct.annotate.measured import annotate
from dfa_instruct.dataset import refuse_foreign, to_columns, write_dataset
from dfa_instruct.evidence import PopulationEvidence, measure
from dfa_instruct.instruct import bench_questions, questions_and_answers
from dfa_instruct.records import FaceRecord, InstructRow
from dfa_instruct.sample import draw_person
from dfa_instruct.splits import SHARES, assign_splits
from dfa_instruct.statistics import Statistics
from dfa_instruct.techniques import DEFAULT_TECHNIQUES, TECHNIQUES, Technique
from dfa_instruct.techniques.synthesize import Eigenfaces
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, SPLITS, Split

SAMPLE_IDENTITIES = 160
SAMPLE_PICTURES = 5
FORGERIES_PER_FACE = 1.5
"""Leaves 40 % of the images bona fide, about the share that the paper's tables imply."""
ATTEMPTS = 6
"""How many donors or drivers are tried for a face before its forgery is dropped."""
SMALLEST_SET = 12


@dataclass
class Construction:
    """What a construction did: counts of what was written, and of what was dropped and why."""

    statistics: Statistics
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Job:
    """One row to be made: a face as it is (`technique` None), or a forgery of it (`face` None for a synthesis)."""

    face: FaceRecord | None
    technique: Technique | None = None
    number: int = 0
    split: Split | None = None


class _Maker:
    """Makes the row of a job; what all jobs share is held once and inherited by the worker processes."""

    def __init__(self, faces: list[FaceRecord], population: PopulationEvidence, seed: int) -> None:
        self.by_split: dict[Split, list[FaceRecord]] = {s: [f for f in faces if f.split == s] for s in SPLITS}
        self.population = population
        self.seed = seed

    def __call__(self, job: _Job) -> dict[str, Any] | str:
        """Return the row's columns, or why it was dropped."""
        if job.technique is None:
            assert job.face is not None
            face, bona_fide = job.face, None
        else:
            try:
                face, bona_fide = self.forge(job, job.technique), job.face
            except ValueError as error:
                return f"{job.technique.name}: {error}"
        if face.label == "bona_fide":
            artifacts = []
        else:
            artifacts = measure(face, bona_fide) if bona_fide else self.population.measure(face)
        annotation = annotate(face, artifacts)
        qa = questions_and_answers(face, artifacts, annotation, self.seed)
        bench = bench_questions(face, annotation, self.seed) if face.split == "test" else []
        return to_columns(InstructRow(face, artifacts, qa, bench))

    def forge(self, job: _Job, technique: Technique) -> FaceRecord:
        """Forge with the first donor or driver that the technique can use; all of them are of the same split."""
        target = job.face
        seed = [self.seed, int(target.face_id, 16) if target else job.number, *technique.name.encode()]
        rng = np.random.default_rng(seed)
        needs_other = technique.category in ("face_swapping", "face_reenactment")
        refusal = ValueError("no other identity in its split")
        for _ in range(ATTEMPTS if needs_other else 1):
            other = None
            if target is not None and needs_other:
                others = self.by_split[target.split]  # type: ignore[index]
                other = others[rng.integers(len(others))]
                if other.identities == target.identities:
                    continue
            try:
                forgery = technique.forge(target, other, rng)
            except ValueError as error:
                refusal = error
                continue
            sources = [face for face in (target, other) if face is not None]
            return FaceRecord(
                image=forgery.image,
                label="forged",
                category=technique.category,
                technique=technique.name,
                identities=tuple(i for f in sources for i in f.identities) or (f"{technique.name}/{job.number:06d}",),
                pair_id=target.face_id if target else None,
                source=target.source if target else technique.name,
                source_path=target.source_path if target else f"{technique.name}/{job.number:06d}",
                source_sha256=target.source_sha256 if target else "",
                video=target.video if target else None,
                frame=target.frame if target else None,
                landmarks=forgery.landmarks,
                split=target.split if target else job.split,
                parameters={**forgery.parameters, "seed": self.seed, **({"other": other.face_id} if other else {})},
            )
        raise refusal


_maker: _Maker | None = None


def _make(job: _Job) -> dict[str, Any] | str:
    assert _maker is not None
    return _maker(job)


def _jobs(
    faces: list[FaceRecord], synthesized: list[FaceRecord], synthesis: Technique | None, per_face: float, seed: int
) -> list[_Job]:
    """List every row to be made, in the order in which they are written: each category takes its share of faces."""
    rng = np.random.default_rng(seed)
    share = round(per_face * len(faces) / len(FORGERY_CATEGORIES))
    jobs = [_Job(face) for face in faces]
    for category in FORGERY_CATEGORIES:
        techniques = [t for t in TECHNIQUES.values() if t.name in DEFAULT_TECHNIQUES and t.category == category]
        if not techniques:
            continue
        targets = [faces[i] for _ in range(share // len(faces) + 1) for i in rng.permutation(len(faces))][:share]
        jobs += [_Job(face, techniques[n % len(techniques)]) for n, face in enumerate(targets)]
    if synthesis is not None:
        splits = [f.split for f in faces]
        jobs += [_Job(None, synthesis, n, splits[n * len(faces) // share]) for n in range(share)]
    else:
        kept = rng.permutation(len(synthesized))[: max(share, len(faces))]
        jobs += [_Job(synthesized[i]) for i in sorted(kept)]
    return [jobs[i] for i in rng.permutation(len(jobs))]


def build(
    bona_fide: Iterable[FaceRecord],
    folder: Path,
    *,
    synthesized: Iterable[FaceRecord] | None = None,
    forgeries_per_face: float = FORGERIES_PER_FACE,
    seed: int = 0,
    workers: int | None = None,
) -> Construction:
    """Build the dataset folder from bona fide faces.

    Args:
        bona_fide: aligned faces with landmarks and identities, all of one size.
        folder: the dataset folder to write.
        synthesized: aligned images of a generator for entire face synthesis; none: eigenfaces are sampled.
        forgeries_per_face: forged images for each bona fide one, shared equally by the four categories.
        seed: of every choice.
        workers: processes; none: as many as there are processors.

    Returns:
        What was written and dropped.

    Raises:
        ValueError: there are too few faces to build a dataset from.
        FileExistsError: the folder holds something else.
    """
    global _maker
    refuse_foreign(folder)
    faces = _distinct(bona_fide)
    if len(faces) < SMALLEST_SET:
        raise ValueError(f"{len(faces)} bona fide faces are too few; at least {SMALLEST_SET} are needed")
    fakes = _distinct(synthesized or [])
    if synthesized is not None and len(fakes) < len(SPLITS):
        raise ValueError(f"{len(fakes)} synthesized faces are too few; at least {len(SPLITS)} are needed")
    for group in (faces, fakes):
        if group:
            assignment = assign_splits(Counter(f.identities for f in group), seed, SHARES)
            for face in group:
                face.split = assignment[face.identities[0]]
    training = [f for f in faces if f.split == "train"]
    random.Random(seed).shuffle(training)
    synthesis = None if synthesized is not None else Eigenfaces.fit(training, seed=seed)
    _maker = _Maker(faces, PopulationEvidence.fit(training), seed)
    jobs = _jobs(faces, fakes, synthesis, forgeries_per_face, seed)

    construction = Construction(Statistics())
    seen: set[str] = set()

    def rows() -> Iterator[dict[str, Any]]:
        with multiprocessing.get_context("fork").Pool(workers or os.cpu_count()) as pool:
            for made in tqdm(pool.imap(_make, jobs, chunksize=8), "forge, annotate", len(jobs), unit="face"):
                if isinstance(made, str):
                    construction.dropped[made] += 1
                elif made["face_id"] in seen:
                    construction.dropped["the same pixels as another face"] += 1
                else:
                    seen.add(made["face_id"])
                    yield made

    construction.statistics = write_dataset(rows(), folder)
    return construction


def _distinct(faces: Iterable[FaceRecord]) -> list[FaceRecord]:
    """Keep one of every set of faces with the same pixels: an identity under two names would cross the splits."""
    return list({face.face_id: face for face in faces}.values())


def sample_faces(seed: int) -> Iterator[FaceRecord]:
    """Draw the portraits of the embedded sample, with a progress bar: no real person is in it."""
    draw = partial(draw_person, pictures=SAMPLE_PICTURES, seed=seed)
    with multiprocessing.get_context("fork").Pool() as pool:
        people = pool.imap(draw, range(SAMPLE_IDENTITIES))
        for pictures in tqdm(people, "draw portraits", SAMPLE_IDENTITIES, unit="person"):
            yield from pictures
