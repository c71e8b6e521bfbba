"""Running DFA-Bench offline: the questions about test rows are put to a model, and its answers are measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.metrics import Prediction
from dfa_instruct.bench.results import Results, Rows, make_results
from dfa_instruct.bench.rows import stream
from dfa_instruct.bench.scores import all_metrics
from dfa_instruct.bench.tasks.questions import TASKS, document, is_asked, prediction
from dfa_instruct.vlm.chat import CUT, REFUSED
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from dfa_instruct.vocabulary import Split


class Answering(Protocol):
    """A model that can be measured: a `BenchModel`, a model of lighteval, or any object with the same methods.

    A question and its image are one `Doc`, as lighteval calls it.
    """

    def greedy_until(self, docs: list[Doc]) -> Sequence[ModelResponse]:
        """Answer the question of every document, in the order of `docs`."""
        ...


def run_bench(
    model: str | Path | Answering,
    data: Path | None,
    *,
    tasks: Sequence[str] = tuple(TASKS),
    limit: int | None = None,
) -> Results:
    """Measure a model on the test split of a dataset folder.

    Args:
        model: A folder (of an adapter or of a whole model), a Hub id, or a loaded model.
        data: The dataset folder. None: the folder that `DFA_INSTRUCT_DIR` names, or else the embedded sample.
        tasks: The tasks to measure, some of `TASKS`.
        limit: Ask about this many images only. They are drawn at random with a fixed seed.

    Raises:
        FileNotFoundError: The model or the dataset does not exist.
        ValueError: There is no test row, a row lacks a question, a task is unknown, or a plug-in does not load.
    """
    if unknown := sorted(set(tasks) - set(TASKS)):
        raise ValueError(f"unknown task {unknown[0]}: expected one of {', '.join(TASKS)}")
    metrics = all_metrics()
    rows = load_rows(data, limit)
    if isinstance(model, str | Path):
        model = BenchModel(VisionLanguageModel(model))
    return make_results(ask(model, rows, tasks), rows, metrics)


def load_rows(data: Path | None, limit: int | None = None, split: Split = "test") -> Rows:
    """Read a split of a dataset folder.

    Args:
        data: The dataset folder, see `run_bench`.
        limit: Read this many rows only, drawn at random with a fixed seed.
        split: The split to read.

    Raises:
        ValueError: The split is missing or empty, or a test row lacks one of the three standardised questions.
    """
    folder = data or "the dataset folder"
    faces = stream(data, split)
    if limit is None:
        rows = list(faces)
    else:
        count = sum(1 for _ in stream(data, split, ["face_id"]))
        chosen = set(np.random.default_rng(0).permutation(count)[:limit].tolist())
        rows = [face for i, face in enumerate(faces) if i in chosen]
    if not rows:
        raise ValueError(f"{folder}: the {split} split has no rows")
    for row in rows if split == "test" else []:
        if missing := {"df_d", "df_c", "ad"} - {question["ability"] for question in row["bench"] or []}:
            raise ValueError(
                f"{folder}: test face {row['face_id']} has no bench question for {', '.join(sorted(missing))}"
            )
    return rows


def ask(model: Answering, rows: Rows, tasks: Sequence[str] = tuple(TASKS)) -> list[Prediction]:
    """Put the questions about test rows to a model, and read its answers.

    Raises:
        ValueError: No row has a question of these tasks.
    """
    docs = [document(row, name) for name in TASKS if name in tasks for row in rows if is_asked(row, name)]
    if not docs:
        raise ValueError(f"no test row has a question of {', '.join(tasks)}; `dfa-instruct instruct` writes them again")
    responses = model.greedy_until(docs)
    predictions = [prediction(doc, response, doc.task_name) for doc, response in zip(docs, responses, strict=True)]
    if isinstance(model, BenchModel):
        _ask_for_one_word(model, docs, predictions)
    return predictions


def _ask_for_one_word(model: BenchModel, docs: Sequence[Doc], predictions: list[Prediction]) -> None:
    """Ask again after answers that could not be read, except for refusals; store the new answer as `one_word`."""
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
