"""From what lies on disk to a dataset folder: list, find faces, split, forge, measure, annotate, ask, write.

The steps are `dfa_instruct.build.steps`; datatrove runs them, here or on a cluster. Everything that chance decides
comes from the seed and the face, so that the same recipe and the same files give the same bytes, with any number of
workers, and after any number of interruptions.
"""

from __future__ import annotations

import csv
import hashlib
import inspect
import json
import os
import shutil
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
from datatrove.executor.base import PipelineExecutor
from filelock import FileLock, Timeout
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from dfa_instruct.annotate import annotator
from dfa_instruct.build.local import LocalExecutor
from dfa_instruct.build.recipe import Recipe, techniques_of
from dfa_instruct.build.steps.alignment import AlignFaces
from dfa_instruct.build.steps.listing import ListItems
from dfa_instruct.build.steps.plan import Plan
from dfa_instruct.build.steps.rows import MakeRows, finished_rows
from dfa_instruct.build.work import BONA_FIDE, REASONS, Step, WorkFolder, too_few, whole
from dfa_instruct.dataset.statistics import Statistics
from dfa_instruct.dataset.writer import refuse_foreign, scratch_folder, write_tables
from dfa_instruct.errors import nearest
from dfa_instruct.faces import landmarker_path
from dfa_instruct.sources import open_sources

Executor = Literal["local", "slurm", "ray"]
POLL_SECONDS = 5.0
PAIRING_NOTES = {
    "content": "were paired by content with a frame near their own: nothing is said of their geometry",
    "refused": "differ all over from the frame of their number: this pair was refused, and they have none",
}
NOTES = 20
"""So many notes of a source are printed of each technique."""
AFTER_FACES = {
    "least_aligned",
    "shares",
    "official_splits",
    "near_duplicates",
    "techniques",
    "forgeries_per_face",
    "annotator",
    "slurm",
    "ray",
}
"""Keys of a recipe that the steps up to the faces do not look at."""
NO_STEP = {"least_resolved"}
"""Keys that no step looks at."""


@dataclass
class Construction:
    """What a construction did: counts of what was written, and of what was dropped and why."""

    statistics: Statistics
    dropped: Counter[str] = field(default_factory=Counter)


def build(recipe: Recipe, workers: int | None = None, executor: Executor = "local") -> Construction:
    """Build the dataset folder that a recipe describes, and print what became of each technique.

    What the steps leave stands in `<output>.build` until the dataset is whole; a build that was killed goes on from
    there. What was dropped is named in `<output>.dropped.csv`, where the build fails, too.

    Args:
        recipe: see `dfa_instruct.build.recipe`.
        workers: how many shards are made at a time; none: as many as there are processors, for Slurm and Ray no limit.
        executor: datatrove's, by which the steps run.

    Returns:
        What was written and dropped.

    Raises:
        ValueError: a source, a technique, an annotator or an executor's argument is not known, or too little of a
            source is usable.
        FileNotFoundError: a source's folder is missing.
        FileExistsError: the output, or the work folder beside it, holds something else.
        RuntimeError: tasks failed on the cluster.
    """
    folder = Path(recipe.output).absolute()
    refuse_foreign(folder)
    open_sources(recipe.sources)
    techniques_of(recipe)
    annotator(recipe.annotator)
    _check_arguments(recipe, executor)
    if any(source["kind"] != "sample" for source in recipe.sources):
        landmarker_path()
    with _work_folder(folder, recipe) as work, _dropped_named(work):
        _forget_failed_list(recipe, work)
        run_step(ListItems(recipe, work), [1], executor, workers, "list")
        listed = work.report("list")
        if failure := _unresolved(recipe, listed):
            raise ValueError(f"{failure}; all that was dropped is named in {work.dropped_table}")
        run_step(AlignFaces(recipe, work), listed["sizes"], executor, workers, "find faces")
        run_step(Plan(recipe, work), [1], executor, workers, "plan")
        planned = work.report("plan")
        run_step(MakeRows(recipe, work), planned["sizes"], executor, workers, "forge, annotate")
        tables = finished_rows(work, len(listed["sizes"]))
        statistics = write_tables(tqdm(tables, "write", unit="group"), folder)
        dropped = _dropped(work)
        made = sum(pq.read_metadata(path).num_rows for path in work.shards("rows"))
        if again := made - statistics.images_of():
            dropped[""]["the same pixels as another face"] += again
        _print_table(listed["techniques"], statistics, dropped, planned)
        with scratch_folder(folder) as scratch:  # at once: a part of it would be another one's
            work.root.rename(scratch / "build")
    return Construction(statistics, sum(dropped.values(), Counter()))


