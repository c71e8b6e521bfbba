"""From what lies on disk to a dataset folder: list, find faces, split, forge, measure, annotate, ask, write.

datatrove runs the steps in `dfa_instruct.construction.steps`, on this machine or on a cluster. Every random choice
depends on the seed and the face only, so that the same recipe and the same files give the same bytes, with any number
of workers and after any number of interruptions.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tqdm import tqdm

from dfa_instruct.annotate.registry import annotator
from dfa_instruct.construction.closing_table import dropped_named, print_table, write_dropped
from dfa_instruct.construction.executors import Executor, check_arguments, run_step
from dfa_instruct.construction.recipe import Recipe, techniques_of
from dfa_instruct.construction.resume import work_folder
from dfa_instruct.construction.steps.align_faces import AlignFaces
from dfa_instruct.construction.steps.find_margins import FindMargins
from dfa_instruct.construction.steps.list_items import ListItems
from dfa_instruct.construction.steps.make_rows import MakeRows, finished_rows
from dfa_instruct.construction.steps.plan import Plan
from dfa_instruct.construction.work_folder import WorkFolder, too_few
from dfa_instruct.dataset.statistics import Statistics
from dfa_instruct.dataset.writer import refuse_foreign, scratch_folder, write_tables
from dfa_instruct.face.detection import landmarker_path
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.sources.official_splits import read_official
from dfa_instruct.sources.registry import open_sources
from dfa_instruct.sources.sample import SampleSource


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
        recipe: see `dfa_instruct.construction.recipe`.
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
    sources = open_sources(recipe.sources)
    techniques_of(recipe)
    annotator(recipe.annotator, libraries(recipe.templates))
    if recipe.official_splits:
        read_official(Path(recipe.official_splits))
    check_arguments(recipe, executor)
    if recipe.detect_cropped and not all(isinstance(source, SampleSource) for source in sources):
        landmarker_path()
    with work_folder(folder, recipe) as work, dropped_named(work):
        _forget_failed_list(recipe, work)
        run_step(ListItems(recipe, work), [1], executor, workers, "list")
        listed = work.report("list")
        if failure := _unresolved(recipe, listed):
            raise ValueError(f"{failure}; all that was dropped is named in {work.dropped_table}")
        if not listed["sizes"]:
            raise ValueError(f"no picture is left of the sources; what was dropped is named in {work.dropped_table}")
        run_step(FindMargins(recipe, work), [1], executor, workers, "margins")
        run_step(AlignFaces(recipe, work), listed["sizes"], executor, workers, "find faces")
        run_step(Plan(recipe, work), [1], executor, workers, "plan")
        planned = work.report("plan")
        run_step(MakeRows(recipe, work), planned["sizes"], executor, workers, "forge, annotate")
        tables = finished_rows(work, len(listed["sizes"]))
        statistics = write_tables(tqdm(tables, "write", unit="group"), folder)
        dropped = write_dropped(work)
        made = sum(pq.read_metadata(path).num_rows for path in work.shards("rows"))
        if again := made - statistics.images_of():
            dropped[""]["the same pixels as another face"] += again
        print_table(listed["techniques"], statistics, dropped, planned, work.report("margins"))
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
        shutil.rmtree(work.logs("list"), ignore_errors=True)
        shutil.rmtree(made.parent)
