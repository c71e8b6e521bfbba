"""Sensitivity to a question's form: DF-C with its options in another order, and DF-D asked the other way round."""

from __future__ import annotations

from typing import Any, Final

from dfa_instruct.bench.metrics import Figures, percent, rounded
from dfa_instruct.bench.results import Results, Rows
from dfa_instruct.bench.runner import Answering, ask
from dfa_instruct.instruct.options import lettered
from dfa_instruct.vocabulary import BenchTask

OPPOSITE_QUESTION: Final = "Is this face bona fide? Answer yes or no."
ROTATED_BY: Final = 2
"""The number of places by which the options of DF-C are rotated, so that no letter keeps its option."""


def rotate_options(question: dict[str, Any]) -> dict[str, Any]:
    """Return a question with its lettered options rotated; its answer, which is a name, does not change."""
    options = question["options"][ROTATED_BY:] + question["options"][:ROTATED_BY]
    text = question["question"].replace(lettered(question["options"]), lettered(options))
    return {**question, "question": text, "options": options}


def ask_opposite(question: dict[str, Any]) -> dict[str, Any]:
    """Return a question of DF-D that asks whether the face is bona fide."""
    return {**question, "question": OPPOSITE_QUESTION, "asked": "bona_fide"}


def sensitivity(model: Answering, rows: Rows, results: Results) -> Figures:
    """Ask DF-C and DF-D again in another form, as far as `results` hold their answers; all figures are in percent.

    Returns:
        `order_changed`: Faces whose class changes when the options are rotated.
        `order_acc`: The accuracy with rotated options.
        `polarity_changed`: Faces whose verdict changes when the question is whether the face is bona fide.
        `polarity_acc`: The accuracy with that question.

        An answer that cannot be read is wrong, and differs from every answer that can be read.
    """
    before = {(p["task"], p["face_id"]): p.get("predicted") for p in results["predictions"]}
    figures: dict[str, float] = {}
    for task, ability, change, name, truth in (
        (BenchTask.DF_C, "df_c", rotate_options, "order", "category"),
        (BenchTask.DF_D, "df_d", ask_opposite, "polarity", "label"),
    ):
        if task in results["tasks"]:
            changed = [{**row, "bench": [change(q) for q in row["bench"] if q["ability"] == ability]} for row in rows]
            predictions = ask(model, changed, [task])
            figures[f"{name}_changed"] = percent([p["predicted"] != before[task, p["face_id"]] for p in predictions])
            figures[f"{name}_acc"] = percent([p["predicted"] == p[truth] for p in predictions])
    return rounded(figures)
