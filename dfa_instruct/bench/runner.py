"""Running DFA-Bench: lighteval's own pipeline over our tasks alone, offline, on any vision-language model."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
from datasets import Image, load_dataset
from lighteval.logging.evaluation_tracker import EvaluationTracker
from lighteval.models.abstract_model import LightevalModel
from lighteval.models.model_output import ModelResponse
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
from lighteval.tasks.lighteval_task import LightevalTask
from lighteval.tasks.requests import Doc, SamplingMethod

from dfa_instruct.bench.metrics import answer_of, chance, percent, predicted_category, predicted_label
from dfa_instruct.bench.tasks import TASKS_TABLE
from dfa_instruct.bench.vlm import VisionLanguageModel
from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, BenchTask, Split

torch.set_grad_enabled(True)  # importing lighteval's pipeline switched gradients off for the whole process

TASKS: Final[dict[str, tuple[str, ...]]] = {
    BenchTask.DF_D: ("acc", "err", "acer", "invalid"),
    BenchTask.DF_C: ("acc", "invalid"),
    BenchTask.AD: ("rouge_l", "rouge_l_forged"),
}
"""Task → the figures that stand in its results: the paper's, the share of answers that could not be read, and ROUGE-L
of the forged faces alone."""

Rows = list[dict[str, Any]]
"""Test rows, images not decoded (`{"bytes", "path"}`): a test split does not fit in memory decoded."""


def run_bench(
    model: str | Path | LightevalModel,
    data: Path | None,
    *,
    tasks: Sequence[str] = tuple(TASKS),
    limit: int | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Measure a model on the test split of a dataset folder.

    Args:
        model: a folder (an adapter's or a whole model's), a Hub id, or a model of lighteval's that is loaded.
        data: the dataset folder; without it the one that `DFA_INSTRUCT_DIR` names, else the embedded sample.
        tasks: some of `TASKS`.
        limit: ask about this many images only, drawn at random and always the same ones.
        batch_size: questions at a time.

    Returns:
        `tasks` (task → figures in percent, None where no row can tell), `details` (more of the same), `counts`, and
        `predictions`: one dictionary a question with `task`, `face_id`, `label`, `category`, `technique`, `question`,
        `reference`, `answer`, and `predicted` (a label or a category, None when invalid) or, for AD, `rouge_l`.

    Raises:
        FileNotFoundError: the model or the dataset is not there.
        ValueError: there is no test row, one lacks a question, or a task is unknown.
    """
    if unknown := sorted(set(tasks) - set(TASKS)):
        raise ValueError(f"unknown task {unknown[0]}: expected one of {', '.join(TASKS)}")
    rows = load_rows(data, limit)
    return evaluate(load_model(model, batch_size), rows, tasks)


