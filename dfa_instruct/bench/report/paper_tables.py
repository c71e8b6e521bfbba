"""The paper's three tables: its figures and ours side by side, as Markdown or LaTeX."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml

from dfa_instruct.vocabulary import CATEGORIES, BenchTask

COLUMNS: Final[tuple[tuple[str, BenchTask, str], ...]] = (
    ("DF-D ACC", BenchTask.DF_D, "acc"),
    ("DF-D ERR", BenchTask.DF_D, "err"),
    ("DF-D ACER", BenchTask.DF_D, "acer"),
    ("DF-C ACC", BenchTask.DF_C, "acc"),
    ("AD ROUGE-L", BenchTask.AD, "rouge_l"),
)
"""Heading, task and figure of each column, in the order of the paper's tables."""
ERRORS: Final = ("err", "acer")
"""The figures of which the lowest is the best."""
NOT_RUN: Final = "not run"
NONE: Final = "–"

Figures = Sequence[float | None]
"""One a column."""


@dataclass(frozen=True)
class Result:
    """What one bench gave: `row` is the row that it was asked to stand in, or its model's name, with its weights."""

    row: str
    model: str
    figures: Figures
    counts: Mapping[str, int]
    asked_again: Mapping[str, float]
    """Task → percent of its answers after which the model was asked for one word."""


@dataclass(frozen=True)
class Table:
    """One of the paper's tables: `rows` are name, the paper's figures (none: it has no such row), ours (none)."""

    caption: str
    first: str
    rows: list[tuple[str, Figures | None, Figures | None]]
    notes: list[str]


@cache
def paper() -> dict[str, Any]:
    """Return what the paper's tables hold, see `paper.yaml`."""
    return yaml.safe_load((files("dfa_instruct.bench.report") / "paper.yaml").read_text(encoding="utf-8"))


def read_result(given: str) -> Result:
    """Read a `results.json`, or the folder that it stands in; `ROW=PATH` says in which row of the table it belongs.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is not what a bench writes.
    """
    row, is_named, path = given.partition("=")
    if not is_named or Path(given).exists():
        row, path = "", given
    file = Path(path) / "results.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no results (expected what `--output` of a bench wrote)")
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        tasks = results["tasks"]
        figures = tuple(tasks.get(task, {}).get(figure) for _, task, figure in COLUMNS)
        counts = results["counts"].get("bench", results["counts"])  # a quickstart's also counts what was built
        asked_again = {task: how["asked_again"] for task, how in results.get("answers", {}).items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{file}: not the results of a bench: {error!r}") from error
    model = results.get("model") or file.parent.name
    known = paper()["models"].get(model.removeprefix("openai:"), model)
    told = f"{model} of {weights / 1e6:.1f} M weights" if (weights := results.get("weights")) else model
    return Result(row or known, told, figures, counts, asked_again)


def paper_table(number: int, results: Sequence[Result]) -> Table:
    """Set results beside the paper's figures; several of one row, of other seeds, give the worst of each figure.

    A result that no row of the paper's is meant for gets a row of its own below, and so does the constant answer that
    suits the test faces best.
    """
    printed = paper()["tables"][number]
    of_row: dict[str, list[Result]] = {name: [] for name in printed["rows"]}
    for result in results:
        of_row.setdefault(result.row, []).append(result)
    rows = [
        (_named(name, runs), printed["rows"].get(name), worst([run.figures for run in runs]) if runs else None)
        for name, runs in of_row.items()
    ]
    held = list({json.dumps(dict(result.counts), sort_keys=True): result.counts for result in results}.values())
    rows += [(f"always the most frequent answer ({counts['images']} faces)", None, majority(counts)) for counts in held]
    return Table(printed["caption"], printed["first"], rows, _notes(printed, of_row))


def _named(name: str, runs: Sequence[Result]) -> str:
    return f"{name} (worst of {len(runs)})" if len(runs) > 1 else name


def _notes(printed: Mapping[str, Any], of_row: Mapping[str, Sequence[Result]]) -> list[str]:
    told = [
        f"{name}: {run.model}, {run.counts.get('images', 0)} test faces, {run.counts.get('forged', 0)} of them forged"
        f"{_asked_again(run)}."
        for name, runs in of_row.items()
        for run in runs
    ]
    return [
        f"Paper: {printed['place']} of {paper()['source']}. Percent.",
        "Ours is measured on other faces than the paper's test set, which was not published: a difference between the "
        "two is no comparison of models.",
        *printed["notes"],
        *dict.fromkeys(told),
    ]


def _asked_again(run: Result) -> str:
    shares = [f"{BenchTask(task).abbreviation} {share:.2f} %" for task, share in run.asked_again.items() if share]
    return f"; asked again for one word: {', '.join(shares)}" if shares else ""


def worst(runs: Sequence[Figures]) -> Figures:
    """Return the worst of each figure over several runs; none where a run lacks it."""
    picked: list[float | None] = []
    for (_, _, figure), values in zip(COLUMNS, zip(*runs, strict=True), strict=True):
        known = [value for value in values if value is not None]
        of_all = len(known) == len(values)
        picked.append((max if figure in ERRORS else min)(known) if of_all else None)
    return picked


def majority(counts: Mapping[str, int]) -> Figures:
    """Return the figures of the constant answers that suit these test faces best; a text has none."""
    images = counts["images"]
    label = 100 * max(counts["forged"], images - counts["forged"]) / images
    category = 100 * max(counts[name] for name in CATEGORIES) / images
    one_label = counts["forged"] in (0, images)
    return [label, 100 - label, None if one_label else 50.0, category, None]


def _cells(of_paper: Figures | None, ours: Figures | None) -> list[str]:
    """Write the paper's figure and ours of each column; what the paper has and we have not, was not run."""
    cells = []
    for i in range(len(COLUMNS)):
        printed = of_paper[i] if of_paper else None
        measured = ours[i] if ours else None
        missing = NOT_RUN if printed is not None else NONE
        cells += [NONE if printed is None else f"{printed:.2f}", missing if measured is None else f"{measured:.2f}"]
    return cells


def markdown(table: Table) -> str:
    """Write a table as Markdown, its notes below."""
    headings = [f"{heading}, {whose}" for heading, _, _ in COLUMNS for whose in ("paper", "ours")]
    lines = [
        f"**{table.caption}**\n",
        f"| {table.first} | " + " | ".join(headings) + " |",
        "| --- |" + " ---: |" * len(headings),
        *(f"| {name} | " + " | ".join(_cells(of_paper, ours)) + " |" for name, of_paper, ours in table.rows),
        "",
        *(f"- {note}" for note in table.notes),
    ]
    return "\n".join(lines)


_SPECIAL: Final = str.maketrans(
    {**{c: f"\\{c}" for c in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}", "–": "--"}
)


def latex(table: Table) -> str:
    """Write a table as LaTeX for the package `booktabs`, its notes in the caption."""

    def cell(text: str) -> str:
        return rf"\emph{{{text}}}" if text == NOT_RUN else text.translate(_SPECIAL)

    groups = " & ".join(rf"\multicolumn{{2}}{{c}}{{{heading}}}" for heading, _, _ in COLUMNS)
    body = [
        " & ".join([name.translate(_SPECIAL), *map(cell, _cells(of_paper, ours))]) + r" \\"
        for name, of_paper, ours in table.rows
    ]
    caption = ". ".join([table.caption, " ".join(table.notes)]).translate(_SPECIAL)
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
