"""What a stranger's installed package brings by entry points, with nothing of ours changed: a metric, an annotator."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import load_dataset
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc

from dfa_instruct.bench.runner import run_bench, write_results
from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe

MODULE = """
from statistics import fmean

from dfa_instruct.records import Annotation, Finding
from dfa_instruct.vocabulary import CATEGORIES


class Blunt:
    name = "blunt"

    def __init__(self, word="odd"):
        self.word = word

    def annotate(self, face, artifacts):
        if face.label == "bona_fide":
            return Annotation("It is bona fide.", "None, it is bona fide.", "No artifact is visible.")
        found = tuple(
            Finding(region, tuple(a.artifact for a in artifacts if a.region == region), f"The {region}: {self.word}.")
            for region in dict.fromkeys(a.region for a in artifacts)
        )
        told = " ".join(finding.sentence for finding in found) or "Nothing is named."
        return Annotation("It is forged.", f"It is {CATEGORIES[face.category]}.", told, found)


def words(predictions):
    return {"mean": fmean(len(p["answer"].split()) for p in predictions), "none": float("nan")}
"""
ENTRY_POINTS = """
[dfa_instruct.annotators]
blunt = stranger:Blunt
[dfa_instruct.metrics]
words = stranger:words
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as pip leaves it: one module, and a folder that names its entry points."""
    folder = tmp_path / "site-packages"
    (folder / "stranger-1.0.dist-info").mkdir(parents=True)
    (folder / "stranger.py").write_text(MODULE)
    (folder / "stranger-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (folder / "stranger-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    return folder


class Yes:
    """Says yes, whatever it is asked."""

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        return [ModelResponse(text=["Yes, it is."]) for _ in docs]


def test_a_strangers_annotator_writes_a_dataset(stranger: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(small_recipe, annotator={"name": "blunt", "word": "queer"}, output=str(tmp_path / "dfa-instruct"))
    build(recipe, workers=1)
    rows = load_dataset(str(tmp_path / "dfa-instruct"), split="train").remove_columns("image")
    told = {row["face_id"]: {q["ability"]: q["answer"] for q in row["qa"]} for row in rows if row["artifacts"]}
    assert told and all("queer." in answers["ad"] for answers in told.values())
    sentences = {q["answer"] for row in rows for q in row["qa"] if re.match(r"fc\.(region|check)_found", q["template"])}
    assert sentences and all("queer." in sentence for sentence in sentences)


def test_an_unknown_annotator_is_refused_before_work_starts(
    stranger: Path, small_recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="unknown annotator 'blunder'; did you mean 'blunt'"):
        build(replace(small_recipe, annotator="blunder", output=str(tmp_path / "dfa-instruct")))
    assert not any(path.name.startswith("dfa-instruct") for path in tmp_path.iterdir())


def test_a_strangers_metric_stands_in_the_results(stranger: Path, dataset_folder: Path, tmp_path: Path) -> None:
    results = run_bench(Yes(), dataset_folder, limit=3)
    assert results["scores"]["words"] == {"mean": 3.0, "none": None}
    write_results(results, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["scores"]["words"]["mean"] == 3.0


def test_a_plug_in_that_does_not_load_is_named_before_the_model_is_asked(stranger: Path, dataset_folder: Path) -> None:
    (stranger / "stranger.py").write_text("")
    with pytest.raises(ValueError, match=r"metric words: its plug-in stranger:words does not load"):
        run_bench("no/such/model", dataset_folder)