def _unresolved(recipe: Recipe, listed: Mapping[str, Any]) -> str | None:
    """Say of which technique too few files were understood; None: of none."""
    for name, found in listed["techniques"].items():
        least = recipe.least_resolved_of(name.partition("/")[2])
        if failure := too_few(name, found["resolved"], found["found"], found["missed"], least, "resolved"):
            return failure
    return None


def _forget_failed_list(recipe: Recipe, work: WorkFolder) -> None:
    """Have the sources listed anew where the list that is there fails this recipe: the disk may have been mended."""
    made = work.root / "list" / "report.json"
    if made.is_file() and not work.shards("faces") and _unresolved(recipe, work.report("list")):
        shutil.rmtree(work.root / "logs" / "ListItems", ignore_errors=True)
        shutil.rmtree(made.parent)


@contextmanager
def _dropped_named(work: WorkFolder) -> Iterator[None]:
    """Name what was dropped where a step fails, too."""
    try:
        yield
    except Exception:
        if any(work.all_dropped()):
            _dropped(work)
        raise


def _dropped(work: WorkFolder) -> dict[str, Counter[str]]:
    """Write what was dropped, if anything, as CSV; count it by technique and reason."""
    dropped: dict[str, Counter[str]] = defaultdict(Counter)
    path = work.dropped_table
    path.unlink(missing_ok=True)
    rows = work.all_dropped()
    if (first := next(rows, None)) is None:
        return dropped
    partial = work.root / "dropped.csv"
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        for row in chain([first], rows):
            writer.writerow(row)
            dropped[row["technique"]][row["reason"]] += 1
    partial.replace(path)
    return dropped


@contextmanager
def _work_folder(folder: Path, recipe: Recipe) -> Iterator[WorkFolder]:
    """Open the work folder beside the output: a new one, or the one that the same build left.

    Where the recipe differs in what comes after the faces, these are kept and the rest is done anew.

    Raises:
        FileExistsError: it is another build's, or another process is at work in it.
    """
    work = WorkFolder(folder.with_name(f"{folder.name}.build"))
    package = Path(__file__).parents[1]
    version = hashlib.sha256()
    for file in sorted([*package.rglob("*.py"), *package.rglob("*.yaml")]):
        version.update(file.read_bytes())
    content = json.loads(TypeAdapter(Recipe).dump_json(recipe)) | {"output": str(folder)}
    work.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work.root / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise FileExistsError(f"{work.root}: another process is building here") from error
    try:
        marks = work.root / "marks.json"
        before = json.loads(marks.read_text(encoding="utf-8")) if marks.is_file() else None
        if before is None and any(path.name != "lock" and path.name[0] != "." for path in work.root.iterdir()):
            raise FileExistsError(f"{work.root} holds something else; name another output")
        after = {"version": version.hexdigest(), "recipe": content}
        if before is not None and before != after:
            differs = [key for key in content if content[key] != before["recipe"].get(key)]
            if before["version"] != after["version"] or not set(differs) <= AFTER_FACES | NO_STEP:
                why = f"the recipe differs in {', '.join(differs)}" if differs else "by another version of this package"
                raise FileExistsError(
                    f"{work.root} holds what another build has begun ({why}); remove it, or name another output"
                )
            parts = ("logs/Plan", "logs/MakeRows", "plan", "rows")  # what says that a part is there goes first
            for part in parts if set(differs) - NO_STEP else ():
                shutil.rmtree(work.root / part, ignore_errors=True)
        with whole(marks) as path:
            path.write_text(json.dumps(after), encoding="utf-8")
        (work.root / "recipe.json").write_bytes(TypeAdapter(Recipe).dump_json(recipe))
        yield work
    finally:
        lock.release()


