"""The figures of DFA-Bench as Markdown tables, and `report.md` with plots and the images of the worst errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dfa_instruct.bench.metrics import Figures, Prediction, by_task
from dfa_instruct.bench.report.markdown_table import Cell, markdown_table
from dfa_instruct.bench.report.paper_tables import majority
from dfa_instruct.bench.report.plots import (
    plot_confusion,
    plot_reliability,
    plot_robustness,
    plot_roc,
    robustness_columns,
)
from dfa_instruct.bench.results import HeldOut, Results, TaskFigures
from dfa_instruct.bench.rows import pictures_of
from dfa_instruct.bench.scores import forged_probabilities, has_both
from dfa_instruct.bench.tasks.questions import TASKS
from dfa_instruct.vocabulary import BenchTask

MOST_ERRORS: Final = 6
"""The number of errors of each task that the report shows."""
WORDING_NAMES: Final = {"templates": "in the templates' words", "paraphrases": "in other words"}


def metrics_table(results: Mapping[str, Any]) -> str:
    """Return a table of a model's figures and its baselines, in percent.

    Args:
        results: The results of a bench, of a probe or of a quickstart.
    """
    baselines = {name.replace("_", " "): figures for name, figures in results.get("baselines", {}).items()}
    return _figures_table({"the model": results["tasks"], **baselines})


def _figures_table(rows: Mapping[str, TaskFigures]) -> str:
    """Return a table with one line for each row; the first row determines the columns."""
    columns = [(task, metric) for task, figures in next(iter(rows.values())).items() for metric in figures]
    headings = [f"{BenchTask(task).abbreviation} {metric.upper().replace('_', '-')}" for task, metric in columns]
    lines: list[list[Cell]] = [
        [name, *(row.get(task, {}).get(metric) for task, metric in columns)] for name, row in rows.items()
    ]
    return markdown_table(["", *headings], lines)


def answers_table(answers: Mapping[str, Figures]) -> str:
    """Return a table of how the questions were answered, in percent; empty if all were answered at once."""
    columns = {
        "asked_again": "asked again for one word",
        "unread": "unread",
        "thought": "after a thought",
        "cut": "cut off",
        "empty": "empty",
    }
    if not any(shares[column] for shares in answers.values() for column in columns):
        return ""
    rows: list[list[Cell]] = [
        [BenchTask(task).abbreviation, *(shares[name] for name in columns)] for task, shares in answers.items()
    ]
    return markdown_table(["answers", *columns.values()], rows)


def conversation_table(figures: Mapping[str, Figures]) -> str:
    """Return a table of the figures of DFA-Bench's conversations, in percent."""
    columns = ["right_kind", "contradictions", "region_precision", "region_recall", "false_claims", "repeated"]
    rows: list[list[Cell]] = [
        [WORDING_NAMES.get(name, name.replace("_", " ")), *(of_row[column] for column in columns)]
        for name, of_row in figures.items()
    ]
    return markdown_table(["", *(column.replace("_", " ") for column in columns)], rows)


def generalisation_table(found: Mapping[str, HeldOut]) -> str:
    """Return a table of the figures of seen and unseen techniques and sources, in percent."""
    rows: dict[str, TaskFigures] = {}
    for column, held_out in found.items():
        if "seen" in held_out:
            rows[f"seen {column}"] = held_out["seen"]
        if "unseen" in held_out:
            rows[f"unseen {column}"] = held_out["unseen"]
    unseen = [f"Unseen {column}: {', '.join(of['held_out'])} ({of['images']} images)." for column, of in found.items()]
    return f"{_figures_table(rows)}\n\n{' '.join(unseen)}"


def robustness_table(figures: Mapping[str, TaskFigures]) -> str:
    """Return a table of the figures of perturbed images, in percent."""
    columns = robustness_columns(figures)
    return markdown_table(["perturbation", *columns], zip(figures, *columns.values(), strict=True))


def regions_table(figures: Mapping[str, Figures]) -> str:
    """Return a table of the figures of the questions about each region, in percent."""
    columns = ["acc", "majority", "balanced_acc", "invalid"]
    rows: list[list[Cell]] = [[name, *(of_row[column] for column in columns)] for name, of_row in figures.items()]
    return markdown_table(["region", *(column.replace("_", " ") for column in columns)], rows)


def localisation_table(figures: Mapping[str, Figures]) -> str:
    """Return a table of the figures of a map of changed pixels and of its baselines; all but the faces in percent."""
    rows: list[list[Cell]] = [
        [name.replace("_", " "), f"{of_row['faces']:.0f}", of_row["pixel_auc"], of_row["iou"], of_row["pointing"]]
        for name, of_row in figures.items()
    ]
    return markdown_table(["", "faces", "pixel AUC", "IoU", "pointing"], rows)


