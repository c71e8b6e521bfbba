"""Questions about every region of a face."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from speaking import question, speaking
from typer.testing import CliRunner

from dfa_instruct.bench.experiments.region_questions import region_questions
from dfa_instruct.cli import app
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


def test_a_model_that_never_looks_is_no_better_than_image_blind(dataset_folder: Path, tmp_path: Path) -> None:
    often = ("mouth", "jaw", "chin")
    with speaking(lambda body: "Yes" if any(region in question(body) for region in often) else "No") as address:
        where = ["--base-url", address, "--data", str(dataset_folder), "--output", str(tmp_path / "out")]
        options = ["--regions", "--baselines", "--task", "dfa_bench_dfd", "--limit", "8"]
        done = CliRunner().invoke(app, ["bench", "openai:tiny", *where, *options], env={"OPENAI_API_KEY": "sk-fake"})
    assert done.exit_code == 0, done.output
    regions = json.loads((tmp_path / "out" / "results.json").read_text())["regions"]
    assert regions["all, image blind"] == regions["all"] and regions["all"]["balanced_acc"] != 50
    assert "all, image blind" in done.stdout
