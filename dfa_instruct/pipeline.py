"""From what lies on disk to a dataset folder: list, find faces, split, forge, measure, annotate, ask, write.

The steps are `dfa_instruct.steps`; datatrove runs them, here or on a cluster. Everything that chance decides comes
from the seed and the face, so that the same recipe and the same files give the same bytes, with any number of workers,
and after any number of interruptions.
"""

from __future__ import annotations

import csv
import hashlib
import inspect
import multiprocessing
import os
import random
import shutil
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from datatrove.executor.base import PipelineExecutor
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from dfa_instruct.annotate.measured import annotate
from dfa_instruct.dataset import refuse_foreign, to_columns, write_dataset, write_tables
from dfa_instruct.evidence import PopulationEvidence, measure
from dfa_instruct.instruct import bench_questions, questions_and_answers
from dfa_instruct.recipe import Recipe, nearest
from dfa_instruct.records import FaceRecord, InstructRow
from dfa_instruct.sample import draw_person
from dfa_instruct.sources import open_sources
from dfa_instruct.splits import SHARES, assign_splits
from dfa_instruct.statistics import Statistics
from dfa_instruct.steps import (
    BONA_FIDE,
    AlignFaces,
    ListItems,
    MakeRows,
    Plan,
    Step,
    WorkFolder,
    finished_rows,
    techniques,
    whole,
)
from dfa_instruct.techniques import DEFAULT_TECHNIQUES, TECHNIQUES, Technique
from dfa_instruct.techniques.synthesize import Eigenfaces
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, SPLITS, Split

Executor = Literal["local", "slurm", "ray"]
POLL_SECONDS = 5.0


@dataclass
class Construction:
    """What a construction did: counts of what was written, and of what was dropped and why."""

    statistics: Statistics
    dropped: Counter[str] = field(default_factory=Counter)


def construct(recipe: Recipe, workers: int | None = None, executor: Executor = "local") -> Construction:
    """Build the dataset folder that a recipe describes, and print what became of each technique.

    What the steps leave stands in `<output>.build` until the dataset is whole; a build that was killed goes on from
    there. What was dropped is named in `<output>.dropped.csv`.

    Args:
        recipe: see `dfa_instruct.recipe`.
        workers: how many shards are made at a time; none: as many as there are processors, for Slurm and Ray no limit.
        executor: datatrove's, by which the steps run.

    Returns:
        What was written and dropped.

    Raises:
        ValueError: a source, a technique or an executor's argument is not known, or too little of a source is usable.
        FileNotFoundError: a source's folder is missing.
        FileExistsError: the output, or the work folder beside it, holds something else.
        RuntimeError: tasks failed on the cluster.
    """
    folder = Path(recipe.output).absolute()
    refuse_foreign(folder)
    open_sources(recipe.sources)
    techniques(recipe)
    _check_arguments(recipe, executor)
    work = _open_work(folder, recipe)

    def run(step: Step, title: str, sizes: Sequence[int]) -> None:
        logs = work.root / "logs" / step.name
        with _progress(title, logs, sizes):
            _run(executor, recipe, step, len(sizes), workers, logs)

    run(ListItems(recipe, work), "list", [1])
    listed = work.report("list")
    run(AlignFaces(recipe, work), "find faces", listed["sizes"])
    run(Plan(recipe, work), "plan", [1])
    planned = work.report("plan")
    run(MakeRows(recipe, work), "forge, annotate", planned["sizes"])
    shards = len(listed["sizes"])
    statistics = write_tables(tqdm(finished_rows(work, shards), "write", unit="group"), folder)

    dropped: dict[str, Counter[str]] = defaultdict(Counter)
    for name, found in listed["techniques"].items():
        dropped[name.partition("/")[2]].update(found["dropped"])
    with whole(folder.with_name(f"{folder.name}.dropped.csv")) as path, path.open("w", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["what", "technique", "reason"])
        writer.writeheader()
        for row in work.all_dropped():
            writer.writerow(row)
            dropped[row["technique"]][row["reason"]] += 1
    made = sum(pq.read_metadata(work.shard("rows", shard)).num_rows for shard in range(shards))
    if again := made - statistics.images_of():
        dropped[""]["the same pixels as another face"] += again
    _print_table(listed["techniques"], statistics, dropped, planned["near_duplicates_inside"])
    shutil.rmtree(work.root)
    return Construction(statistics, sum(dropped.values(), Counter()))


def _open_work(folder: Path, recipe: Recipe) -> WorkFolder:
    """Open the work folder beside the output: a new one, or the one that the same build left.

    Raises:
        FileExistsError: it is another build's.
    """
    work = WorkFolder(folder.with_name(f"{folder.name}.build"))
    package = Path(__file__).parent
    version = hashlib.sha256()
    for file in sorted([*package.rglob("*.py"), *package.rglob("*.yaml")]):
        version.update(file.read_bytes())
    marks = {
        "recipe.json": TypeAdapter(Recipe).dump_json(recipe, indent=1),
        "version": version.hexdigest().encode(),
    }
    if not work.root.exists():
        with whole(work.root) as fresh:
            fresh.mkdir(parents=True)
            for name, content in marks.items():
                (fresh / name).write_bytes(content)
    for name, content in marks.items():
        if not (work.root / name).is_file() or (work.root / name).read_bytes() != content:
            raise FileExistsError(
                f"{work.root} holds what another recipe, or another version of this package, has begun to build; "
                "remove it, or name another output"
            )
    return work


