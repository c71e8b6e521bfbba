"""The paper's three tables, with the paper's figures and ours side by side, as Markdown or LaTeX."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml

from dfa_instruct.bench.report.markdown_table import markdown_table
from dfa_instruct.vlm.load import SERVER_PREFIX
from dfa_instruct.vocabulary import CATEGORIES, BenchTask

COLUMNS: Final[tuple[tuple[str, BenchTask, str], ...]] = (
    ("DF-D ACC", BenchTask.DF_D, "acc"),
    ("DF-D ERR", BenchTask.DF_D, "err"),
    ("DF-D ACER", BenchTask.DF_D, "acer"),
    ("DF-C ACC", BenchTask.DF_C, "acc"),
    ("AD ROUGE-L", BenchTask.AD, "rouge_l"),
)
"""The heading, task and figure of each column, in the order of the paper's tables."""
ERRORS: Final = ("err", "acer")
"""The figures of which the lowest is the best."""
NOT_RUN: Final = "not run"
NO_FIGURE: Final = "–"

Columns = Sequence[float | None]
"""One figure for each column."""


@dataclass(frozen=True)
class Result:
    """The results of one bench for a row of a table; `asked_again` is the share of such answers of each task."""

    row: str
    model: str
    figures: Columns
    counts: Mapping[str, int]
    asked_again: Mapping[str, float]


@dataclass(frozen=True)
class Table:
    """One of the paper's tables; its rows hold a name, the paper's figures and ours (None if there are none)."""

    caption: str
    first: str
    rows: list[tuple[str, Columns | None, Columns | None]]
    notes: list[str]


@cache
def paper() -> dict[str, Any]:
    """Return the content of `paper.yaml`, the figures of the paper's tables."""
    return yaml.safe_load((files("dfa_instruct.bench.report") / "paper.yaml").read_text(encoding="utf-8"))


def read_result(argument: str) -> Result:
    """Read the results that an argument `[ROW=]PATH` names, where PATH is a `results.json` or its folder.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file was not written by a bench.
    """
    row, separator, path = argument.partition("=")
    if not separator or Path(argument).exists():
        row, path = "", argument
    file = Path(path) / "results.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file (expected an output folder of bench or probe)")
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        tasks = results["tasks"]
        figures = tuple(tasks.get(task, {}).get(figure) for _, task, figure in COLUMNS)
        counts = results["counts"].get("bench", results["counts"])  # a quickstart also counts what it built
        asked_again = {task: shares["asked_again"] for task, shares in results.get("answers", {}).items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{file}: not the results of a bench: {error!r}") from error
    model = results.get("model") or file.parent.name
    row = row or paper()["models"].get(model.removeprefix(SERVER_PREFIX), model)
    if weights := results.get("weights"):
        model = f"{model} of {weights / 1e6:.1f} M weights"
    return Result(row, model, figures, counts, asked_again)


def paper_table(number: int, results: Sequence[Result]) -> Table:
    """Compare results with the paper's figures.

    Several results for one row, such as those of several seeds, give the worst of each figure. Results that fit no row
    of the paper get rows of their own, as do the constant answers that fit the test faces best.
    """
    printed = paper()["tables"][number]
    runs: dict[str, list[Result]] = {name: [] for name in printed["rows"]}
    for result in results:
        runs.setdefault(result.row, []).append(result)
    rows: list[tuple[str, Columns | None, Columns | None]] = []
    for name, group in runs.items():
        label = f"{name} (worst of {len(group)})" if len(group) > 1 else name
        rows.append((label, printed["rows"].get(name), worst([run.figures for run in group]) if group else None))
    for counts in {json.dumps(dict(result.counts), sort_keys=True): result.counts for result in results}.values():
        rows.append((f"always the most frequent answer ({counts['images']} faces)", None, majority(counts)))
    notes = [
        f"Paper: {printed['place']} of {paper()['source']}. Percent.",
        "Ours is measured on other faces than the paper's test set, which was not published: a difference between the "
        "two is no comparison of models.",
        *printed["notes"],
        *dict.fromkeys(_note(name, run) for name, group in runs.items() for run in group),
    ]
    return Table(printed["caption"], printed["first"], rows, notes)


def _note(name: str, run: Result) -> str:
    """Return the note that says what a row was measured on."""
    counts = run.counts
    faces = f"{counts.get('images', 0)} test faces, {counts.get('forged', 0)} of them forged"
    shares = [f"{BenchTask(task).abbreviation} {share:.2f} %" for task, share in run.asked_again.items() if share]
    asked_again = f"; asked again for one word: {', '.join(shares)}" if shares else ""
    return f"{name}: {run.model}, {faces}{asked_again}."


def worst(runs: Sequence[Columns]) -> Columns:
    """Return the worst of each figure over several runs; None if a run lacks it."""
    picked: list[float | None] = []
    for (_, _, figure), values in zip(COLUMNS, zip(*runs, strict=True), strict=True):
        known = [value for value in values if value is not None]
        complete = len(known) == len(values)
        picked.append((max if figure in ERRORS else min)(known) if complete else None)
    return picked


def majority(counts: Mapping[str, int]) -> Columns:
    """Return the figures of the constant answers that fit these test faces best; there is none for a description."""
    images = counts["images"]
    label = 100 * max(counts["forged"], images - counts["forged"]) / images
    category = 100 * max(counts[name] for name in CATEGORIES) / images
    one_label = counts["forged"] in (0, images)
    return [label, 100 - label, None if one_label else 50.0, category, None]


def _cells(printed: Columns | None, ours: Columns | None) -> list[str]:
    """Return the cells of a row: the paper's figure and ours for each column."""
    cells = []
    for i in range(len(COLUMNS)):
        expected = printed[i] if printed else None
        measured = ours[i] if ours else None
        missing = NO_FIGURE if expected is None else NOT_RUN
        cells += [
            NO_FIGURE if expected is None else f"{expected:.2f}",
            missing if measured is None else f"{measured:.2f}",
        ]
    return cells


def markdown(table: Table) -> str:
    """Write a table as Markdown, with its notes below."""
    headings = [f"{heading}, {whose}" for heading, _, _ in COLUMNS for whose in ("paper", "ours")]
    rows = [[name, *_cells(printed, ours)] for name, printed, ours in table.rows]
    notes = "\n".join(f"- {note}" for note in table.notes)
    return f"**{table.caption}**\n\n{markdown_table([table.first, *headings], rows)}\n\n{notes}"


_SPECIAL: Final = str.maketrans(
    {**{c: f"\\{c}" for c in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}", "–": "--"}
)


def latex(table: Table) -> str:
    """Write a table as LaTeX for the package `booktabs`, with its notes in the caption."""

    def cell(text: str) -> str:
        return rf"\emph{{{text}}}" if text == NOT_RUN else text.translate(_SPECIAL)

    groups = " & ".join(rf"\multicolumn{{2}}{{c}}{{{heading}}}" for heading, _, _ in COLUMNS)
    body = [
        " & ".join([name.translate(_SPECIAL), *map(cell, _cells(printed, ours))]) + r" \\"
        for name, printed, ours in table.rows
    ]
    caption = f"{table.caption}. {' '.join(table.notes)}".translate(_SPECIAL)
    return "\n".join(
        [
            r"\begin{table*}",
            rf"\caption{{{caption}}}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'rr' * len(COLUMNS)}}}",
            r"\toprule",
            rf" & {groups} \\",
            f"{table.first}{' & paper & ours' * len(COLUMNS)} " + r"\\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
        ]
    )
