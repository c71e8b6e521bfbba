"""The results of a bench: everything that is measured of one model, and the files that it is written to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from dfa_instruct.bench.habits import warnings
from dfa_instruct.bench.metrics import Figures, Prediction, by_task, percent, rounded
from dfa_instruct.bench.predictions import PREDICTIONS_FILE, write_predictions
from dfa_instruct.bench.scores import Metric, by_video
from dfa_instruct.bench.tasks.questions import TASKS
from dfa_instruct.vlm.chat import CUT
from dfa_instruct.vocabulary import CATEGORIES

Rows = list[dict[str, Any]]
"""Rows of a dataset. Images are not decoded (`{"bytes", "path"}`), because a decoded test split exceeds the memory."""
TaskFigures = dict[str, Figures]
"""Task → its figures."""


class HeldOut(TypedDict):
    """The figures of test faces whose technique or source does not occur in the training split.

    Attributes:
        held_out: The names of these techniques or sources.
        images: The number of their test faces.
        seen: The figures of all other faces.
        unseen: The figures of these faces. For techniques, all bona fide faces are included, because ACER needs both.
    """

    held_out: list[str]
    images: int
    seen: NotRequired[TaskFigures]
    unseen: NotRequired[TaskFigures]


class Results(TypedDict):
    """What is measured of one model. `results.json` has the same keys, except for `predictions` and `talks`.

    Attributes:
        tasks: The paper's figures of each task, the share of invalid answers, and ROUGE-L of the forged faces.
        details: The other figures of each task.
        answers: How the questions of each task were answered, see `answer_shares`.
        counts: The numbers of images, questions, forged images and videos, and of images of each category.
        scores: Metric → its figures, see `dfa_instruct.bench.scores`.
        warnings: Sentences to read before the figures.
        predictions: One entry for each question, see `dfa_instruct.bench.tasks.questions.prediction`.
        model: The model's name.
        weights: The number of the model's weights; None if it is unknown.
        probe: The settings of a probe: learning rates, or epochs of a plain detector (`tuned`), seed and image size.
        generalisation: "techniques" and "sources" → the figures of held-out ones.
        baselines: Baseline → its figures.
        sensitivity: How answers depend on the form of a question.
        robustness: Perturbation → the figures of perturbed images.
        regions: Region or "all" → the figures of the questions about it, see
            `dfa_instruct.bench.experiments.region_questions`.
        localisation: "map" or baseline → the figures of the map of changed pixels.
        conversation: Wording or baseline → the figures of the conversations, which are in `talks`.
    """

    tasks: TaskFigures
    details: TaskFigures
    answers: TaskFigures
    counts: dict[str, int]
    scores: dict[str, Figures]
    warnings: list[str]
    predictions: list[Prediction]
    model: NotRequired[str]
    weights: NotRequired[int | None]
    probe: NotRequired[dict[str, Any]]
    generalisation: NotRequired[dict[str, HeldOut]]
    baselines: NotRequired[dict[str, TaskFigures]]
    sensitivity: NotRequired[Figures]
    robustness: NotRequired[dict[str, TaskFigures]]
    conversation: NotRequired[dict[str, Figures]]
    localisation: NotRequired[dict[str, Figures]]
    regions: NotRequired[dict[str, Figures]]
    talks: NotRequired[list[dict[str, Any]]]


def make_results(predictions: list[Prediction], rows: Rows, metrics: Mapping[str, Metric]) -> Results:
    """Compute the results of predictions about test rows."""
    groups = by_task(predictions)
    figures = {str(task): rounded(TASKS[task].figures(group)) for task, group in groups.items()}
    tasks = {t: {n: of_task[n] for n in TASKS[t].results if n in of_task} for t, of_task in figures.items()}
    answers = {str(task): rounded(answer_shares(group)) for task, group in groups.items()}
    scores = {name: rounded(found) for name, metric in metrics.items() if (found := metric(predictions))}
    categories = Counter(row["category"] for row in rows)
    return {
        "tasks": tasks,
        "details": {t: {n: v for n, v in of_task.items() if n not in tasks[t]} for t, of_task in figures.items()},
        "answers": answers,
        "counts": {
            "images": len(rows),
            "questions": len(predictions),
            "forged": sum(row["label"] == "forged" for row in rows),
            "videos": len(by_video(rows, [0.0] * len(rows))[0]),
            **{category: categories[category] for category in CATEGORIES},
        },
        "scores": scores,
        "warnings": warnings(groups, tasks, answers, scores.get("habits", {})),
        "predictions": predictions,
    }


def task_figures(predictions: Sequence[Prediction]) -> TaskFigures:
    """Return the figures of each task that belong in `tasks` of the results."""
    return {task: main_figures(task, TASKS[task].figures(group)) for task, group in by_task(predictions).items()}


def main_figures(task: str, figures: Mapping[str, float]) -> Figures:
    """Select those of a task's figures that belong in `tasks` of the results, and round them."""
    return rounded({name: figures[name] for name in TASKS[task].results if name in figures})


def answer_shares(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Describe how the questions of one task were answered, in percent.

    Returns:
        `asked_again`: Answers that could not be read, so that the model was asked for one word.
        `unread`: Answers that could not be read in the end.
        `thought`: Answers with a thought before them.
        `cut`: Answers that reached the maximum number of tokens.
        `empty`: Empty answers.
    """
    return {
        "asked_again": percent([p.get("one_word") is not None for p in predictions]),
        "unread": percent([p.get("predicted", "") is None for p in predictions]),
        "thought": percent([bool(p.get("thought")) for p in predictions]),
        "cut": percent([p.get("finish_reason") == CUT for p in predictions]),
        "empty": percent([not p["answer"] for p in predictions]),
    }


def write_results(results: Mapping[str, Any], output: Path, images: Mapping[str, bytes] | None = None) -> None:
    """Write `results.json`, `predictions.parquet` and, if there are conversations, `conversations.jsonl`.

    Args:
        results: The results.
        output: The folder to write to; it is made if necessary.
        images: `face_id` → PNG file, to be written with the predictions. None writes no images.
    """
    output.mkdir(parents=True, exist_ok=True)
    figures = dict(results)
    write_predictions(figures.pop("predictions"), output / PREDICTIONS_FILE, images)
    if "talks" in figures:
        lines = [json.dumps(talk, ensure_ascii=False) + "\n" for talk in figures.pop("talks")]
        (output / "conversations.jsonl").write_text("".join(lines), encoding="utf-8")
    (output / "results.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def model_name(model: str) -> str:
    """Return a Hub id unchanged, and only the last part of a folder, because results and reports may be published."""
    return Path(model).resolve().name if Path(model).is_absolute() or Path(model).is_dir() else model
