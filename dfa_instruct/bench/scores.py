"""Figures beyond the paper's, all times 100: how well a model's probabilities rank and are calibrated, which techniques
deceive it, and how far its figures would be off with other people in the pictures.

A metric is a function from the predictions of all tasks to figures; it returns none where it finds nothing to measure.
One of another package joins by the entry-point group `dfa_instruct.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.bench.habits import of_consistency, of_habits
from dfa_instruct.bench.metrics import Prediction, percent
from dfa_instruct.plugins import load_plugin
from dfa_instruct.vocabulary import CATEGORIES, BenchTask

Metric = Callable[[Sequence[Prediction]], dict[str, float]]
"""NaN: no row can tell."""
ENTRY_POINTS: Final = "dfa_instruct.metrics"
BINS: Final = 10
"""Of equal width, in which ECE compares probabilities with what came true."""
DRAWS: Final = 1000
Weights = NDArray[np.float64]


def forged_probabilities(predictions: Sequence[Prediction]) -> tuple[NDArray[np.bool_], Weights]:
    """Return whether each face is forged, and the probability of a yes among yes and no as DF-D's first token.

    Faces of which no first token was kept are left out.
    """
    kept = [p for p in predictions if p["task"] == BenchTask.DF_D and p.get("first_token")]
    logits = [p["first_token"]["Yes"] - p["first_token"]["No"] for p in kept]
    return np.array([p["label"] == "forged" for p in kept], bool), 1 / (1 + np.exp(-np.array(logits, float)))


def eer(labels: NDArray[np.bool_], probabilities: Weights) -> float:
    """Return the error rate where APCER equals BPCER, on straight lines between the thresholds."""
    from sklearn.metrics import roc_curve

    bpcer, found, _ = roc_curve(labels, probabilities)
    above = bpcer - (1 - found)  # from -1 to 1, never falling
    return 100 * float(np.interp(0, above, bpcer))


def apcer_at(labels: NDArray[np.bool_], probabilities: Weights, bpcer: float) -> float:
    """Return the least APCER of all thresholds whose BPCER is at most this one (a share)."""
    from sklearn.metrics import roc_curve

    reached, found, _ = roc_curve(labels, probabilities, drop_intermediate=False)
    return 100 * (1 - float(found[reached <= bpcer].max()))


def ece(labels: NDArray[np.bool_], probabilities: Weights) -> float:
    """Return the expected calibration error: the mean distance of what came true from what was said, by bins."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    off = np.bincount(bins, probabilities - labels, BINS)
    return 100 * float(np.abs(off).sum()) / len(labels)


