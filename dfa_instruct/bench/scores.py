"""Metrics beyond the paper's: ranking and calibration of probabilities, techniques, videos, confidence intervals.

All figures are multiplied by 100. A metric is a function from the predictions of all tasks to figures. It returns no
figures if it finds nothing to measure, and NaN for a figure that no row can determine. Another package can add a metric
by the entry-point group `dfa_instruct.metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.bench.habits import consistency_scores, habit_scores
from dfa_instruct.bench.metrics import Prediction, by_task, percent
from dfa_instruct.plugins import load_plugin
from dfa_instruct.vocabulary import CATEGORIES, BenchTask

Metric = Callable[[Sequence[Prediction]], dict[str, float]]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ENTRY_POINTS: Final = "dfa_instruct.metrics"
BINS: Final = 10
"""The number of bins of equal width in which ECE compares probabilities with frequencies."""
RESAMPLES: Final = 1000


def with_first_token(predictions: Sequence[Prediction], task: BenchTask) -> list[Prediction]:
    """Return a task's predictions for which the probabilities of the first token are known."""
    return [p for p in predictions if p["task"] == task and p.get("first_token")]


def forged_probabilities(predictions: Sequence[Prediction]) -> tuple[Bools, Floats]:
    """Return the labels (forged or not) and P(Yes) / (P(Yes) + P(No)) for faces whose first token in DF-D is known."""
    known = with_first_token(predictions, BenchTask.DF_D)
    logits = [p["first_token"]["Yes"] - p["first_token"]["No"] for p in known]
    return np.array([p["label"] == "forged" for p in known], bool), 1 / (1 + np.exp(-np.array(logits, float)))


def has_both(labels: Bools) -> bool:
    """Return whether there are both forged and bona fide faces."""
    return bool(labels.any() and not labels.all())


def eer(labels: Bools, probabilities: Floats) -> float:
    """Return the equal error rate, at which APCER equals BPCER, interpolated linearly between thresholds."""
    from sklearn.metrics import roc_curve

    bpcer, detected, _ = roc_curve(labels, probabilities)
    difference = bpcer - (1 - detected)  # rises from -1 to 1
    return 100 * float(np.interp(0, difference, bpcer))


def apcer_at(labels: Bools, probabilities: Floats, bpcer: float) -> float:
    """Return the lowest APCER of all thresholds whose BPCER is at most `bpcer` (from 0 to 1)."""
    from sklearn.metrics import roc_curve

    rates, detected, _ = roc_curve(labels, probabilities, drop_intermediate=False)
    return 100 * (1 - float(detected[rates <= bpcer].max()))


def ece(labels: Bools, probabilities: Floats) -> float:
    """Return the expected calibration error over bins of equal width."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    off = np.bincount(bins, probabilities - labels, BINS)
    return 100 * float(np.abs(off).sum()) / len(labels)


def probability_scores(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Score the probabilities of DF-D.

    Returns:
        `auc`, `eer`, `apcer_at_bpcer_1` and `apcer_at_bpcer_5` (at 1 % and 5 % BPCER), `ece`, `brier`, and `choice`:
        the mean probability that the answer starts with yes or no. If it is low, the other figures mean little.
    """
    from sklearn.metrics import brier_score_loss, roc_auc_score

    labels, probabilities = forged_probabilities(predictions)
    if not len(labels):
        return {}
    both = has_both(labels)
    return {
        "auc": 100 * float(roc_auc_score(labels, probabilities)) if both else math.nan,
        "eer": eer(labels, probabilities) if both else math.nan,
        "apcer_at_bpcer_1": apcer_at(labels, probabilities, 0.01) if both else math.nan,
        "apcer_at_bpcer_5": apcer_at(labels, probabilities, 0.05) if both else math.nan,
        "ece": ece(labels, probabilities),
        "brier": 100 * float(brier_score_loss(labels, probabilities, pos_label=True)),
        "choice": _mean_choice_probability(with_first_token(predictions, BenchTask.DF_D)),
    }


def _mean_choice_probability(predictions: Sequence[Prediction]) -> float:
    """Return the mean probability in percent that an answer starts with any of its choices."""
    return 100 * float(np.mean([np.exp([*p["first_token"].values()]).sum() for p in predictions]))


