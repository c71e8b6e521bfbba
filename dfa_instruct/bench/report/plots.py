"""The plots of a bench: confusion matrices, ROC, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfa_instruct.bench.metrics import Prediction
from dfa_instruct.bench.scores import BINS, forged_probabilities
from dfa_instruct.vocabulary import CATEGORIES, BenchTask

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOTS_PER_INCH: Final = 110
LABELS: Final = {"bona_fide": "bona fide", "forged": "forged"}


def plot_confusion(predictions: Sequence[Prediction], target: Path) -> None:
    """Draw the confusion matrices of DF-D and DF-C, of those that were asked."""
    from matplotlib.figure import Figure

    classes = {BenchTask.DF_D: ("DF-D", "label", LABELS), BenchTask.DF_C: ("DF-C", "category", CATEGORIES)}
    asked = [known for task, known in classes.items() if any(p["task"] == task for p in predictions)]
    figure = Figure(figsize=(5.2 * len(asked), 4.2), layout="constrained")
    for axes, (title, column, names) in zip(np.atleast_1d(figure.subplots(1, len(asked))), asked, strict=True):
        of_task = [p for p in predictions if p["task"] in classes and classes[p["task"]][1] == column]
        _confusion(axes, of_task, column, names)
        axes.set_title(title)
    figure.savefig(target, dpi=DOTS_PER_INCH)


def _confusion(axes: Axes, predictions: Sequence[Prediction], column: str, names: Any) -> None:
    """Draw counts, coloured by the share of each true class; unreadable answers in a column of their own."""
    columns = [*names, None]
    counts = np.zeros((len(names), len(columns)))
    for prediction in predictions:
        counts[list(names).index(prediction[column]), columns.index(prediction["predicted"])] += 1
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, place in np.ndindex(*counts.shape):
        colour = "white" if shares[row, place] > 0.6 else "black"
        axes.text(place, row, f"{counts[row, place]:.0f}", ha="center", va="center", fontsize=8, color=colour)
    said = [name.replace(" ", "\n") for name in names.values()]
    axes.set_xticks(range(len(columns)), [*said, "unreadable"], fontsize=7)
    axes.set_yticks(range(len(said)), said, fontsize=7)
    axes.set(xlabel="answered", ylabel="true")


def plot_roc(predictions: Sequence[Prediction], target: Path) -> None:
    """Draw how many forgeries are missed (APCER) where so many bona fide faces are called forged (BPCER)."""
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_auc_score, roc_curve

    labels, probabilities = forged_probabilities(predictions)
    bpcer, found, _ = roc_curve(labels, probabilities)
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(100 * bpcer, 100 * found, label=f"AUC {100 * roc_auc_score(labels, probabilities):.1f}")
    axes.plot([0, 100], [0, 100], color="lightgray", linestyle="--", label="chance")
    axes.set(xlabel="BPCER: bona fide called forged, %", ylabel="100 - APCER: forgeries found, %", aspect="equal")
    axes.legend(loc="lower right")
    figure.savefig(target, dpi=DOTS_PER_INCH)


def plot_reliability(predictions: Sequence[Prediction], target: Path) -> None:
    """Draw how often a face is forged where it is called forged with such a probability; below, how many faces are."""
    from matplotlib.figure import Figure

    labels, probabilities = forged_probabilities(predictions)
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    said, true = (np.bincount(bins, values, BINS)[filled] / counts[filled] for values in (probabilities, labels))
    figure = Figure(figsize=(4.2, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 100], [0, 100], color="lightgray", linestyle="--")
    above.plot(100 * said, 100 * true, marker="o")
    above.set(ylabel="of these forged, %", ylim=(-3, 103))
    below.bar((np.arange(BINS) + 0.5) * 100 / BINS, counts, width=90 / BINS)
    below.locator_params(axis="y", nbins=3, integer=True)
    below.set(xlabel="said probability of a forgery, %", ylabel="faces", xlim=(-3, 103))
    figure.savefig(target, dpi=DOTS_PER_INCH)