def _executor_class(executor: Executor) -> type[PipelineExecutor]:
    if executor == "slurm":
        from datatrove.executor.slurm import SlurmPipelineExecutor

        return SlurmPipelineExecutor
    if executor == "ray":
        from datatrove.executor.ray import RayPipelineExecutor

        return RayPipelineExecutor
    from datatrove.executor.local import LocalPipelineExecutor

    return LocalPipelineExecutor


def _check_arguments(recipe: Recipe, executor: Executor) -> None:
    """Raise ValueError where the recipe gives the executor an argument that it does not take, or not one it needs."""
    if executor == "local":
        return
    given: dict[str, Any] = getattr(recipe, executor)
    takes = inspect.signature(_executor_class(executor)).parameters
    known = [n for n in takes if n not in ("pipeline", "tasks", "workers", "logging_dir", "depends", "skip_completed")]
    for name in given:
        if name not in known:
            raise ValueError(f"{executor}: unknown argument {name!r}{nearest(name, known)}")
    for name in known:
        if takes[name].default is inspect.Parameter.empty and name not in given:
            raise ValueError(f"{executor}: needs {name!r}, and the recipe's `{executor}` does not give it")


def _run(executor: Executor, recipe: Recipe, step: Step, tasks: int, workers: int | None, logs: Path) -> None:
    """Run a step's tasks, and return when all of them are complete."""
    common: dict[str, Any] = {"pipeline": [step], "tasks": tasks, "logging_dir": str(logs)}
    if executor == "local":
        _executor_class(executor)(**common, workers=min(workers or os.cpu_count() or 1, tasks)).run()
        return
    running: Any = _executor_class(executor)(**common, workers=workers or -1, **getattr(recipe, executor))
    running.run()
    while running.get_incomplete_ranks(skip_completed=True):
        if executor == "ray" or not _is_queued(running.job_id):  # Slurm has only taken the job so far
            raise RuntimeError(
                f"{step.name}: tasks failed, see {logs}; once mended, the same command goes on from there"
            )
        time.sleep(POLL_SECONDS)


def _is_queued(job: str) -> bool:
    """Ask Slurm whether a job is waiting or running."""
    return bool(subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True).stdout.strip())


@contextmanager
def _progress(title: str, logs: Path, sizes: Sequence[int]) -> Iterator[None]:
    """Show how many images the tasks have done that datatrove has marked as complete."""
    completions = logs / "completions"

    def done() -> int:
        return sum(sizes[int(path.name)] for path in completions.glob("*")) if completions.is_dir() else 0

    finished = threading.Event()
    with tqdm(total=sum(sizes), initial=done(), desc=title, unit="image" if len(sizes) > 1 else "step") as bar:

        def watch() -> None:
            while not finished.wait(0.5):
                bar.update(done() - bar.n)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            finished.set()
            watcher.join()
            bar.update(done() - bar.n)


def _print_table(
    listed: Mapping[str, Mapping[str, Any]],
    statistics: Statistics,
    dropped: Mapping[str, Counter[str]],
    twins: int,
) -> None:
    """Print for each technique what was found, resolved, paired and written, and what was dropped and why."""
    table = Table(title="What was built")
    for column in ("technique", "files", "resolved", "paired", "images", "dropped, and why"):
        table.add_column(column, justify="left" if column in ("technique", "dropped, and why") else "right")
    written = Counter({BONA_FIDE: statistics.images_of(category=BONA_FIDE)})
    for (_, technique), n in statistics.techniques.items():
        written[technique] += n
    files: dict[str, Counter[str]] = defaultdict(Counter)
    for name, found in listed.items():
        files[name.partition("/")[2]].update({key: found[key] for key in ("found", "resolved", "paired")})
    for technique in sorted({*written, *files, *dropped}, key=lambda t: (t != BONA_FIDE, t == "", t)):
        counts = [str(files[technique][key]) if technique in files else "" for key in ("found", "resolved", "paired")]
        reasons = "\n".join(f"{n} {reason}" for reason, n in dropped.get(technique, Counter()).most_common(4))
        table.add_row(technique or "any", *counts, str(written[technique]), reasons)
    table.add_row("all", "", "", "", str(statistics.images_of()), "", end_section=True)
    console = Console(stderr=True)
    console.print(table)
    shares = ", ".join(f"{split} {len(names)}" for split, names in sorted(statistics.identities.items()))
    console.print(f"Identities: {shares}. Near-duplicates inside of splits, kept: {twins}.")


SAMPLE_IDENTITIES = 160
SAMPLE_PICTURES = 5
FORGERIES_PER_FACE = 1.5
"""Leaves 40 % of the images bona fide, about the share that the paper's tables imply."""
ATTEMPTS = 6
"""How many donors or drivers are tried for a face before its forgery is dropped."""
SMALLEST_SET = 12


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