def option_scores(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Score the probabilities of DF-C's letters as the first token.

    Returns:
        `auc` of the forged options against bona fide, `acc` of the likeliest option, and `choice`, the mean probability
        that the answer starts with a letter. If it is low, as for a model that answers in sentences, the other figures
        mean little.
    """
    from sklearn.metrics import roc_auc_score

    known = with_first_token(predictions, BenchTask.DF_C)
    if not known:
        return {}
    labels = np.array([p["label"] == "forged" for p in known])
    weights = np.exp([[p["first_token"][name] for name in CATEGORIES.values()] for p in known])
    bona_fide = weights[:, list(CATEGORIES).index("bona_fide")] / weights.sum(1)
    likeliest = [list(CATEGORIES)[place] for place in weights.argmax(1)]
    return {
        "auc": 100 * float(roc_auc_score(labels, -bona_fide)) if has_both(labels) else math.nan,
        "acc": percent([name == p["category"] for name, p in zip(likeliest, known, strict=True)]),
        "choice": _mean_choice_probability(known),
    }


def technique_scores(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the APCER of each technique in DF-D, the mean over techniques (`macro`), and the highest (`worst`)."""
    forged = [p for p in predictions if p["task"] == BenchTask.DF_D and p["label"] == "forged"]
    apcer = {
        name: percent([p["predicted"] != "forged" for p in forged if (p["technique"] or "unknown") == name])
        for name in sorted({p["technique"] or "unknown" for p in forged})
    }
    return {**apcer, "macro": float(np.mean([*apcer.values()])), "worst": max(apcer.values())} if apcer else {}


def by_video(rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> tuple[Bools, list[list[float]]]:
    """Group the values of rows that are frames of a video; each forgery of a video counts as a video of its own.

    Args:
        rows: Rows with `video`, `technique` and `label`. Rows without a video are left out.
        values: One value for each row.

    Returns:
        For each video whether it is forged, and the values of its frames.
    """
    videos: dict[tuple[str, str | None], tuple[bool, list[float]]] = {}
    for row, value in zip(rows, values, strict=True):
        if row.get("video"):
            key = row["video"], row["technique"]
            videos.setdefault(key, (row["label"] == "forged", []))[1].append(value)
    return np.array([forged for forged, _ in videos.values()], bool), [frames for _, frames in videos.values()]


def video_scores(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Score whole videos by the mean probability of their frames in DF-D.

    Returns:
        `auc`, and `balanced_acc` at a threshold of one half; nothing if no row belongs to a video.
    """
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    frames = with_first_token(predictions, BenchTask.DF_D)
    labels, probabilities = by_video(frames, forged_probabilities(frames)[1].tolist())
    if not len(labels):
        return {}
    if not has_both(labels):
        return {"auc": math.nan, "balanced_acc": math.nan}
    means = np.array([np.mean(of_video) for of_video in probabilities])
    return {
        "auc": 100 * float(roc_auc_score(labels, means)),
        "balanced_acc": 100 * float(balanced_accuracy_score(labels, means >= 0.5)),
    }


def bootstrap_interval(statistic: Callable[[Floats], float], identities: NDArray[Any]) -> tuple[float, float]:
    """Return a statistic's 95 % interval by a bootstrap that draws identities with replacement.

    Args:
        statistic: A function of the rows' weights, that is, of how often each row's identity was drawn. It may return
            NaN.
        identities: The identity that each row shows, shape (rows,).
    """
    names, index = np.unique(identities, return_inverse=True)
    rng = np.random.default_rng(0)
    even = np.full(len(names), 1 / len(names))
    drawn = np.array([statistic(rng.multinomial(len(names), even)[index].astype(float)) for _ in range(RESAMPLES)])
    if len(names) < 2 or np.isnan(drawn).all():
        return math.nan, math.nan
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def identities_of(predictions: Sequence[Prediction]) -> NDArray[Any]:
    """Return the first identity of each row, which is the target of a swap; the face id of a row without identities."""
    return np.array([(p["identities"] or [p["face_id"]])[0] for p in predictions])


def weighted_mean(values: NDArray[Any], weights: Floats) -> float:
    """Return the weighted mean; NaN if all weights are zero."""
    return float(np.average(values, weights=weights)) if weights.sum() else math.nan


def confidence_intervals(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return 95 % intervals of the paper's figures and of AUC, as `<task>_<figure>_low` and `<task>_<figure>_high`."""
    from sklearn.metrics import roc_auc_score

    groups = by_task(predictions)
    statistics: dict[str, tuple[list[Prediction], Callable[[Floats], float]]] = {}
    if verdicts := groups.get(BenchTask.DF_D):
        forged = np.array([p["label"] == "forged" for p in verdicts])
        wrong = np.array([100.0 * (p["predicted"] != p["label"]) for p in verdicts])
        statistics["dfd_acc"] = verdicts, lambda w: weighted_mean(100 - wrong, w)
        statistics["dfd_acer"] = verdicts, lambda w: weighted_acer(forged, wrong, w)
    labels, probabilities = forged_probabilities(predictions)
    if len(labels):

        def auc(w: Floats) -> float:
            both = w[labels].any() and w[~labels].any()
            return 100 * float(roc_auc_score(labels, probabilities, sample_weight=w)) if both else math.nan

        statistics["dfd_auc"] = with_first_token(predictions, BenchTask.DF_D), auc
    if classes := groups.get(BenchTask.DF_C):
        right = np.array([100.0 * (p["predicted"] == p["category"]) for p in classes])
        statistics["dfc_acc"] = classes, lambda w: weighted_mean(right, w)
    if texts := groups.get(BenchTask.AD):
        similarity = np.array([p["rouge_l"] for p in texts])
        statistics["ad_rouge_l"] = texts, lambda w: weighted_mean(similarity, w)
    figures: dict[str, float] = {}
    for name, (rows, statistic) in statistics.items():
        figures[f"{name}_low"], figures[f"{name}_high"] = bootstrap_interval(statistic, identities_of(rows))
    return figures


def weighted_acer(forged: Bools, wrong: Floats, weights: Floats) -> float:
    """Return ACER in percent of weighted rows, from each row's error (0 or 100)."""
    rates = [weighted_mean(wrong[part], weights[part]) for part in (forged, ~forged)]
    return sum(rates) / 2


METRICS: Final[dict[str, Metric]] = {
    "probabilities": probability_scores,
    "options": option_scores,
    "videos": video_scores,
    "techniques": technique_scores,
    "intervals": confidence_intervals,
    "habits": habit_scores,
    "consistency": consistency_scores,
}
"""Key in `scores` of the results → metric."""


def all_metrics() -> dict[str, Metric]:
    """Return this package's metrics and those of installed plug-ins.

    Raises:
        ValueError: A plug-in does not load.
    """
    plug_ins = sorted(entry_points(group=ENTRY_POINTS).names - METRICS.keys())
    return METRICS | {name: load_plugin(ENTRY_POINTS, "metric", name, METRICS) for name in plug_ins}
