"""Build a dataset folder from the files of the sources: run the steps in `dfa_instruct.construction.steps`.

datatrove runs the steps, on this machine or on a cluster. Every random choice depends only on the seed and the face.
So the same recipe and the same files give the same bytes, with any number of workers and interruptions.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from tqdm import tqdm

from dfa_instruct.annotate.registry import annotator
from dfa_instruct.construction.closing_table import print_table, write_dropped, write_dropped_on_failure
from dfa_instruct.construction.executors import Executor, check_arguments, run_step
from dfa_instruct.construction.recipe import Recipe, techniques_of
from dfa_instruct.construction.resume import work_folder
from dfa_instruct.construction.steps.align_faces import AlignFaces
from dfa_instruct.construction.steps.find_margins import FindMargins
from dfa_instruct.construction.steps.list_items import ListItems
from dfa_instruct.construction.steps.make_rows import MakeRows, finished_rows
from dfa_instruct.construction.steps.plan import Plan
from dfa_instruct.construction.work_folder import ListReport, PlanReport, SourceMargin, WorkFolder, too_few
from dfa_instruct.dataset.statistics import Statistics
from dfa_instruct.dataset.writer import refuse_foreign, scratch_folder, write_tables
from dfa_instruct.face.detection import landmarker_path
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.sources.official_splits import read_official
from dfa_instruct.sources.registry import open_sources
from dfa_instruct.sources.sample import SampleSource


@dataclass
class Construction:
    """The result of a build: the counts of the rows, and the reasons why files were dropped, with their counts."""

    statistics: Statistics
    dropped: Counter[str] = field(default_factory=Counter)


def build(recipe: Recipe, workers: int | None = None, executor: Executor = "local") -> Construction:
    """Build the dataset folder that a recipe describes, and print a table of its techniques.

    The results of the steps are in `<output>.build` until the dataset is complete. A build that was killed continues
    from there. `<output>.dropped.csv` lists what was dropped, also if the build fails.

    Args:
        recipe: See `dfa_instruct.construction.recipe`.
        workers: The number of shards that are made at the same time. Default: the number of processors; no limit on
            Slurm and Ray.
        executor: The datatrove executor that runs the steps.

    Returns:
        The counts of what was written and dropped.

    Raises:
        ValueError: A source, a technique, an annotator or an argument of the executor is unknown, or too few files of
            a technique are usable.
        FileNotFoundError: A source's folder is missing.
        FileExistsError: The output, or the work folder beside it, contains something else.
        RuntimeError: Tasks failed on the cluster.
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
    with work_folder(folder, recipe) as work, write_dropped_on_failure(work):
        _remove_failed_list(recipe, work)
        run_step(ListItems(recipe, work), [1], executor, workers, "list")
        listed = work.report("list", ListReport)
        if failure := _unresolved(recipe, listed):
            raise ValueError(f"{failure}; see {work.dropped_table} for everything that was dropped")
        if not listed.sizes:
            raise ValueError(f"all pictures of the sources were dropped; see {work.dropped_table}")
        run_step(FindMargins(recipe, work), [1], executor, workers, "margins")
        run_step(AlignFaces(recipe, work), listed.sizes, executor, workers, "find faces")
        run_step(Plan(recipe, work), [1], executor, workers, "plan")
        planned = work.report("plan", PlanReport)
        run_step(MakeRows(recipe, work), planned.sizes, executor, workers, "forge, annotate")
        tables = finished_rows(work, len(listed.sizes))
        statistics = write_tables(tqdm(tables, "write", unit="group"), folder)
        dropped = write_dropped(work)
        made = sum(pq.read_metadata(path).num_rows for path in work.shards("rows"))
        if repeated := made - statistics.images_of():
            dropped[""]["the same pixels as another face"] += repeated
        print_table(listed, work.report("margins", dict[str, SourceMargin]), planned, statistics, dropped)
        with scratch_folder(folder) as scratch:  # move before deleting: half a work folder could not be continued
            work.root.rename(scratch / "build")
    return Construction(statistics, sum(dropped.values(), Counter()))


def _unresolved(recipe: Recipe, listed: ListReport) -> str | None:
    """Return an error message for the first technique with too few understood paths, or None."""
    for name, found in listed.techniques.items():
        least = recipe.least_resolved_of(name.partition("/")[2])
        if failure := too_few(name, found.resolved, found.found, found.left_out, least, "resolved"):
            return failure
    return None


def _remove_failed_list(recipe: Recipe, work: WorkFolder) -> None:
    """Remove an existing list that fails this recipe, because the files may have been corrected since."""
    report = work.root / "list" / "report.json"
    if report.is_file() and not work.shards("faces") and _unresolved(recipe, work.report("list", ListReport)):
        shutil.rmtree(work.logs("list"), ignore_errors=True)
        shutil.rmtree(report.parent)
