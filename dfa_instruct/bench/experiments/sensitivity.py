"""Does a model answer the question, or its form? DF-C with its options in another order, DF-D asked the other way."""

from __future__ import annotations

from typing import Any, Final

from dfa_instruct.bench.metrics import percent
from dfa_instruct.bench.runner import Answering, Rows, evaluate
from dfa_instruct.vocabulary import BenchTask

OPPOSITE: Final = "Is this face bona fide? Answer yes or no."
TURNED_BY: Final = 2
"""Places by which the options of DF-C are turned: no letter keeps its option."""


def turned(question: dict[str, Any]) -> dict[str, Any]:
    """Return a question with its lettered options turned; the answer, which is a name, stays."""
    options = question["options"][TURNED_BY:] + question["options"][:TURNED_BY]
    asked, _, _ = question["question"].partition("\nA. ")
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCDE", options, strict=True))
    return {**question, "question": f"{asked}\n{listed}", "options": options}


def sensitivity(model: Answering, rows: Rows, results: dict[str, Any]) -> dict[str, float | None]:
    """Ask DF-C and DF-D again in another form, where `results` hold the answers to them; all in percent.

    Returns:
        `order_changed`, the share of faces whose class is another one when the options are turned, and `order_acc`,
        the accuracy then; `polarity_changed`, the share whose verdict is another one when it is asked whether the face
        is bona fide, and `polarity_acc`. An answer that cannot be read is one of its own kind, and wrong.
    """
    before = {(p["task"], p["face_id"]): p.get("predicted") for p in results["predictions"]}
    figures: dict[str, float | None] = {}
    if BenchTask.DF_C in results["tasks"]:
        others = [{**row, "bench": [turned(q) for q in row["bench"] if q["ability"] == "df_c"]} for row in rows]
        again = evaluate(model, others, [BenchTask.DF_C])["predictions"]
        changed = [p["predicted"] != before[p["task"], p["face_id"]] for p in again]
        figures["order_changed"] = round(percent(changed), 2)
        figures["order_acc"] = round(percent([p["predicted"] == p["category"] for p in again]), 2)
    if BenchTask.DF_D in results["tasks"]:
        asked = [
            [{**q, "question": OPPOSITE, "asked": "bona_fide"} for q in row["bench"] if q["ability"] == "df_d"]
            for row in rows
        ]
        others = [{**row, "bench": bench} for row, bench in zip(rows, asked, strict=True)]
        again = evaluate(model, others, [BenchTask.DF_D])["predictions"]
        changed = [p["predicted"] != before[p["task"], p["face_id"]] for p in again]
        figures["polarity_changed"] = round(percent(changed), 2)
        figures["polarity_acc"] = round(percent([p["predicted"] == p["label"] for p in again]), 2)
    return figures
