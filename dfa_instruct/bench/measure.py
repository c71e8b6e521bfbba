"""All that `dfa-instruct bench` measures of one model, in the order in which it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.experiments.baselines import baselines
from dfa_instruct.bench.experiments.conversation import run_conversation
from dfa_instruct.bench.experiments.generalisation import generalisation
from dfa_instruct.bench.experiments.robustness import Perturbation, robustness
from dfa_instruct.bench.experiments.sensitivity import sensitivity
from dfa_instruct.bench.runner import load_rows, run_bench
from dfa_instruct.vocabulary import BenchTask


def measure(
    model: BenchModel,
    data: Path | None,
    tasks: Sequence[BenchTask] | None,
    *,
    limit: int | None = None,
    beside: bool = False,
    perturbations: Sequence[Perturbation] = (),
) -> dict[str, Any]:
    """Measure a model on the test split of a dataset folder.

    Args:
        model: what is asked.
        data: the dataset folder, see `run_bench`.
        tasks: these tasks only; None: all, and conversations.
        limit: ask about so many images only.
        beside: also measure the baselines, and how far answers depend on the form of a question.
        perturbations: ask the tasks again about pictures perturbed in each of these ways.

    Returns:
        What `run_bench` returns; `generalisation` where the test split shows what the train split does not; as far as
        they were asked for `baselines`, `sensitivity`, `robustness`, `conversation`; and `talks`, the conversations.
    """
    results = run_bench(model, data, tasks=tasks or list(BenchTask), limit=limit)
    rows = load_rows(data, limit)
    if found := generalisation(data, rows, results):
        results["generalisation"] = found
    if beside:
        results["baselines"] = baselines(model, data, tasks=tasks or list(BenchTask), limit=limit)
        results["sensitivity"] = sensitivity(model, rows, results)
    if perturbations:
        results["robustness"] = robustness(model, rows, perturbations, results)
    if not tasks:
        results["conversation"], results["talks"] = run_conversation(model, data, limit=limit, baselines=beside)
    return results
