"""Everything that `dfa-instruct bench` measures of one model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.experiments.baselines import baselines, image_blind, plain_detector
from dfa_instruct.bench.experiments.conversation import run_conversation
from dfa_instruct.bench.experiments.generalisation import generalisation
from dfa_instruct.bench.experiments.region_questions import ALL, IMAGE_BLIND, check_findings, region_questions
from dfa_instruct.bench.experiments.robustness import Perturbation, robustness
from dfa_instruct.bench.experiments.sensitivity import sensitivity
from dfa_instruct.bench.results import Results
from dfa_instruct.bench.runner import load_rows, run_bench
from dfa_instruct.vocabulary import BenchTask


def measure(
    model: BenchModel,
    data: Path | None,
    tasks: Sequence[BenchTask] | None,
    *,
    limit: int | None = None,
    with_baselines: bool = False,
    detector: Path | None = None,
    with_regions: bool = False,
    perturbations: Sequence[Perturbation] = (),
) -> Results:
    """Measure a model on the test split of a dataset folder.

    Args:
        model: The model.
        data: The dataset folder, see `run_bench`.
        tasks: The tasks to measure. None: all tasks and the conversations.
        limit: Ask about this many images only.
        with_baselines: Also measure the baselines, and how much answers depend on the form of a question.
        detector: The output folder of a plain detector, whose figures join the baselines.
        with_regions: Also ask about every region of every face.
        perturbations: Repeat the tasks for images perturbed in each of these ways.
    """
    asked = tasks or list(BenchTask)
    rows = load_rows(data, limit)
    detected = plain_detector(detector, rows) if detector else None  # before hours of work
    if with_regions:
        check_findings(rows)
    results = run_bench(model, data, tasks=asked, limit=limit)
    if held_out := generalisation(data, rows, results["predictions"]):
        results["generalisation"] = held_out
    if with_baselines:
        results["baselines"] = baselines(model, data, tasks=asked, limit=limit)
        if detected:
            results["baselines"]["plain_detector"] = {task: detected[task] for task in detected if task in asked}
        results["sensitivity"] = sensitivity(model, rows, results)
    if with_regions:
        results["regions"] = region_questions(model, rows)
        if with_baselines:
            results["regions"][IMAGE_BLIND] = region_questions(model, image_blind(rows))[ALL]
    if perturbations:
        results["robustness"] = robustness(model, rows, perturbations, results)
    if not tasks:
        results["conversation"], results["talks"] = run_conversation(model, data, limit=limit, baselines=with_baselines)
    return results
