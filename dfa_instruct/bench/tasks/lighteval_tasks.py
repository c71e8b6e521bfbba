"""DFA-Bench as lighteval tasks: `dfa_bench_dfd`, `dfa_bench_dfc`, `dfa_bench_ad` and `dfa_bench_dft`.

`dfa-instruct bench` asks the same questions and computes the same figures. This module is for lighteval's own command,
which needs internet access, because it downloads files for its own tasks first:

    DFA_INSTRUCT_DIR=runs/quickstart/dfa-instruct lighteval accelerate \
        "model_name=runs/quickstart/merged,device=cpu,cache_dir=runs/cache-1" "dfa_bench_dfd|0" \
        --vision-model --custom-tasks dfa_instruct.bench.tasks.lighteval_tasks

lighteval cannot ask again for one word after an answer that could not be read, so its shares of invalid answers may be
higher than those of `dfa-instruct bench`.

lighteval caches answers under the model's name, not its weights: new weights in an old folder need a new `cache_dir`.
If the model is named by an absolute path, lighteval writes the cache into the model's folder: use a relative path.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from lighteval.metrics.metrics_sample import SampleLevelComputation
from lighteval.metrics.utils.metric_utils import CorpusLevelMetricGrouping
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod

from dfa_instruct.bench.tasks.questions import TASKS, document, figure_names, is_asked, prediction
from dfa_instruct.dataset import DATASET_NAME


class _Read(SampleLevelComputation):
    """Gives what the figures are computed from, under the name of every figure."""

    def __init__(self, task: str) -> None:
        self.task = task

    def compute(self, doc: Doc, model_response: ModelResponse, **kwargs: Any) -> dict[str, Any]:
        read = prediction(doc, model_response, self.task)
        kept = {key: read[key] for key in ("label", "category", "technique", TASKS[self.task].column)}
        return dict.fromkeys(figure_names(self.task), kept)


def _metric(name: str) -> CorpusLevelMetricGrouping:
    # Grouped figures also avoid lighteval's bootstrap, which would start a pool of processes.
    names = figure_names(name)
    return CorpusLevelMetricGrouping(
        metric_name=names,
        higher_is_better={figure: figure.startswith(("acc", "rouge")) for figure in names},  # type: ignore[misc]
        category=SamplingMethod.GENERATIVE,
        sample_level_fn=_Read(name),
        corpus_level_fn=dict.fromkeys(names, TASKS[name].figures),
    )


TASKS_TABLE = [
    LightevalTaskConfig(
        name=name,
        prompt_function=document,
        hf_repo=DATASET_NAME,
        hf_filter=partial(is_asked, name=name),
        hf_subset="default",
        hf_avail_splits=["train", "validation", "test"],
        evaluation_splits=["test"],
        generation_size=task.tokens,
        stop_sequence=[],
        metrics=[_metric(name)],
    )
    for name, task in TASKS.items()
]
