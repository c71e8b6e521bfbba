"""A bench's report: what it shows of a model, and its pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc
from PIL import Image

from dfa_instruct.bench.report.markdown import worst_errors, write_report
from dfa_instruct.bench.results import write_results
from dfa_instruct.bench.rows import pictures_of
from dfa_instruct.bench.runner import run_bench


class Sure:
    """Calls every face forged, the more surely the higher its number; breaks tables where it can."""

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        return [self.answer(doc) for doc in docs]

    def answer(self, doc: Doc) -> ModelResponse:
        assert doc.specific is not None
        if doc.task_name != "dfa_bench_dfd":
            return ModelResponse(text=["| <b>none\nof these"])
        no = -1 - 9 * int(doc.specific["face_id"], 16) / 16**16
        return ModelResponse(text=["Yes"], logprobs=[float(np.log1p(-np.exp(no))), no])


@pytest.fixture(scope="module")
def report(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("report") / "out"
    results = {"model": "sure", **run_bench(Sure(), dataset_folder)}
    write_results(results, output)
    write_report(results, dataset_folder, output)
    return output


def test_every_picture_of_the_report_is_there(report: Path) -> None:
    text = (report / "report.md").read_text()
    pictures = re.findall(r"!\[[^]]*\]\((images/[^)]+)\)", text)
    assert {"images/confusion.png", "images/roc.png", "images/reliability.png"} < set(pictures)
    for picture in pictures:
        Image.open(report / picture).verify()
    assert "Always the most frequent answer would give DF-D ACC 57.89 and" in text  # 11 of 19 faces are forged
    for heading in ("DFA-Bench of sure", "Scores: probabilities", "Worst errors of DF-D", "Worst errors of AD"):
        assert heading in text


def test_the_surest_errors_come_first_with_question_answer_and_truth(report: Path, dataset_folder: Path) -> None:
    rows = {row["face_id"]: row for row in load_dataset(str(dataset_folder), split="test")}
    wrong = sorted((name for name, row in rows.items() if row["label"] == "bona_fide"), reverse=True)
    section = (report / "report.md").read_text().split("## Worst errors of DF-D")[1].split("##")[0]
    assert re.findall(r"!\[(\w+)\]", section) == wrong[:6]
    assert f"| {rows[wrong[0]]['bench'][0]['question']} | Yes | No |" in section


def test_an_answer_cannot_break_the_table(report: Path) -> None:
    section = (report / "report.md").read_text().split("## Worst errors of DF-C")[1].split("##")[0]
    assert "&#124; &lt;b>none<br>of these" in section
    assert {line.count("|") for line in section.strip().splitlines()} == {5}


def test_of_texts_those_least_like_the_truth_are_worst() -> None:
    texts = [{"task": "dfa_bench_ad", "rouge_l": float(n % 7), "face_id": str(n)} for n in range(20)]
    assert [p["rouge_l"] for p in worst_errors(texts)["dfa_bench_ad"]] == [0, 0, 0, 1, 1, 1]


def test_faces_go_with_the_predictions_where_they_are_asked_for(dataset_folder: Path, tmp_path: Path) -> None:
    results = run_bench(Sure(), dataset_folder, limit=3)
    asked = {p["face_id"] for p in results["predictions"]}
    write_results(results, tmp_path / "without")
    write_results(results, tmp_path / "with", pictures_of(asked, dataset_folder))
    files = {name: str(tmp_path / name / "predictions.parquet") for name in ("with", "without")}
    loaded = {
        name: load_dataset("parquet", data_files=file, split="train", cache_dir=str(tmp_path))
        for name, file in files.items()
    }
    assert "image" not in loaded["without"].column_names
    assert loaded["with"][0]["image"].size == (128, 128)
