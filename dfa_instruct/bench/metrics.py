"""The figures of DFA-Bench, all in percent.

DF-D: ACC, ERR = 100 - ACC, and ACER = (APCER + BPCER) / 2, where APCER and BPCER are pooled and defined as in
ISO/IEC 30107-3. DF-C and DF-T: ACC. AD: ROUGE-L. An answer that could not be read (None) is never dropped: it is wrong
and counts as an error of its class. A rate over no rows is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

from dfa_instruct.vocabulary import FORGERY_CATEGORIES, BenchTask, Label

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

Prediction = dict[str, Any]
"""A question and its answer, see `dfa_instruct.bench.tasks.questions.prediction`."""
Figures = dict[str, float | None]
"""Name → figure in percent, rounded to two decimals; None if no row can determine it."""


def percent(hits: Sequence[bool]) -> float:
    """Return the share of True in percent; NaN for an empty sequence."""
    return 100 * fmean(hits) if hits else math.nan


def rounded(figures: Mapping[str, float]) -> Figures:
    """Round figures to two decimals, and replace NaN by None."""
    return {name: None if math.isnan(value) else round(float(value), 2) for name, value in figures.items()}


def by_task(predictions: Iterable[Prediction]) -> dict[BenchTask, list[Prediction]]:
    """Group predictions by task, in the order of `BenchTask`, leaving out tasks without a prediction."""
    groups: dict[BenchTask, list[Prediction]] = {task: [] for task in BenchTask}
    for prediction in predictions:
        groups[prediction["task"]].append(prediction)
    return {task: group for task, group in groups.items() if group}


def detection(gold: Sequence[Label], predicted: Sequence[Label | None]) -> dict[str, float]:
    """Return `acc`, `err`, `acer`, `apcer`, `bpcer` and `invalid` of DF-D.

    APCER is the share of forged faces that are not called forged, BPCER the share of bona fide faces that are not
    called bona fide.
    """
    pairs = list(zip(gold, predicted, strict=True))
    acc = percent([g == p for g, p in pairs])
    apcer = percent([p != "forged" for g, p in pairs if g == "forged"])
    bpcer = percent([p != "bona_fide" for g, p in pairs if g == "bona_fide"])
    return {
        "acc": acc,
        "err": 100 - acc,
        "acer": (apcer + bpcer) / 2,
        "apcer": apcer,
        "bpcer": bpcer,
        "invalid": percent([p is None for p in predicted]),
    }


def classification(gold: Sequence[str], predicted: Sequence[str | None]) -> dict[str, float]:
    """Return `acc` and `invalid` of DF-C or DF-T, and `macro_acc`, the mean accuracy over the classes that occur."""
    pairs = list(zip(gold, predicted, strict=True))
    accuracies = [percent([p == g for g, p in pairs if g == name]) for name in sorted(set(gold))]
    return {
        "acc": percent([g == p for g, p in pairs]),
        "macro_acc": fmean(accuracies) if accuracies else math.nan,
        "invalid": percent([p is None for p in predicted]),
    }


def rouge_l(reference: str, answer: str) -> float:
    """Return the ROUGE-L F-measure of one answer, from 0 to 100; words are not stemmed."""
    return 100 * float(_rouge_scorer().score(reference, answer)["rougeL"].fmeasure)


@cache
def _rouge_scorer() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)


def chance(gold: Sequence[str], predicted: Sequence[str | None]) -> float:
    """Return the accuracy in percent that these answers would have if they were shuffled at random."""
    return sum(percent([g == c for g in gold]) * percent([p == c for p in predicted]) / 100 for c in set(gold))


def detection_figures(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the figures of `detection` for predictions of DF-D, the APCER of each category, and `chance`."""
    gold, predicted = [p["label"] for p in predictions], [p["predicted"] for p in predictions]
    apcer_by_category = {
        f"apcer_{category}": percent([p["predicted"] != "forged" for p in predictions if p["category"] == category])
        for category in FORGERY_CATEGORIES
    }
    return {**detection(gold, predicted), **apcer_by_category, "chance": chance(gold, predicted)}


def classification_figures(predictions: Sequence[Prediction], truth: str = "category") -> dict[str, float]:
    """Return the figures of `classification` for predictions of DF-C or DF-T, and `chance`.

    Args:
        predictions: The predictions of one task.
        truth: The key of the right answer: "category" for DF-C, "technique" for DF-T.
    """
    gold, predicted = [p[truth] for p in predictions], [p["predicted"] for p in predictions]
    return {**classification(gold, predicted), "chance": chance(gold, predicted)}


def description_figures(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return `rouge_l` of AD's predictions, and `rouge_l_forged`, that of the forged faces alone."""
    forged = [p["rouge_l"] for p in predictions if p["label"] == "forged"]
    return {
        "rouge_l": fmean(p["rouge_l"] for p in predictions),
        "rouge_l_forged": fmean(forged) if forged else math.nan,
    }