def write_results(results: dict[str, Any], output: Path) -> None:
    """Write `results.json`, and beside it `predictions.jsonl` and `conversations.jsonl`; images are not written."""
    output.mkdir(parents=True, exist_ok=True)
    kept = dict(results)
    for key, name in (("predictions", "predictions.jsonl"), ("talks", "conversations.jsonl")):
        if key in kept:
            lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in kept.pop(key)]
            (output / name).write_text("".join(lines), encoding="utf-8")
    (output / "results.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def load_model(model: str | Path | LightevalModel, batch_size: int | None = None) -> LightevalModel:
    """Load a folder or a Hub id; leave a model that is loaded as it is."""
    return model if isinstance(model, LightevalModel) else VisionLanguageModel(model, batch_size=batch_size)


def load_rows(data: Path | None, limit: int | None = None, split: Split = "test") -> Rows:
    """Read the test split, or `limit` rows of it drawn at random with a fixed seed; or another split.

    Raises:
        ValueError: there is no such split, it is empty, or a row of the test split lacks one of the three questions.
    """
    where = data or "the dataset folder"
    source = {"path": DATASET_NAME, "data_dir": data and str(data), "split": split, "streaming": True}
    try:
        faces = load_dataset(**source).cast_column("image", Image(decode=False))
    except ValueError as error:
        raise ValueError(f"{where}: no {split} split (expected data/{split}-*.parquet): {error}") from error
    if limit is None:
        rows = list(faces)
    else:
        count = sum(1 for _ in load_dataset(**source, columns=["face_id"]))
        chosen = set(np.random.default_rng(0).permutation(count)[:limit].tolist())
        rows = [face for i, face in enumerate(faces) if i in chosen]
    if not rows:
        raise ValueError(f"{where}: the {split} split has no rows")
    for row in rows if split == "test" else []:
        if missing := {"df_d", "df_c", "ad"} - {question["ability"] for question in row["bench"] or []}:
            raise ValueError(
                f"{where}: test face {row['face_id']} has no bench question for {', '.join(sorted(missing))}"
            )
    return rows


class _OurTasks(Pipeline):
    """lighteval's pipeline without its registry, which imports all built-in tasks and so needs the internet.

    Nor is its cache of answers used: it knows a model by its name, whatever the weights and the images are.
    """

    def __init__(self, model: LightevalModel, rows: Rows, tasks: Sequence[str]) -> None:
        self.rows = rows
        caching: Any = model
        caching._cache = SimpleNamespace(_init_registry=lambda _: None)  # what the pipeline asks of it
        super().__init__(
            tasks=",".join(tasks),
            pipeline_parameters=PipelineParameters(launcher_type=ParallelismManager.NONE, bootstrap_iters=0),
            evaluation_tracker=EvaluationTracker(output_dir=".", save_details=False),
            model=model,
        )
        caching._cache = None

    def _init_tasks_and_requests(self, tasks: str) -> None:
        self.registry = None  # type: ignore[assignment]
        configs = [config for config in TASKS_TABLE if config.name in tasks.split(",")]
        self.tasks_dict = {config.full_name: LightevalTask(config) for config in configs}
        for task in self.tasks_dict.values():
            task.dataset = {"test": self.rows}
        self.documents_dict = {name: task.get_docs() for name, task in self.tasks_dict.items()}
        self.sampling_docs = defaultdict(list)
        self.sampling_docs[SamplingMethod.GENERATIVE] = [d for docs in self.documents_dict.values() for d in docs]
        self.evaluation_tracker.task_config_logger.log(self.tasks_dict)


def evaluate(model: LightevalModel, rows: Rows, tasks: Sequence[str] = tuple(TASKS)) -> dict[str, Any]:
    """Put the questions of these rows to a model; return what `run_bench` returns."""
    pipeline = _OurTasks(model, rows, tasks)
    pipeline.evaluate()
    predictions: list[dict[str, Any]] = []
    figures: dict[str, dict[str, float]] = {}
    for name in pipeline.tasks_dict:
        task = name.split("|")[0]
        figures[task] = pipeline.evaluation_tracker.metrics_logger.metric_aggregated[name]
        details = pipeline.evaluation_tracker.details_logger.details[name]
        for detail in sorted(details, key=lambda detail: int(detail.doc.id)):
            predictions.append({"task": task, **_prediction(detail.doc, detail.model_response, detail.metric)})
    if BenchTask.AD in figures:
        forged = [p["rouge_l"] for p in predictions if p["task"] == BenchTask.AD and p["label"] == "forged"]
        figures[BenchTask.AD]["rouge_l_forged"] = math.fsum(forged) / len(forged) if forged else math.nan
    categories = Counter(row["category"] for row in rows)
    return {
        "tasks": {task: figures_of(task, figures[task]) for task in figures},
        "details": {task: _rounded(_details(task, figures[task], predictions)) for task in figures},
        "counts": {
            "images": len(rows),
            "questions": len(predictions),
            "forged": sum(row["label"] == "forged" for row in rows),
            **{category: categories[category] for category in ("bona_fide", *FORGERY_CATEGORIES)},
        },
        "predictions": predictions,
    }


_READ: Final[dict[str, Callable[[Doc, ModelResponse], str | None]]] = {
    BenchTask.DF_D: predicted_label,
    BenchTask.DF_C: predicted_category,
}


def _prediction(doc: Doc, response: ModelResponse, metric: dict[str, Any]) -> dict[str, Any]:
    task = doc.task_name.split("|")[0]
    verdict = {"predicted": _READ[task](doc, response)} if task in _READ else {"rouge_l": round(metric["rouge_l"], 2)}
    answer = {"question": doc.query, "reference": doc.get_golds()[0], "answer": answer_of(response)}
    return {**(doc.specific or {}), **answer, **verdict}


def _details(task: str, figures: dict[str, float], predictions: list[dict[str, Any]]) -> dict[str, float]:
    """Figures beside the paper's; `chance` is the accuracy of the same answers dealt out at random."""
    mine = [p for p in predictions if p["task"] == task]
    if task == BenchTask.AD:
        return {}
    if task == BenchTask.DF_C:
        level = chance([p["category"] for p in mine], [p["predicted"] for p in mine])
        return {"macro_acc": figures["macro_acc"], "chance": level}
    by_category = {
        f"apcer_{category}": percent([p["predicted"] != "forged" for p in mine if p["category"] == category])
        for category in FORGERY_CATEGORIES
    }
    by_technique = {
        f"apcer_{technique}": percent([p["predicted"] != "forged" for p in mine if p["technique"] == technique])
        for technique in sorted({p["technique"] for p in mine if p["technique"]})
    }
    level = chance([p["label"] for p in mine], [p["predicted"] for p in mine])
    return {"apcer": figures["apcer"], "bpcer": figures["bpcer"], **by_category, **by_technique, "chance": level}


def figures_of(task: str, figures: dict[str, float]) -> dict[str, float | None]:
    """Keep the figures that stand in a task's results."""
    return _rounded({key: figures[key] for key in TASKS[task]})


def _rounded(figures: dict[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else round(float(value), 2) for key, value in figures.items()}
