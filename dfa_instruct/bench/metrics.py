"""The figures of DFA-Bench, all in percent: pure functions over lists, and over predictions.

DF-D: ACC, ERR = 100 - ACC, ACER = (APCER + BPCER) / 2 with pooled APCER and BPCER in the terms of ISO/IEC 30107-3.
DF-C and DF-T: ACC. AD: ROUGE-L. An answer that could not be read (None) is wrong and counts as an error of its class;
it is never dropped. A rate over no rows is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from rouge_score.rouge_scorer import RougeScorer

from dfa_instruct.vocabulary import FORGERY_CATEGORIES, Label

Prediction = dict[str, Any]
"""One question with its answer, see `dfa_instruct.bench.tasks.questions.prediction`."""

_ROUGE = RougeScorer(["rougeL"], use_stemmer=False)


def percent(hits: Sequence[bool]) -> float:
    """Return the share of True, in percent; NaN for an empty sequence."""
    return 100 * fmean(hits) if hits else float("nan")


def detection(gold: Sequence[Label], predicted: Sequence[Label | None]) -> dict[str, float]:
    """Return `acc`, `err`, `acer`, `apcer`, `bpcer` and `invalid` of DF-D.

    APCER is the share of forged faces not called forged, BPCER the share of bona fide faces not called bona fide.
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
    """Return `acc` and `invalid` of DF-C or DF-T, and `macro_acc`, the mean over the classes that occur."""
    pairs = list(zip(gold, predicted, strict=True))
    of_class = [percent([p == g for g, p in pairs if g == name]) for name in sorted(set(gold))]
    return {
        "acc": percent([g == p for g, p in pairs]),
        "macro_acc": fmean(of_class) if of_class else float("nan"),
        "invalid": percent([p is None for p in predicted]),
    }


def rouge_l(reference: str, answer: str) -> float:
    """Return the ROUGE-L F-measure of one answer, 0 to 100; words are not stemmed."""
    return 100 * float(_ROUGE.score(reference, answer)["rougeL"].fmeasure)


def chance(gold: Sequence[str], predicted: Sequence[str | None]) -> float:
    """Return the accuracy that these answers would have if they were dealt out at random, in percent."""
    return sum(percent([g == c for g in gold]) * percent([p == c for p in predicted]) / 100 for c in set(gold))


def detected(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return `detection`'s figures of DF-D's predictions, APCER of each category, and `chance`."""
    gold, predicted = [p["label"] for p in predictions], [p["predicted"] for p in predictions]
    of_category = {
        f"apcer_{category}": percent([p["predicted"] != "forged" for p in predictions if p["category"] == category])
        for category in FORGERY_CATEGORIES
    }
    return {**detection(gold, predicted), **of_category, "chance": chance(gold, predicted)}


def classified(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return `classification`'s figures of DF-C's predictions, and `chance`."""
    gold, predicted = [p["category"] for p in predictions], [p["predicted"] for p in predictions]
    return {**classification(gold, predicted), "chance": chance(gold, predicted)}


def attributed(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return `classification`'s figures of DF-T's predictions, and `chance`."""
    gold, predicted = [p["technique"] for p in predictions], [p["predicted"] for p in predictions]
    return {**classification(gold, predicted), "chance": chance(gold, predicted)}


def described(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return `rouge_l` of AD's predictions, and `rouge_l_forged`, that of the forged faces alone."""
    forged = [p["rouge_l"] for p in predictions if p["label"] == "forged"]
    return {
        "rouge_l": fmean(p["rouge_l"] for p in predictions),
        "rouge_l_forged": fmean(forged) if forged else float("nan"),
    }
