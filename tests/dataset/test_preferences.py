"""Pairs of a right and a wrong answer for DPO: complete, images included, and the pixels' rewards agree with them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from datasets import load_dataset
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.cli import app
from modeling_dfa_gpt.rewards import Question, category, region_shares, regions, verdict


@pytest.fixture(scope="module")
def train(dataset_folder: Path) -> dict[str, dict[str, Any]]:
    rows = load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="train")
    return {row["face_id"]: row for row in rows.remove_columns("image")}


@pytest.fixture(scope="module")
def written(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("preferences") / "pairs.jsonl"
    done = CliRunner().invoke(app, ["convert", str(dataset_folder), str(file), "--to", "dpo"])
    assert done.exit_code == 0, done.output
    return file


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_every_question_about_a_training_face_has_a_right_and_a_wrong_answer(
    written: Path, train: dict[str, dict[str, Any]]
) -> None:
    pairs = read(written)
    assert Counter(pair["images"][0] for pair in pairs) == {f"images/{face}.png": 3 for face in train}
    for pair in pairs:
        row = train[Path(pair["images"][0]).stem]
        asked = {qa["question"]: qa["answer"] for qa in row["qa"]}
        assert pair["chosen"] == [{"role": "assistant", "content": asked[pair["prompt"][0]["content"]]}]
        assert pair["rejected"][0]["content"] != pair["chosen"][0]["content"]
    with Image.open(written.parent / pairs[0]["images"][0]) as image:
        assert image.size == (128, 128)


def test_the_rewards_of_the_pixels_prefer_the_right_answers(written: Path, train: dict[str, dict[str, Any]]) -> None:
    shares = region_shares(train.values())
    better: dict[str, list[float]] = {"df_d": [], "df_c": [], "ad": []}
    for pair in read(written):
        row = train[Path(pair["images"][0]).stem]
        asked = pair["prompt"][0]["content"]
        ability = next(qa["ability"] for qa in row["qa"] if qa["question"] == asked)
        right, wrong = pair["chosen"][0]["content"], pair["rejected"][0]["content"]
        named = frozenset(artifact["region"] for artifact in row["artifacts"])
        question = Question(ability, asked, right, row["label"], row["category"], named, shares)
        reward = {"df_d": verdict, "df_c": category, "ad": regions}[ability]
        better[ability].append(reward(right, question) - reward(wrong, question))
    assert min(better["df_d"]) == 2 and min(better["df_c"]) == 1 and fmean(better["ad"]) > 0.5


def test_an_existing_file_and_a_folder_without_a_dataset_are_refused(written: Path, tmp_path: Path) -> None:
    again = CliRunner().invoke(app, ["convert", str(written.parent), str(written), "--to", "dpo"])
    assert again.exit_code != 0 and "exists already" in again.output.replace("\n", " ")
    none = CliRunner().invoke(app, ["convert", str(tmp_path), str(tmp_path / "new.jsonl"), "--to", "dpo"])
    assert none.exit_code != 0 and not (tmp_path / "new.jsonl").exists()
