"""The figures of DFA-Bench, all in percent: pure functions over lists, and lighteval metrics that call them.

DF-D: ACC, ERR = 100 - ACC, ACER = (APCER + BPCER) / 2 with pooled APCER and BPCER in the terms of ISO/IEC 30107-3.
DF-C: ACC. AD: ROUGE-L. An answer that could not be read (None) is wrong and counts as an error of its class; it is
never dropped. A rate over no rows is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from lighteval.metrics.metrics_sample import SampleLevelComputation
from lighteval.metrics.utils.metric_utils import CorpusLevelMetricGrouping, SampleLevelMetric
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc, SamplingMethod
from rouge_score.rouge_scorer import RougeScorer

from dfa_instruct.bench.parsing import parse_category, parse_yes_no
from dfa_instruct.vocabulary import Category, Label

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


def classification(gold: Sequence[Category], predicted: Sequence[Category | None]) -> dict[str, float]:
    """Return `acc` and `invalid` of DF-C, and `macro_acc`, the mean over the categories that occur."""
    pairs = list(zip(gold, predicted, strict=True))
    of_category = [percent([p == g for g, p in pairs if g == category]) for category in sorted(set(gold))]
    return {
        "acc": percent([g == p for g, p in pairs]),
        "macro_acc": fmean(of_category) if of_category else float("nan"),
        "invalid": percent([p is None for p in predicted]),
    }


def rouge_l(reference: str, answer: str) -> float:
    """Return the ROUGE-L F-measure of one answer, 0 to 100; words are not stemmed."""
    return 100 * float(_ROUGE.score(reference, answer)["rougeL"].fmeasure)


def chance(gold: Sequence[str], predicted: Sequence[str | None]) -> float:
    """Return the accuracy that these answers would have if they were dealt out at random, in percent."""
    return sum(percent([g == c for g in gold]) * percent([p == c for p in predicted]) / 100 for c in set(gold))


def answer_of(response: ModelResponse) -> str:
    """Return a response's text. lighteval's vision backend gives a string where its pipeline awaits a list of them."""
    return response.text if isinstance(response.text, str) else response.final_text[0]


def predicted_label(doc: Doc, response: ModelResponse) -> Label | None:
    """Read a response to a DF-D question."""
    return parse_yes_no(answer_of(response))


def predicted_category(doc: Doc, response: ModelResponse) -> Category | None:
    """Read a response to a DF-C question, whose options are the choices of its document."""
    return parse_category(answer_of(response), doc.choices)


class _Verdict(SampleLevelComputation):
    """The pair (gold, predicted) under the name of every figure that the corpus makes of the pairs."""

    def __init__(self, column: str, read: Callable[[Doc, ModelResponse], str | None], names: list[str]) -> None:
        self.column, self.read, self.names = column, read, names

    def compute(self, doc: Doc, model_response: ModelResponse, **kwargs: Any) -> dict[str, Any]:
        assert doc.specific is not None
        return dict.fromkeys(self.names, (doc.specific[self.column], self.read(doc, model_response)))


class _RougeL(SampleLevelComputation):
    def compute(self, doc: Doc, model_response: ModelResponse, **kwargs: Any) -> float:
        return rouge_l(doc.get_golds()[0], answer_of(model_response))


def _of_pairs(
    column: str, read: Callable[..., str | None], figures: Callable[..., dict[str, float]], names: list[str]
) -> CorpusLevelMetricGrouping:
    # Figures that come as one dictionary also spare lighteval's bootstrap, which would start a pool of processes.
    return CorpusLevelMetricGrouping(
        metric_name=names,
        higher_is_better={name: name.endswith("acc") for name in names},  # type: ignore[misc]
        category=SamplingMethod.GENERATIVE,
        sample_level_fn=_Verdict(column, read, names),
        corpus_level_fn=dict.fromkeys(names, lambda pairs: figures(*zip(*pairs, strict=True))),
    )


DETECTION = _of_pairs("label", predicted_label, detection, ["acc", "err", "acer", "apcer", "bpcer", "invalid"])
CLASSIFICATION = _of_pairs("category", predicted_category, classification, ["acc", "macro_acc", "invalid"])
ROUGE_L = SampleLevelMetric(
    metric_name="rouge_l",
    higher_is_better=True,
    category=SamplingMethod.GENERATIVE,
    sample_level_fn=_RougeL(),
    corpus_level_fn=np.mean,
)
