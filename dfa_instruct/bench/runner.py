"""Running DFA-Bench: documents of test rows, a model's answers to them, figures made of the answers; all offline."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.habits import warnings
from dfa_instruct.bench.metrics import Prediction, percent
from dfa_instruct.bench.predictions import PREDICTIONS_FILE, write_predictions
from dfa_instruct.bench.rows import stream
from dfa_instruct.bench.scores import Metric, all_metrics, by_video
from dfa_instruct.bench.tasks.questions import TASKS, document, is_asked, prediction
from dfa_instruct.vlm.chat import CUT, REFUSED
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, Split

Rows = list[dict[str, Any]]
"""Test rows, images not decoded (`{"bytes", "path"}`): a test split does not fit in memory decoded."""


class Answering(Protocol):
    """What can be measured: ours, a model of lighteval's, anything that answers documents."""

    def greedy_until(self, docs: list[Doc]) -> Sequence[ModelResponse]:
        """Answer every document."""
        ...


def run_bench(
    model: str | Path | Answering,
    data: Path | None,
    *,
    tasks: Sequence[str] = tuple(TASKS),
    limit: int | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Measure a model on the test split of a dataset folder.

    Args:
        model: a folder (an adapter's or a whole model's), a Hub id, or a model that is loaded.
        data: the dataset folder; without it the one that `DFA_INSTRUCT_DIR` names, else the embedded sample.
        tasks: some of `TASKS`.
        limit: ask about this many images only, drawn at random and always the same ones.
        batch_size: questions at a time.

    Returns:
        `tasks` (task → figures in percent, None where no row can tell), `details` (more of the same), `answers` (see
        `how_answered`), `counts`,
        `scores` (see `dfa_instruct.bench.scores`), `warnings`, sentences to be read before the figures, and
        `predictions` (see `dfa_instruct.bench.tasks.questions.prediction`).

    Raises:
        FileNotFoundError: the model or the dataset is not there.
        ValueError: there is no test row, one lacks a question, a task is unknown, or a plug-in does not load.
    """
    if unknown := sorted(set(tasks) - set(TASKS)):
        raise ValueError(f"unknown task {unknown[0]}: expected one of {', '.join(TASKS)}")
    metrics = all_metrics()
    rows = load_rows(data, limit)
    return scored(evaluate(load_model(model, batch_size), rows, tasks), metrics)


def scored(results: dict[str, Any], metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """Add the `scores` of these metrics to results, and the `warnings` that follow from them."""
    scores = {name: metric(results["predictions"]) for name, metric in metrics.items()}
    found = results | {"scores": {name: _rounded(figures) for name, figures in scores.items() if figures}}
    return found | {"warnings": warnings(found)}


def write_results(results: dict[str, Any], output: Path, images: Mapping[str, bytes] | None = None) -> None:
    """Write `results.json`, and beside it `predictions.parquet` and `conversations.jsonl`.

    `images` (`face_id` → PNG) are written with the predictions; without them no picture is.
    """
    output.mkdir(parents=True, exist_ok=True)
    kept = dict(results)
    write_predictions(kept.pop("predictions"), output / PREDICTIONS_FILE, images)
    if "talks" in kept:
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in kept.pop("talks")]
        (output / "conversations.jsonl").write_text("".join(lines), encoding="utf-8")
    (output / "results.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def name_of(model: str) -> str:
    """Name a model in its results, which may be published: a folder by its own name only, others as they are."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def load_model(model: str | Path | Answering, batch_size: int | None = None) -> Answering:
    """Load a folder or a Hub id; leave a model that is loaded as it is."""
    return BenchModel(VisionLanguageModel(model, batch_size=batch_size)) if isinstance(model, str | Path) else model


def load_rows(data: Path | None, limit: int | None = None, split: Split = "test") -> Rows:
    """Read the test split, or `limit` rows of it drawn at random with a fixed seed; or another split.

    Raises:
        ValueError: there is no such split, it is empty, or a row of the test split lacks one of the three questions.
    """
    where = data or "the dataset folder"
    faces = stream(data, split)
    if limit is None:
        rows = list(faces)
    else:
        count = sum(1 for _ in stream(data, split, ["face_id"]))
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


def evaluate(model: Answering, rows: Rows, tasks: Sequence[str] = tuple(TASKS)) -> dict[str, Any]:
    """Put the questions of these rows to a model; return what `run_bench` returns, but for `scores`."""
    docs = [document(row, name) for name in TASKS if name in tasks for row in rows if is_asked(row, name)]
    if not docs:
        raise ValueError(f"no test row has a question of {', '.join(tasks)} (`dfa-instruct instruct` writes them anew)")
    predictions = [
        prediction(doc, response, doc.task_name) for doc, response in zip(docs, model.greedy_until(docs), strict=True)
    ]
    if isinstance(model, BenchModel):
        ask_for_a_word(model, docs, predictions)
    return summed_up(predictions, rows)


def ask_for_a_word(model: BenchModel, docs: Sequence[Doc], predictions: list[Prediction]) -> None:
    """Ask again where an answer could not be read, and note what is said then as `one_word`.

    What a server's policy has withheld is not asked for again.
    """
    unread = [
        (doc, p, again(doc))
        for doc, p in zip(docs, predictions, strict=True)
        if (again := TASKS[p["task"]].again) and p["predicted"] is None and p["answer"] != REFUSED
    ]
    if not unread:
        return
    responses = model.ask_again(*zip(*((doc, p["answer"], question) for doc, p, question in unread), strict=True))
    for (doc, p, _), response in zip(unread, responses, strict=True):
        p["one_word"] = response.text[0]
        p["predicted"] = TASKS[p["task"]].read(doc, response.text[0], response.finish_reason == CUT)


def how_answered(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Say how the questions of one task were answered, in percent.

    Returns:
        `asked_again`, the share of answers that could not be read, so that the model was asked for one word; `unread`,
        of which that could not be read either, or which could not be asked again; `thought`, those with a thought
        before them; `cut`, those that reached the most tokens that they might have; and `empty`.
    """
    return {
        "asked_again": percent([p.get("one_word") is not None for p in predictions]),
        "unread": percent([p.get("predicted", "") is None for p in predictions]),
        "thought": percent([bool(p.get("thought")) for p in predictions]),
        "cut": percent([p.get("finish_reason") == CUT for p in predictions]),
        "empty": percent([not p["answer"] for p in predictions]),
    }


def summed_up(predictions: Sequence[Prediction], rows: Rows) -> dict[str, Any]:
    """Make figures of the predictions about these rows; return what `run_bench` returns, but for `scores`."""
    asked = {p["task"] for p in predictions}
    figures = {
        name: task.figures([p for p in predictions if p["task"] == name])
        for name, task in TASKS.items()
        if name in asked
    }
    categories = Counter(row["category"] for row in rows)
    return {
        "tasks": {name: results_of(name, of_task) for name, of_task in figures.items()},
        "details": {
            name: _rounded({key: of_task[key] for key in of_task if key not in TASKS[name].results})
            for name, of_task in figures.items()
        },
        "answers": {name: _rounded(how_answered([p for p in predictions if p["task"] == name])) for name in figures},
        "counts": {
            "images": len(rows),
            "questions": len(predictions),
            "forged": sum(row["label"] == "forged" for row in rows),
            "videos": len(by_video(rows, [0.0] * len(rows))[0]),
            **{category: categories[category] for category in ("bona_fide", *FORGERY_CATEGORIES)},
        },
        "predictions": predictions,
    }


def results_of(name: str, figures: Mapping[str, float]) -> dict[str, float | None]:
    """Keep the figures that stand in a task's results."""
    return _rounded({key: figures[key] for key in TASKS[name].results})


def _rounded(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else round(float(value), 2) for key, value in figures.items()}
