"""Questions about every region of a face."""

from __future__ import annotations

from typing import Any

import pytest

from dfa_instruct.bench.experiments.region_questions import region_questions
from dfa_instruct.vocabulary import REGIONS


class Answering:
    """Answers each question by what it knows of the picture, which is a set of regions."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def converse(self, images: list[set[str]], questions: list[list[str]], max_new_tokens: int) -> list[list[str]]:
        assert all(any(region in question for region in REGIONS) for (question,) in questions)
        return [[self.answer(known, question)] for known, (question,) in zip(images, questions, strict=True)]


ROWS = [
    {"image": {"mouth", "chin"}, "findings": [{"region": "mouth"}, {"region": "chin"}]},
    {"image": {"mouth"}, "findings": [{"region": "mouth"}]},
    {"image": set(), "findings": []},
    {"image": set(), "findings": []},
]


def measured(answer: Any) -> dict[str, Any]:
    return region_questions(Answering(answer), ROWS)  # type: ignore[arg-type]


def knows(known: set[str], question: str) -> str:
    return "Yes. It looks odd." if any(region in question for region in known) else "No, there is no artifact."


def test_a_model_that_knows_is_always_right() -> None:
    figures = measured(knows)
    assert set(figures) == {*REGIONS, "all"}
    assert figures["mouth"] == {"acc": 100, "majority": 50, "balanced_acc": 100, "invalid": 0}
    assert figures["chin"]["majority"] == 75
    assert figures["nose"] == {"acc": 100, "majority": 100, "balanced_acc": None, "invalid": 0}
    assert figures["all"]["majority"] == pytest.approx(100 * 33 / 36, abs=0.01)


def test_one_and_the_same_answer_is_at_chance() -> None:
    for answer in ("Yes.", "No."):
        assert measured(lambda known, question, answer=answer: answer)["all"]["balanced_acc"] == 50


def test_an_answer_that_cannot_be_read_is_wrong() -> None:
    figures = measured(lambda known, question: "Perhaps.")
    assert figures["mouth"] == {"acc": 0, "majority": 50, "balanced_acc": 0, "invalid": 100}