def of_probabilities(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Score the probabilities of DF-D.

    Returns:
        `auc`, `eer`, `apcer_at_bpcer_1` and `_5` (percent of bona fide faces), `ece`, `brier`, and `said`, the mean
        probability of any yes or no as the first token: where it is low, the other figures say little.
    """
    from sklearn.metrics import brier_score_loss, roc_auc_score

    labels, probabilities = forged_probabilities(predictions)
    if not len(labels):
        return {}
    said = _said(predictions, BenchTask.DF_D)
    both = labels.any() and not labels.all()
    nan = float("nan")
    return {
        "auc": 100 * float(roc_auc_score(labels, probabilities)) if both else nan,
        "eer": eer(labels, probabilities) if both else nan,
        "apcer_at_bpcer_1": apcer_at(labels, probabilities, 0.01) if both else nan,
        "apcer_at_bpcer_5": apcer_at(labels, probabilities, 0.05) if both else nan,
        "ece": ece(labels, probabilities),
        "brier": 100 * float(brier_score_loss(labels, probabilities, pos_label=True)),
        "said": 100 * float(np.mean(said)),
    }


def _said(predictions: Sequence[Prediction], task: BenchTask) -> list[float]:
    """Return how likely each answer to a task begins with any of its choices."""
    kept = [p["first_token"] for p in predictions if p["task"] == task and p.get("first_token")]
    return [float(np.exp([*first.values()]).sum()) for first in kept]


def of_options(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Score the probabilities of DF-C's letters as the first token, as those of DF-D are.

    Returns:
        `auc` of all options but bona fide among the options, `acc` of the likeliest option, and `said`, the mean
        probability of any letter: where it is low, as of a model that answers in sentences, these say little.
    """
    from sklearn.metrics import roc_auc_score

    kept = [p for p in predictions if p["task"] == BenchTask.DF_C and p.get("first_token")]
    if not kept:
        return {}
    labels = np.array([p["label"] == "forged" for p in kept])
    weights = np.exp([[p["first_token"][name] for name in CATEGORIES.values()] for p in kept])
    bona_fide = weights[:, list(CATEGORIES).index("bona_fide")] / weights.sum(1)
    likeliest = [list(CATEGORIES)[place] for place in weights.argmax(1)]
    return {
        "auc": 100 * float(roc_auc_score(labels, -bona_fide)) if labels.any() and not labels.all() else float("nan"),
        "acc": percent([name == p["category"] for name, p in zip(likeliest, kept, strict=True)]),
        "said": 100 * float(np.mean(_said(predictions, BenchTask.DF_C))),
    }


def of_techniques(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return APCER of each technique's faces in DF-D, their mean (`macro`) and the highest (`worst`)."""
    forged = [p for p in predictions if p["task"] == BenchTask.DF_D and p["label"] == "forged"]
    apcer = {
        name: percent([p["predicted"] != "forged" for p in forged if (p["technique"] or "unknown") == name])
        for name in sorted({p["technique"] or "unknown" for p in forged})
    }
    if not apcer:
        return {}
    return {**apcer, "macro": float(np.mean([*apcer.values()])), "worst": max(apcer.values())}


def interval(statistic: Callable[[Weights], float], people: NDArray[Any]) -> tuple[float, float]:
    """Return a statistic's 95 % interval by the bootstrap, people drawn with replacement.

    Args:
        statistic: of the rows' weights, which say how often the person of each was drawn; NaN where it has no value.
        people: whom each row shows, shape (rows,).
    """
    names, person = np.unique(people, return_inverse=True)
    rng = np.random.default_rng(0)
    even = np.full(len(names), 1 / len(names))
    drawn = np.array([statistic(rng.multinomial(len(names), even)[person].astype(float)) for _ in range(DRAWS)])
    if len(names) < 2 or np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def people_of(predictions: Sequence[Prediction]) -> NDArray[Any]:
    """Return whom each row shows: the first of its identities, of a swap the target; a face without any itself."""
    return np.array([(p["identities"] or [p["face_id"]])[0] for p in predictions])


def _share(hits: NDArray[np.bool_], weights: Weights) -> float:
    return 100 * float(weights[hits].sum() / weights.sum()) if weights.sum() else float("nan")


def by_video(rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> tuple[NDArray[np.bool_], list[list[float]]]:
    """Bring the values of the rows that are frames of a video together: what was made from a video is one of its own.

    Args:
        rows: with `video`, `technique` and `label`.
        values: one a row.

    Returns:
        Of each video whether it is forged, and the values of its frames.
    """
    videos: dict[tuple[str, str | None], tuple[bool, list[float]]] = {}
    for row, value in zip(rows, values, strict=True):
        if row.get("video"):
            name = row["video"], row["technique"]
            videos.setdefault(name, (row["label"] == "forged", []))[1].append(value)
    return np.array([forged for forged, _ in videos.values()], bool), [of_one for _, of_one in videos.values()]


def of_videos(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Score whole videos by the mean probability of their frames in DF-D.

    Returns:
        `auc`; `balanced_acc`, where a video counts as forged from a mean of a half on; none where no row is of a video.
    """
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    frames = [p for p in predictions if p["task"] == BenchTask.DF_D and p.get("first_token")]
    labels, of_each = by_video(frames, forged_probabilities(frames)[1].tolist())
    if not len(labels):
        return {}
    if labels.all() or not labels.any():
        return {"auc": float("nan"), "balanced_acc": float("nan")}
    means = np.array([float(np.mean(of_one)) for of_one in of_each])
    return {
        "auc": 100 * float(roc_auc_score(labels, means)),
        "balanced_acc": 100 * float(balanced_accuracy_score(labels, means >= 0.5)),
    }


def of_draws(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the 95 % intervals of the paper's figures and of AUC, as `<task>_<figure>_low` and `_high`."""
    from sklearn.metrics import roc_auc_score

    statistics: dict[str, tuple[list[Prediction], Callable[[Weights], float]]] = {}

    def of(task: BenchTask) -> list[Prediction]:
        return [p for p in predictions if p["task"] == task]

    if asked := of(BenchTask.DF_D):
        forged = np.array([p["label"] == "forged" for p in asked])
        right = np.array([p["predicted"] == p["label"] for p in asked])
        statistics["dfd_acc"] = asked, lambda w: _share(right, w)
        statistics["dfd_acer"] = (
            asked,
            lambda w: (_share(~right[forged], w[forged]) + _share(~right[~forged], w[~forged])) / 2,
        )
    labels, probabilities = forged_probabilities(predictions)
    if len(labels):

        def auc(w: Weights) -> float:
            one = not w[labels].any() or not w[~labels].any()
            return float("nan") if one else 100 * float(roc_auc_score(labels, probabilities, sample_weight=w))

        statistics["dfd_auc"] = [p for p in asked if p.get("first_token")], auc
    if classes := of(BenchTask.DF_C):
        named = np.array([p["predicted"] == p["category"] for p in classes])
        statistics["dfc_acc"] = classes, lambda w: _share(named, w)
    if texts := of(BenchTask.AD):
        likeness = np.array([p["rouge_l"] for p in texts])
        statistics["ad_rouge_l"] = texts, lambda w: float(np.average(likeness, weights=w))
    figures: dict[str, float] = {}
    for name, (rows, statistic) in statistics.items():
        figures[f"{name}_low"], figures[f"{name}_high"] = interval(statistic, people_of(rows))
    return figures


METRICS: Final[dict[str, Metric]] = {
    "probabilities": of_probabilities,
    "options": of_options,
    "videos": of_videos,
    "techniques": of_techniques,
    "intervals": of_draws,
    "habits": of_habits,
    "consistency": of_consistency,
}
"""Name, as it stands in `scores` of the results → ours."""


def all_metrics() -> dict[str, Metric]:
    """Return our metrics, and load those of installed plug-ins.

    Raises:
        ValueError: one does not load.
    """
    theirs = sorted(entry_points(group=ENTRY_POINTS).names - METRICS.keys())
    return METRICS | {name: load_plugin(ENTRY_POINTS, "metric", name, METRICS) for name in theirs}
