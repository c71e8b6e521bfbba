"""The figures of DFA-Bench as tables, and `report.md`: with plots, and the worst errors as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dfa_instruct.bench.experiments.robustness import plot_robustness, robustness_table
from dfa_instruct.bench.metrics import Prediction
from dfa_instruct.bench.report.paper_tables import majority
from dfa_instruct.bench.report.plots import plot_confusion, plot_reliability, plot_roc
from dfa_instruct.bench.rows import pictures_of
from dfa_instruct.bench.scores import forged_probabilities
from dfa_instruct.vocabulary import BenchTask

WORST: Final = 6
"""Errors of each task that the report shows."""
WORDINGS: Final = {"templates": "in the templates' words", "paraphrases": "in other words"}


def metrics_table(results: dict[str, Any]) -> str:
    """Lay the model's figures and its baselines' out as a Markdown table, in percent."""
    rows = {"the model": results["tasks"]}
    rows |= {name.replace("_", " "): figures for name, figures in results.get("baselines", {}).items()}
    columns = [(task, metric) for task, figures in results["tasks"].items() for metric in figures]
    lines = [
        "| | "
        + " | ".join(f"{BenchTask(task).abbreviation} {metric.upper().replace('_', '-')}" for task, metric in columns)
        + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for name, figures in rows.items():
        values = (figures.get(task, {}).get(metric) for task, metric in columns)
        lines.append(f"| {name} | " + " | ".join("" if v is None else f"{v:.2f}" for v in values) + " |")
    return "\n".join(lines)


def answers_table(answers: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out how the tasks' questions were answered, in percent; empty where all were answered at once."""
    columns = {
        "asked_again": "asked again for one word",
        "unread": "unread",
        "thought": "after a thought",
        "cut": "cut off",
        "empty": "empty",
    }
    if not any(how[column] for how in answers.values() for column in columns):
        return ""
    rows = ["| answers | " + " | ".join(columns.values()) + " |", "| --- |" + " ---: |" * len(columns)]
    for task, how in answers.items():
        rows.append(
            f"| {BenchTask(task).abbreviation} | " + " | ".join(f"{how[column]:.2f}" for column in columns) + " |"
        )
    return "\n".join(rows)


def conversation_table(measured: dict[str, dict[str, float]]) -> str:
    """Lay the figures of DFA-Bench's conversations out as a Markdown table, in percent."""
    columns = ["right_kind", "contradictions", "region_precision", "region_recall", "false_claims", "repeated"]
    rows = ["| | " + " | ".join(column.replace("_", " ") for column in columns) + " |"]
    rows.append("| --- |" + " ---: |" * len(columns))
    for name, figures in measured.items():
        values = " | ".join(f"{figures[column]:.2f}" for column in columns)
        rows.append(f"| {WORDINGS.get(name, name.replace('_', ' '))} | {values} |")
    return "\n".join(rows)


def summary(results: Mapping[str, Any]) -> list[str]:
    """Lay out what `measure` returns as sections of Markdown: what is to be known first, then the figures."""
    sections = []
    if results["warnings"]:
        sections.append("\n".join(f"- **{sentence}**" for sentence in results["warnings"]))
    sections.append(metrics_table(dict(results)))
    if asked := answers_table(results["answers"]):
        sections.append(asked)
    if "baselines" not in results:
        dfd, _, _, dfc, _ = majority(results["counts"])
        sections.append(f"Always the most frequent answer would give DF-D ACC {dfd:.2f} and DF-C ACC {dfc:.2f}.")
    if "sensitivity" in results:
        sections.append(_line("Asked in another form", results["sensitivity"]))
    if "videos" in results["scores"]:
        sections.append(_line(f"{results['counts']['videos']} videos", results["scores"]["videos"]))
    if "consistency" in results["scores"]:
        sections.append(_line("Contradictions", results["scores"]["consistency"]))
    if "generalisation" in results:
        sections.append(generalisation_table(results["generalisation"]))
    if "robustness" in results:
        sections.append(robustness_table(results["robustness"]))
    if "conversation" in results:
        sections.append(conversation_table(results["conversation"]))
    return sections


def _line(title: str, figures: Mapping[str, float | None]) -> str:
    said = (f"{name.replace('_', ' ')} {value:.2f}" for name, value in figures.items() if value is not None)
    return f"{title} (percent): {', '.join(said)}."