def summary(results: Results) -> list[str]:
    """Return the results as sections of Markdown, the warnings first."""
    sections = []
    if results["warnings"]:
        sections.append("\n".join(f"- **{sentence}**" for sentence in results["warnings"]))
    sections.append(metrics_table(results))
    if answers := answers_table(results["answers"]):
        sections.append(answers)
    if "baselines" not in results:
        dfd, _, _, dfc, _ = majority(results["counts"])
        sections.append(f"Always the most frequent answer would give DF-D ACC {dfd:.2f} and DF-C ACC {dfc:.2f}.")
    if "probabilities" in results["scores"]:
        ranking = {name: results["scores"]["probabilities"][name] for name in ("auc", "eer")}
        sections.append(_sentence("Probabilities of DF-D", ranking))
    if "sensitivity" in results:
        sections.append(_sentence("Asked in another form", results["sensitivity"]))
    if "videos" in results["scores"]:
        sections.append(_sentence(f"{results['counts']['videos']} videos", results["scores"]["videos"]))
    if "consistency" in results["scores"]:
        sections.append(_sentence("Contradictions", results["scores"]["consistency"]))
    if "generalisation" in results:
        sections.append(generalisation_table(results["generalisation"]))
    if "robustness" in results:
        sections.append(robustness_table(results["robustness"]))
    if "regions" in results:
        sections.append(regions_table(results["regions"]))
    if "localisation" in results:
        sections.append(localisation_table(results["localisation"]))
    if "conversation" in results:
        sections.append(conversation_table(results["conversation"]))
    return sections


def _sentence(title: str, figures: Figures) -> str:
    listed = (f"{name.replace('_', ' ')} {value:.2f}" for name, value in figures.items() if value is not None)
    return f"{title} (percent): {', '.join(listed)}."


def write_report(results: Results, data: Path | None, output: Path) -> None:
    """Write `report.md` and its images (`images/`) into a bench's output folder.

    Raises:
        ValueError: The dataset lacks a face of the results.
    """
    errors = worst_errors(results["predictions"])
    images = output / "images"
    images.mkdir(parents=True, exist_ok=True)
    shown = {p["face_id"] for group in errors.values() for p in group}
    for face_id, picture in pictures_of(shown, data).items():
        (images / f"{face_id}.png").write_bytes(picture)
    counts = results["counts"]
    sections = [
        f"# DFA-Bench of {results['model']}",
        f"{counts['images']} test faces, {counts['forged']} of them forged; {counts['questions']} questions. All "
        "figures are in percent.",
        *summary(results),
        f"## Plots\n\n{_plots(results, images)}",
        *(
            f"## Scores: {name}\n\n{markdown_table(['', 'percent'], [[*row] for row in figures.items()])}"
            for name, figures in results["scores"].items()
        ),
        *(f"## Worst errors of {t.abbreviation}\n\n{_errors_table(group)}" for t, group in errors.items() if group),
    ]
    (output / "report.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def worst_errors(predictions: Sequence[Prediction]) -> dict[BenchTask, list[Prediction]]:
    """Return the errors of each task that the report shows.

    For DF-D these are the errors with the highest probability, if it is known; for AD the descriptions with the lowest
    ROUGE-L; for DF-C and DF-T the first errors.
    """

    def certainty(p: Prediction) -> float:
        labels, probabilities = forged_probabilities([p])
        return float(abs(labels[0] - probabilities[0])) if len(labels) else 0.0

    found: dict[BenchTask, list[Prediction]] = {}
    for task, group in by_task(predictions).items():
        if task == BenchTask.AD:
            found[task] = sorted(group, key=lambda p: p["rouge_l"])[:MOST_ERRORS]
        else:
            wrong = [p for p in group if p["predicted"] != p[TASKS[task].truth]]
            found[task] = sorted(wrong, key=certainty, reverse=True)[:MOST_ERRORS]
    return found


def _plots(results: Results, images: Path) -> str:
    """Draw the plots that these results allow, and return links to them."""
    predictions, links = results["predictions"], []
    if {BenchTask.DF_D, BenchTask.DF_C} & by_task(predictions).keys():
        plot_confusion(predictions, images / "confusion.png")
        links.append("![Confusion matrices](images/confusion.png)")
    if has_both(forged_probabilities(predictions)[0]):
        plot_roc(predictions, images / "roc.png")
        links.append("![ROC of DF-D](images/roc.png)")
        plot_reliability(predictions, images / "reliability.png")
        links.append("![Reliability of DF-D's probabilities](images/reliability.png)")
    if "robustness" in results:
        plot_robustness(results["robustness"], images / "robustness.png")
        links.append("![Figures of perturbed images](images/robustness.png)")
    return "\n\n".join(links) or "There is nothing to plot for these tasks."


def _errors_table(errors: Sequence[Prediction]) -> str:
    rows = []
    for p in errors:
        answer = p["answer"] if p.get("one_word") is None else f"{p['answer']}\n(asked again:) {p['one_word']}"
        truth = p["reference"] if p["technique"] is None else f"{p['reference']} ({p['technique']})"
        image = f"![{p['face_id']}](images/{p['face_id']}.png)"
        rows.append([image, *map(_escaped, (p["question"], answer, truth))])
    return markdown_table(["face", "question", "answer", "truth"], rows, align="---")


def _escaped(text: str) -> str:
    """Escape what would break a table's cell; a model may answer anything."""
    for mark, instead in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("\n", "<br>")):
        text = text.replace(mark, instead)
    return text