def _executor_class(executor: Executor) -> type[PipelineExecutor]:
    if executor == "slurm":
        from datatrove.executor.slurm import SlurmPipelineExecutor

        return SlurmPipelineExecutor
    if executor == "ray":
        from datatrove.executor.ray import RayPipelineExecutor

        return RayPipelineExecutor
    return LocalExecutor


def _check_arguments(recipe: Recipe, executor: Executor) -> None:
    """Raise ValueError where the executor is not there, or the recipe gives it wrong arguments or too few."""
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
    if executor == "ray" and find_spec("ray") is None:
        raise ValueError("--executor ray: needs Ray; install dfa-instruct[ray]")
    if executor == "slurm" and shutil.which("sbatch") is None:
        raise ValueError("--executor slurm: no sbatch here; expected a machine that submits jobs to Slurm")


def run_step(
    step: Step, sizes: Sequence[int], executor: Executor = "local", workers: int | None = None, title: str = ""
) -> None:
    """Run a step's tasks, those that are not complete already, with a progress bar; return when all are.

    Args:
        step: of `dfa_instruct.build.steps`.
        sizes: the images of each task.
        executor: see `build`.
        workers: see `build`.
        title: of the progress bar.

    Raises:
        RuntimeError: tasks failed on the cluster. What a step itself raises is passed on.
    """
    logs = step.work.root / "logs" / step.name
    common: dict[str, Any] = {"pipeline": [step], "tasks": len(sizes), "logging_dir": str(logs)}
    with _progress(title or step.name, logs, sizes):
        if executor == "local":
            try:
                _executor_class(executor)(**common, workers=min(workers or os.cpu_count() or 1, len(sizes))).run()
            finally:
                step.close()
            return
        running: Any = _executor_class(executor)(**common, workers=workers or -1, **getattr(step.recipe, executor))
        running.run()
        while running.get_incomplete_ranks(skip_completed=True):
            if executor == "ray" or not _is_queued(running.job_id):  # Slurm has only taken the job so far
                raise RuntimeError(f"{step.name}: tasks failed, see {logs}; the same command goes on from there")
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
    with tqdm(total=sum(sizes), initial=done(), desc=title, unit="image" if sum(sizes) > 1 else "step") as bar:

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
    planned: Mapping[str, Any],
) -> None:
    """Print what was found of each technique, resolved, paired, written, and dropped and why; then the notes."""
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
        reasons = dropped.get(technique, Counter()).most_common()
        said = [f"{n} {reason}" for reason, n in reasons[:REASONS]]
        if others := sum(n for _, n in reasons[REASONS:]):
            said.append(f"{others} for other reasons")
        table.add_row(technique or "any", *counts, str(written[technique]), "\n".join(said))
    table.add_row("all", "", "", "", str(statistics.images_of()), planned["cost"], end_section=True)
    console = Console(stderr=True)
    console.print(table)
    shares = ", ".join(f"{split} {len(names)}" for split, names in sorted(statistics.identities.items()))
    twins = planned["near_duplicates_inside"]
    console.print(f"Identities: {shares}. Near-duplicates inside of splits, kept: {twins}.")
    for what in planned["lacking"]:
        console.print(f"warning: {what}", markup=False, highlight=False)
    for (technique, pairing), n in sorted(statistics.pairings.items()):
        if pairing != "same_frame":
            console.print(f"{technique}: {n} {PAIRING_NOTES[pairing]}", markup=False, highlight=False)
    for name, found in listed.items():
        for note in found["notes"][:NOTES]:
            console.print(f"{name}: {note}", markup=False, highlight=False)
        if (more := len(found["notes"]) - NOTES) > 0:
            console.print(f"{name}: and {more} more", markup=False, highlight=False)
