"""The plots of a bench: confusion matrices, ROC, reliability, robustness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfa_instruct.bench.metrics import Prediction, by_task
from dfa_instruct.bench.results import TaskFigures
from dfa_instruct.bench.scores import BINS, forged_probabilities
from dfa_instruct.vocabulary import CATEGORIES, BenchTask

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOTS_PER_INCH: Final = 110
LABELS: Final = {"bona_fide": "bona fide", "forged": "forged"}
ROBUSTNESS_COLUMNS: Final[dict[str, tuple[BenchTask, str]]] = {
    "DF-D ACC": (BenchTask.DF_D, "acc"),
    "DF-D ACER": (BenchTask.DF_D, "acer"),
    "DF-D AUC": (BenchTask.DF_D, "auc"),
    "DF-C ACC": (BenchTask.DF_C, "acc"),
    "AD ROUGE-L": (BenchTask.AD, "rouge_l"),
}
"""Heading → task and figure in percent."""


def plot_confusion(predictions: Sequence[Prediction], target: Path) -> None:
    """Draw the confusion matrices of DF-D and DF-C, as far as these were asked."""
    from matplotlib.figure import Figure

    classes: dict[BenchTask, tuple[str, Mapping[Any, str]]] = {
        BenchTask.DF_D: ("label", LABELS),
        BenchTask.DF_C: ("category", CATEGORIES),
    }
    groups = {task: group for task, group in by_task(predictions).items() if task in classes}
    figure = Figure(figsize=(5.2 * len(groups), 4.2), layout="constrained")
    for axes, (task, group) in zip(np.atleast_1d(figure.subplots(1, len(groups))), groups.items(), strict=True):
        _confusion(axes, group, *classes[task])
        axes.set_title(task.abbreviation)
    figure.savefig(target, dpi=DOTS_PER_INCH)


def _confusion(axes: Axes, predictions: Sequence[Prediction], truth: str, names: Mapping[Any, str]) -> None:
    """Draw counts, coloured by the share of each true class, with a column for unreadable answers."""
    columns = [*names, None]
    counts = np.zeros((len(names), len(columns)))
    for prediction in predictions:
        counts[list(names).index(prediction[truth]), columns.index(prediction["predicted"])] += 1
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        colour = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=8, color=colour)
    ticks = [name.replace(" ", "\n") for name in names.values()]
    axes.set_xticks(range(len(columns)), [*ticks, "unreadable"], fontsize=7)
    axes.set_yticks(range(len(ticks)), ticks, fontsize=7)
    axes.set(xlabel="answered", ylabel="true")


def plot_roc(predictions: Sequence[Prediction], target: Path) -> None:
    """Draw the ROC curve of DF-D: the share of forgeries detected (100 - APCER) against BPCER."""
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_auc_score, roc_curve

    labels, probabilities = forged_probabilities(predictions)
    bpcer, detected, _ = roc_curve(labels, probabilities)
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(100 * bpcer, 100 * detected, label=f"AUC {100 * roc_auc_score(labels, probabilities):.1f}")
    axes.plot([0, 100], [0, 100], color="lightgray", linestyle="--", label="chance")
    axes.set(xlabel="BPCER: bona fide called forged, %", ylabel="100 - APCER: forgeries detected, %", aspect="equal")
    axes.legend(loc="lower right")
    figure.savefig(target, dpi=DOTS_PER_INCH)


def plot_reliability(predictions: Sequence[Prediction], target: Path) -> None:
    """Draw the share of forged faces against the predicted probability, and the number of faces in each bin."""
    from matplotlib.figure import Figure

    labels, probabilities = forged_probabilities(predictions)
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    predicted, true = (np.bincount(bins, values, BINS)[filled] / counts[filled] for values in (probabilities, labels))
    figure = Figure(figsize=(4.2, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 100], [0, 100], color="lightgray", linestyle="--")
    above.plot(100 * predicted, 100 * true, marker="o")
    above.set(ylabel="forged faces, %", ylim=(-3, 103))
    below.bar((np.arange(BINS) + 0.5) * 100 / BINS, counts, width=90 / BINS)
    below.locator_params(axis="y", nbins=3, integer=True)
    below.set(xlabel="predicted probability of a forgery, %", ylabel="faces", xlim=(-3, 103))
    figure.savefig(target, dpi=DOTS_PER_INCH)


def robustness_columns(figures: Mapping[str, TaskFigures]) -> dict[str, list[float | None]]:
    """Return heading → a figure for each perturbation, without columns that hold no figure at all."""
    columns = {
        heading: [by_task.get(task, {}).get(name) for by_task in figures.values()]
        for heading, (task, name) in ROBUSTNESS_COLUMNS.items()
    }
    return {heading: values for heading, values in columns.items() if any(v is not None for v in values)}


def plot_robustness(figures: Mapping[str, TaskFigures], target: Path) -> None:
    """Draw one line for each figure over the perturbations; a dotted line marks the unperturbed images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.5, 0.8 * len(figures) + 2), 3.4), layout="constrained")
    axes = figure.subplots()
    for heading, values in robustness_columns(figures).items():
        (line,) = axes.plot(range(len(figures)), [np.nan if v is None else v for v in values], "o-", label=heading)
        if values[0] is not None:
            axes.axhline(values[0], color=line.get_color(), linestyle=":", linewidth=0.8)
    axes.set_xticks(range(len(figures)), list(figures), rotation=30, ha="right")
    axes.set(ylabel="percent", ylim=(0, 100), title="Robustness (ACER: lower is better)")
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(target, dpi=DOTS_PER_INCH, metadata={"Software": None})
