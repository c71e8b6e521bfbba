"""Models that would fool a benchmark are recognised in the results and in the printed warnings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_data import TEST, TRAIN, write_counts
from speaking import question, speaking
from typer.testing import CliRunner

from dfa_instruct.bench.experiments.sensitivity import rotate_options
from dfa_instruct.bench.habits import consistency_scores, habit_scores
from dfa_instruct.cli import app

Bench = Callable[[Callable[[str], str]], tuple[dict[str, Any], str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_counts(tmp_path_factory.mktemp("data") / "dfa-instruct", train=TRAIN, test=TEST)


@pytest.fixture
def bench(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Measure a model that says what a function of the question says; return the results, and what was printed."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fake")

    def run(say: Callable[[str], str]) -> tuple[dict[str, Any], str]:
        data.with_name("dfa-instruct.answers.sqlite").unlink(missing_ok=True)
        with speaking(lambda body: say(question(body))) as address:
            where = ["--base-url", address, "--data", str(data), "--output", str(tmp_path / "out"), "--baselines"]
            tasks = [word for task in ("dfd", "dfc", "ad") for word in ("--task", f"dfa_bench_{task}")]
            done = CliRunner().invoke(app, ["bench", "openai:tiny", *where, *tasks], env={"COLUMNS": "300"})
        assert done.exit_code == 0, done.output
        return json.loads((tmp_path / "out" / "results.json").read_text()), done.stdout

    return run


def test_one_that_always_says_yes(bench: Bench) -> None:
    results, printed = bench(lambda asked: "Yes")
    habits = results["scores"]["habits"]
    assert results["tasks"]["dfa_bench_dfd"]["acer"] == 50
    assert habits["dfd_commonest"] == habits["ad_canned"] == habits["ad_unread"] == 100
    assert results["tasks"]["dfa_bench_dfc"]["invalid"] == 100
    assert results["sensitivity"]["polarity_changed"] == 100
    assert any("DF-D: every answer is 'Yes'" in sentence for sentence in results["warnings"])
    assert "DF-D: every answer is 'Yes'" in printed


def test_regions_of_a_dataset_without_findings_are_refused(data: Path) -> None:
    with speaking(lambda body: "Yes") as address:
        command = ["bench", "openai:tiny", "--base-url", address, "--data", str(data), "--regions"]
        done = CliRunner().invoke(app, command, env={"COLUMNS": "300", "OPENAI_API_KEY": "sk-fake"})
    assert done.exit_code == 2 and "--regions: the column findings of test face" in done.output


def test_one_that_answers_in_french(bench: Bench) -> None:
    def say(asked: str) -> str:
        if asked.startswith("Describe"):
            return "La peau des joues est trop lisse et le contour de la bouche est flou."
        return "Oui, ce visage est une contrefaçon." if "A." not in asked else "C'est un échange de visages."

    results, printed = bench(say)
    assert results["scores"]["habits"]["foreign"] == 100 and results["scores"]["habits"]["refused"] == 0
    assert results["tasks"]["dfa_bench_dfd"]["invalid"] == results["tasks"]["dfa_bench_dfc"]["invalid"] == 100
    assert "100 % of the answers are not in English" in printed


def test_one_that_refuses(bench: Bench) -> None:
    results, printed = bench(lambda asked: "I'm sorry, but I can't help with pictures of people's faces.")
    assert results["scores"]["habits"]["refused"] == 100 and results["scores"]["habits"]["foreign"] == 0
    assert results["tasks"]["dfa_bench_dfd"] == {"acc": 0, "err": 100, "acer": 100, "invalid": 100}
    assert results["scores"].get("consistency") is None  # nothing that it says implies a label
    assert "100 % of the answers are refusals" in printed and "give no verdict" in printed


def test_one_that_pastes_a_canned_description(bench: Bench) -> None:
    def say(asked: str) -> str:
        if asked.startswith("Describe"):
            return "1. Eyes: they tell of a colour that does not match."
        if "A." in asked:
            return "bona fide"
        return "No" if "forged" in asked else "Yes"

    results, printed = bench(say)
    habits = results["scores"]["habits"]
    assert habits["ad_canned"] == 100 and habits["ad_commonest"] == 100 and habits["ad_unread"] == 0
    assert results["tasks"]["dfa_bench_ad"]["rouge_l_forged"] > 30  # it looks like something
    blind = results["baselines"]["image_blind"]["dfa_bench_ad"]
    assert blind == results["tasks"]["dfa_bench_ad"]  # and is as good without the picture
    consistency = results["scores"]["consistency"]
    assert consistency["verdict_description"] == consistency["class_description"] == 100
    assert consistency["verdict_class"] == 0 and results["sensitivity"]["polarity_changed"] == 0
    assert "100 % of the forged faces get exactly the same description" in printed


def test_one_that_sees_its_letter_only(bench: Bench) -> None:
    results, _ = bench(lambda asked: "A" if "A." in asked else "Yes")
    assert results["sensitivity"]["order_changed"] == 100


def test_options_are_turned_and_the_answer_stays() -> None:
    listed = "Which?\nA. one\nB. two\nC. three\nD. four\nE. five"
    found = rotate_options({"question": listed, "answer": "two", "options": ["one", "two", "three", "four", "five"]})
    assert found["question"] == "Which?\nA. three\nB. four\nC. five\nD. one\nE. two" and found["answer"] == "two"
    assert found["options"] == ["three", "four", "five", "one", "two"]


def test_consistency_by_hand() -> None:
    def said(face: str, task: str, **answer: Any) -> dict[str, Any]:
        return {"face_id": face, "task": f"dfa_bench_{task}", **answer}

    none, one = "No artifact is visible.", "The colour of the nose does not match."
    predictions = [
        said("a", "dfd", predicted="forged"),
        said("a", "dfc", predicted="face_editing"),
        said("a", "ad", answer=one),
        said("b", "dfd", predicted="forged"),
        said("b", "dfc", predicted="bona_fide"),
        said("b", "ad", answer=none),
        said("c", "dfd", predicted=None),
        said("c", "dfc", predicted=None),
        said("c", "ad", answer=one),
    ]
    assert consistency_scores(predictions) == {
        "contradicting": 50,
        "verdict_class": 50,
        "verdict_description": 50,
        "class_description": 0,
    }
    assert consistency_scores(predictions[6:]) == {}


def test_what_is_said_of_many_faces_alike_is_canned() -> None:
    described = [
        {"task": "dfa_bench_ad", "label": "forged", "question": "?", "reference": "r", "answer": answer}
        for answer in ("The nose is odd.", "the nose is odd", "The chin is odd.", "")
    ]
    found = habit_scores([*described, {**described[0], "label": "bona_fide"}])
    assert found["ad_canned"] == 50 and found["ad_commonest"] == 60