def generalisation_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay the figures of seen and unseen techniques and sources out as a Markdown table, a line each, in percent."""
    rows = {f"{name} {column}": of[name] for column, of in found.items() for name in ("seen", "unseen") if name in of}
    lines = metrics_table({"tasks": next(iter(rows.values())), "baselines": rows}).splitlines()
    del lines[2]  # the first row stands there twice
    unseen = [f"Unseen {column}: {', '.join(of['held_out'])} ({of['images']} images)." for column, of in found.items()]
    return "\n".join([*lines, "", " ".join(unseen)])


def write_report(results: Mapping[str, Any], data: Path | None, output: Path) -> None:
    """Write `report.md` and its pictures (`images/`) into a bench's output folder.

    Raises:
        ValueError: the dataset lacks a face of the results.
    """
    errors = worst_errors(results["predictions"])
    pictures = pictures_of({p["face_id"] for of_task in errors.values() for p in of_task}, data)
    images = output / "images"
    images.mkdir(parents=True, exist_ok=True)
    for face_id, picture in pictures.items():
        (images / f"{face_id}.png").write_bytes(picture)
    counts = results["counts"]
    sections = [
        f"# DFA-Bench of {results['model']}",
        f"{counts['images']} test faces, {counts['forged']} of them forged; {counts['questions']} questions. Percent.",
        *summary(results),
        f"## Plots\n\n{_plots(results, images)}",
        *(f"## Scores: {name}\n\n{_figures(figures)}" for name, figures in results["scores"].items()),
        *(
            f"## Worst errors of {task.abbreviation}\n\n{_errors(of_task)}"
            for task, of_task in errors.items()
            if of_task
        ),
    ]
    (output / "report.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def worst_errors(predictions: Sequence[Prediction]) -> dict[BenchTask, list[Prediction]]:
    """Return the worst errors of each task.

    Of DF-D those that were said with the highest probability, where the model tells; of AD the texts least like the
    truth; of DF-C and DF-T the first ones.
    """

    def surest(p: Prediction) -> float:
        labels, probabilities = forged_probabilities([p])
        return float(abs(labels[0] - probabilities[0])) if len(labels) else 0.0

    truth = {BenchTask.DF_D: "label", BenchTask.DF_C: "category", BenchTask.DF_T: "technique"}
    found: dict[BenchTask, list[Prediction]] = {}
    for task in BenchTask:
        of_task = [p for p in predictions if p["task"] == task]
        if task == BenchTask.AD:
            found[task] = sorted(of_task, key=lambda p: p["rouge_l"])[:WORST]
        else:
            wrong = [p for p in of_task if p["predicted"] != p[truth[task]]]
            found[task] = sorted(wrong, key=surest, reverse=True)[:WORST]
    return found


def _plots(results: Mapping[str, Any], images: Path) -> str:
    """Draw what these results can tell, and return the links."""
    predictions, shown = results["predictions"], []
    if any(p["task"] in (BenchTask.DF_D, BenchTask.DF_C) for p in predictions):
        plot_confusion(predictions, images / "confusion.png")
        shown.append("![Confusion matrices](images/confusion.png)")
    labels, _ = forged_probabilities(predictions)
    if labels.any() and not labels.all():
        plot_roc(predictions, images / "roc.png")
        shown.append("![ROC of DF-D](images/roc.png)")
        plot_reliability(predictions, images / "reliability.png")
        shown.append("![Reliability of DF-D's probabilities](images/reliability.png)")
    if "robustness" in results:
        plot_robustness(results["robustness"], images / "robustness.png")
        shown.append("![Figures of perturbed pictures](images/robustness.png)")
    return "\n\n".join(shown) or "These answers give none."


def _figures(figures: Mapping[str, float | None]) -> str:
    rows = [f"| {name} | {'' if value is None else f'{value:.2f}'} |" for name, value in figures.items()]
    return "\n".join(["| | percent |", "| --- | ---: |", *rows])


def _errors(errors: Sequence[Prediction]) -> str:
    rows = ["| face | question | answer | truth |", "| --- | --- | --- | --- |"]
    for p in errors:
        truth = p["reference"] if p["technique"] is None else f"{p['reference']} ({p['technique']})"
        cells = [f"![{p['face_id']}](images/{p['face_id']}.png)", *map(_cell, (p["question"], _said(p), truth))]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _said(p: Prediction) -> str:
    """Return an answer, with the word for which the model was asked again."""
    return p["answer"] if p.get("one_word") is None else f"{p['answer']}\n(asked again:) {p['one_word']}"


def _cell(text: str) -> str:
    """Write a text so that it stays within its cell, whatever a model has said."""
    for mark, instead in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("\n", "<br>")):
        text = text.replace(mark, instead)
    return text
