"""The figures of DFA-Bench as tables."""

from __future__ import annotations

from typing import Any, Final

from dfa_instruct.vocabulary import BenchTask

TASKS: Final = {BenchTask.DF_D: "DF-D", BenchTask.DF_C: "DF-C", BenchTask.AD: "AD", BenchTask.DF_T: "DF-T"}
WORDINGS: Final = {"templates": "in the templates' words", "paraphrases": "in other words"}


def metrics_table(results: dict[str, Any]) -> str:
    """Lay the model's figures and its baselines' out as a Markdown table, in percent."""
    rows = {"the model": results["tasks"]}
    rows |= {name.replace("_", " "): figures for name, figures in results.get("baselines", {}).items()}
    columns = [(task, metric) for task, figures in results["tasks"].items() for metric in figures]
    lines = [
        "| | " + " | ".join(f"{TASKS[task]} {metric.upper().replace('_', '-')}" for task, metric in columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for name, figures in rows.items():
        values = (figures.get(task, {}).get(metric) for task, metric in columns)
        lines.append(f"| {name} | " + " | ".join("" if v is None else f"{v:.2f}" for v in values) + " |")
    return "\n".join(lines)


def conversation_table(measured: dict[str, dict[str, float]]) -> str:
    """Lay the figures of DFA-Bench's conversations out as a Markdown table, in percent."""
    columns = ["right_kind", "contradictions", "region_precision", "region_recall", "false_claims", "repeated"]
    rows = ["| | " + " | ".join(column.replace("_", " ") for column in columns) + " |"]
    rows.append("| --- |" + " ---: |" * len(columns))
    for name, figures in measured.items():
        values = " | ".join(f"{figures[column]:.2f}" for column in columns)
        rows.append(f"| {WORDINGS.get(name, name.replace('_', ' '))} | {values} |")
    return "\n".join(rows)
