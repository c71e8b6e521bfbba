"""The figures of DFA-Bench against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from dfa_instruct.bench.metrics import chance, classification, detection, rouge_l


def test_detection_by_hand() -> None:
    # 4 forged: 2 found, 1 missed, 1 unreadable -> APCER 2/4. 6 bona fide: 5 found, 1 unreadable -> BPCER 1/6.
    gold = ["forged"] * 4 + ["bona_fide"] * 6
    predicted = ["forged", "forged", "bona_fide", None] + ["bona_fide"] * 5 + [None]
    figures = detection(gold, predicted)  # type: ignore[arg-type]
    assert figures == pytest.approx(
        {"acc": 70, "err": 30, "acer": (50 + 100 / 6) / 2, "apcer": 50, "bpcer": 100 / 6, "invalid": 20}
    )


def test_an_unreadable_answer_is_an_error_of_its_class() -> None:
    errors = ("err", "acer", "apcer", "bpcer", "invalid")
    assert detection(["forged", "bona_fide"], [None, None]) == {"acc": 0, **dict.fromkeys(errors, 100)}


def test_a_rate_over_no_rows_is_not_a_number() -> None:
    figures = detection(["forged", "forged"], ["forged", "bona_fide"])
    assert (figures["acc"], figures["apcer"]) == (50, 50)
    assert math.isnan(figures["bpcer"])
    assert math.isnan(figures["acer"])


def test_classification_by_hand() -> None:
    gold = ["bona_fide", "bona_fide", "bona_fide", "face_editing"]
    figures = classification(gold, ["bona_fide", "bona_fide", None, "face_swapping"])  # type: ignore[arg-type]
    assert figures == pytest.approx({"acc": 50, "macro_acc": (200 / 3 + 0) / 2, "invalid": 25})


def test_lists_of_unlike_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        detection(["forged", "forged"], ["forged"])


@pytest.mark.parametrize(
    ("reference", "answer", "score"),
    [
        ("the eyes are blurred", "the eyes are blurred", 100),
        ("the eyes are blurred", "", 0),
        # Longest common subsequence "the are blurred": 3 of 4 words, 3 of 5 words.
        ("the eyes are blurred", "the lips are badly blurred", 100 * 2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5)),
        ("The Eyes.", "the eyes", 100),
        ("eyes", "eye", 0),  # not stemmed
    ],
)
def test_rouge_l_by_hand(reference: str, answer: str, score: float) -> None:
    assert rouge_l(reference, answer) == pytest.approx(score)


def test_chance_by_hand() -> None:
    # forged .75 x .5, bona fide .25 x .25; the unreadable quarter is never right.
    gold = ["forged", "forged", "forged", "bona_fide"]
    assert chance(gold, ["forged", "bona_fide", None, "forged"]) == pytest.approx(100 * (0.75 * 0.5 + 0.25 * 0.25))
