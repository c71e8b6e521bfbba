"""Comparing two benches: figures computed by hand and by SciPy, and the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc
from PIL import Image
from scipy.stats import binom
from typer.testing import CliRunner

from dfa_instruct.bench.experiments.compare import (
    comparison_table,
    differences,
    disagreements,
    mcnemar,
    pair_predictions,
)
from dfa_instruct.bench.predictions import read_predictions, write_predictions
from dfa_instruct.bench.results import write_results
from dfa_instruct.bench.runner import run_bench
from dfa_instruct.cli import app


def said(number: int, label: str, predicted: str | None, **others: Any) -> dict[str, Any]:
    known = {"task": "dfa_bench_dfd", "face_id": f"{number:016x}", "identities": [f"person {number // 2}"]}
    category = "bona_fide" if label == "bona_fide" else "face_editing"
    asked = {"technique": None, "question": "Is it?", "reference": "Yes", "answer": "?"}
    return {**known, "label": label, "category": category, **asked, "predicted": predicted, **others}


TRUTH = ["forged"] * 6 + ["bona_fide"] * 4
A = [said(n, label, "forged") for n, label in enumerate(TRUTH)]
B = [said(n, label, label if n % 5 else None) for n, label in enumerate(TRUTH)]


def test_differences_by_hand() -> None:
    acc, acer = differences(pair_predictions(A, B))
    # A is right about the six forged faces; B about all but 0 and 5, which are forged.
    assert (acc.figure, acc.faces, acc.a, acc.b, acc.only_a, acc.only_b) == ("DF-D ACC", 10, 60, 80, 2, 4)
    assert acc.p == pytest.approx(2 * binom.cdf(2, 6, 0.5))
    assert acc.low < acc.b - acc.a < acc.high
    assert (acer.figure, acer.a, acer.p) == ("DF-D ACER", 50, None) and acer.b == pytest.approx(100 / 6)
    lines = comparison_table([acc, acer]).splitlines()
    assert lines[2].startswith("| DF-D ACC | 10 | 60.00 | 80.00 | +20.00 |") and lines[2].endswith("| 2 | 4 | 0.69 |")
    assert {line.count("|") for line in lines} == {10}


def test_a_model_differs_from_itself_by_nothing_and_the_other_way_round_the_sign_turns() -> None:
    for difference in differences(pair_predictions(A, A)):
        assert (difference.low, difference.high, difference.b - difference.a) == (0, 0, 0)
        assert difference.p in (1, None)
    assert disagreements(pair_predictions(A, A)) == {}
    there, back = differences(pair_predictions(A, B))[0], differences(pair_predictions(B, A))[0]
    assert (back.low, back.high) == (pytest.approx(-there.high), pytest.approx(-there.low))


def test_the_interval_is_of_people_and_not_of_pictures() -> None:
    """Ten pictures of each person say no more than one: the interval is that of ten people."""
    truth = np.arange(10) % 2 == 0
    one = [said(n, "forged" if t else "bona_fide", "forged", identities=[f"p{n}"]) for n, t in enumerate(truth)]
    ten = [{**p, "face_id": f"{n}-{p['face_id']}"} for p in one for n in range(10)]

    def spread(a: list[dict[str, Any]]) -> float:
        b = [{**p, "predicted": "bona_fide"} for p in a]
        found = differences(pair_predictions(a, b))[0]
        return found.high - found.low

    assert spread(ten) == pytest.approx(spread(one))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 5), (5, 0), (3, 9), (30, 30)])
def test_mcnemar_is_the_binomial_of_the_discordant(only_a: int, only_b: int) -> None:
    a = np.array([True] * only_a + [False] * only_b + [True, False])
    b = np.array([False] * only_a + [True] * only_b + [True, False])
    n = only_a + only_b
    expected = min(1.0, 2 * binom.cdf(min(only_a, only_b), n, 0.5))
    assert mcnemar(a, b) == (only_a, only_b, pytest.approx(expected))


def test_only_what_both_were_asked_is_compared() -> None:
    otherwise = [{**p, "question": "Is it not?"} for p in B[:3]]
    assert differences(pair_predictions(A, [*otherwise, *B[3:8]]))[0].faces == 5
    unasked = [{**p, "question": ""} for p in B]  # a vision-only model is not asked in words
    assert differences(pair_predictions(A, unasked))[0].faces == 10
    with pytest.raises(ValueError, match="no question about the same face in common"):
        pair_predictions(A, [{**p, "face_id": "f" * 16} for p in B])


class Opinion:
    """Answers yes to faces whose number is even, or odd; a category and a text to the others' questions."""

    def __init__(self, parity: int) -> None:
        self.parity = parity

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        return [self.answer(doc) for doc in docs]

    def answer(self, doc: Doc) -> ModelResponse:
        assert doc.specific is not None
        yes = int(doc.specific["face_id"], 16) % 2 == self.parity
        if doc.task_name == "dfa_bench_dfd":
            return ModelResponse(text=["Yes" if yes else "No"], logprobs=[-0.1, -3.0] if yes else [-2.0, -0.2])
        return ModelResponse(text=["A" if yes else "Nothing."])


@pytest.fixture(scope="module")
def benches(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp("benches") / name for name in ("even", "odd")]
    for parity, folder in enumerate(folders):
        write_results(run_bench(Opinion(parity), dataset_folder), folder)
    return folders


def test_the_command_compares_and_draws(benches: list[Path], dataset_folder: Path, tmp_path: Path) -> None:
    command = ["compare", *map(str, benches), "--data", str(dataset_folder), "--output", str(tmp_path / "sheet.png")]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for figure in ("DF-D ACC", "DF-D ACER", "DF-C ACC", "AD ROUGE-L", "DF-T ACC"):
        assert figure in done.stdout
    drawn = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    assert drawn.shape[1] > 1000 and (drawn < 200).mean() > 0.1
    same = CliRunner().invoke(app, ["compare", str(benches[0]), str(benches[0]), "--data", str(dataset_folder)])
    assert same.exit_code == 0 and "right about the same faces" in same.stdout


def test_predictions_come_back_as_they_were(benches: list[Path], dataset_folder: Path, tmp_path: Path) -> None:
    made = run_bench(Opinion(0), dataset_folder)["predictions"]
    assert read_predictions(benches[0]) == made
    assert {"predicted" in p for p in made} == {"rouge_l" in p for p in made} == {True, False}
    picture = {p["face_id"]: b"png" for p in made}
    write_predictions(made, tmp_path / "with.parquet", picture)
    assert read_predictions(tmp_path / "with.parquet") == made


def test_wrong_inputs_are_one_line(benches: list[Path], dataset_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "predictions.parquet").write_text("no")
    write_predictions(A, tmp_path / "a.parquet")
    write_predictions(B, tmp_path / "b.parquet")
    of_others = [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]
    for files, expected in (
        ([str(tmp_path / "nothing"), str(benches[0])], "no predictions"),
        ([str(tmp_path), str(benches[0])], "not the predictions of a bench"),
        (of_others, "it is not the dataset that was asked about"),
    ):
        done = CliRunner().invoke(app, ["compare", *files, "--data", str(dataset_folder)])
        assert done.exit_code == 2 and expected in done.stderr.splitlines()[-1], done.output
