"""DFA-Bench as tasks of lmms-eval, for the task folder that `dfa-instruct convert --to lmms-eval` writes.

The questions, the reading of answers and the figures are those of `dfa-instruct bench`. lmms-eval cannot ask again for
one word after an answer that could not be read, so its shares of invalid answers may be higher.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dfa_instruct.bench.metrics import Prediction
from dfa_instruct.bench.tasks.questions import TASKS, document, figure_names, is_asked, prediction

if TYPE_CHECKING:
    import PIL.Image
    from datasets import Dataset


def with_question(task: str, rows: Dataset) -> Dataset:
    """Keep the test rows about which a task has a question."""
    return rows.filter(lambda bench: is_asked({"bench": bench}, task), input_columns="bench")


def visual(row: dict[str, Any]) -> list[PIL.Image.Image]:
    """Return the image of a test row."""
    return [row["image"].convert("RGB")]


def text(task: str, row: dict[str, Any]) -> str:
    """Return a task's question about a test row."""
    return document(row, task).query


def target(task: str, row: dict[str, Any]) -> str:
    """Return the right answer to a task's question about a test row."""
    return document(row, task).get_golds()[0]


def results(task: str, row: dict[str, Any], answers: list[str]) -> dict[str, Prediction]:
    """Read the answer to a task's question, and return what was read under the name of every figure."""
    from lighteval.models.model_output import ModelResponse

    read = prediction(document(row, task), ModelResponse(text=answers), task)
    return dict.fromkeys(figure_names(task), read)


def figure(task: str, name: str, predictions: list[Prediction]) -> float:
    """Compute one figure of a task."""
    return TASKS[task].figures(predictions)[name]
