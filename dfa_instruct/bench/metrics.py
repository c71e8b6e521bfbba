"""The figures of DFA-Bench, all in percent.

DF-D: ACC, ERR = 100 - ACC, and ACER = (APCER + BPCER) / 2, where APCER and BPCER are pooled and defined as in
ISO/IEC 30107-3. DF-C and DF-T: ACC. AD: ROUGE-L. An answer that could not be read (None) is never dropped: it is wrong
and counts as an error of its class. A rate over no rows is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

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


AGAINST_PEOPLE: Final = (
    "rouge_l_best",
    "rouge_l_mean",
    "rouge_l_best_forged",
    "rouge_l_mean_forged",
    "region_recall_people",
    "region_recall_pixels",
)
"""The main figures of descriptions of faces that people have described, see `description_figures`."""


def description_figures(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the figures of AD's predictions.

    Returns:
        `rouge_l`, and `rouge_l_forged`, that of the forged faces alone. If people have described any of the faces, also
        `rouge_l_best` and `rouge_l_mean`, the mean over these faces of the highest and of the mean ROUGE-L to the
        descriptions of all people, and the same for forged faces alone. `region_recall_people` is the share of the
        regions that people call faulty which the answer calls faulty, too, where each person counts; and
        `region_recall_pixels` is the share of those which differ from the forgery's pair. `region_precision_people`
        and `region_precision_pixels` are the shares of the answer's regions that at least one person calls faulty, and
        that differ.
    """
    figures = {f"rouge_l{ending}": _mean(p["rouge_l"] for p in group) for ending, group in _all_and_forged(predictions)}
    described = [p for p in predictions if p.get("people")]
    if not described:
        return figures
    for ending, group in _all_and_forged(described):
        scores = [[person["rouge_l"] for person in p["people"]] for p in group]
        figures[f"rouge_l_best{ending}"] = _mean(map(max, scores))
        figures[f"rouge_l_mean{ending}"] = _mean(map(fmean, scores))
    forged = [p for p in described if p["label"] == "forged"]
    paired = [p for p in forged if p["evident"] is not None]
    by_people = [{r for person in p["people"] for r in person["regions"]} for p in forged]
    recalled = [r in p["named"] for p in forged for person in p["people"] for r in person["regions"]]
    figures["region_recall_people"] = percent(recalled)
    figures["region_recall_pixels"] = percent([r in p["named"] for p in paired for r in p["evident"]])
    borne_out = [r in regions for p, regions in zip(forged, by_people, strict=True) for r in p["named"]]
    figures["region_precision_people"] = percent(borne_out)
    figures["region_precision_pixels"] = percent([r in p["evident"] for p in paired for r in p["named"]])
    return figures


def _all_and_forged(predictions: Sequence[Prediction]) -> Iterator[tuple[str, list[Prediction]]]:
    """Yield the ending of a figure's name, and the predictions that it is computed from."""
    yield "", list(predictions)
    yield "_forged", [p for p in predictions if p["label"] == "forged"]


def _mean(values: Iterable[float]) -> float:
    """Return the mean; NaN if there are no values."""
    listed = list(values)
    return fmean(listed) if listed else math.nan
