"""Techniques and sources that a recipe holds out are in the test split only."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from PIL import Image

from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.verify.verify import verify

SAMPLE = {"kind": "sample", "identities": 14, "pictures": 2}


@pytest.fixture
def made(tmp_path: Path) -> Any:
    for face in draw_sample(6, 2, size=256, seed=7):
        folder = tmp_path / "others" / face.identities[0].replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face.image).save(folder / f"{face.face_id}.png")

    def make(**keys: Any) -> list[dict[str, Any]]:
        output = tmp_path / "dfa-instruct"
        recipe = Recipe(size=128, detect_cropped=False, near_duplicates=-1, output=str(output), **keys)
        build(recipe, workers=1)
        assert not verify(str(output), recipe)["categories"].broken
        return [row for split in load_dataset("dfa-instruct", data_dir=str(output)).values() for row in split]

    return make


def test_a_technique_is_in_the_test_split_only(made: Any) -> None:
    rows = made(sources=[SAMPLE], techniques=["lips", "skin"], forgeries_per_face=2.0, held_out=["lips"])
    splits = defaultdict(set)
    for row in rows:
        splits[row["technique"]].add(row["split"])
    assert splits["lips"] == {"test"} and {"train", "test"} <= splits["skin"]


def test_a_whole_category_may_be_held_out(made: Any) -> None:
    rows = made(sources=[SAMPLE], techniques=["lips", "delaunay_swap"], forgeries_per_face=2.0, held_out=["lips"])
    assert {row["split"] for row in rows if row["category"] == "face_editing"} == {"test"}


@pytest.mark.usefixtures("landmarker")
def test_a_source_and_its_people_are_in_the_test_split_only(made: Any, tmp_path: Path) -> None:
    others = {"kind": "folder", "name": "others", "root": str(tmp_path / "others")}
    rows = made(sources=[SAMPLE, others], held_out=["others"])
    splits = defaultdict(set)
    for row in rows:
        splits[row["source"]].add(row["split"])
    assert splits["others"] == {"test"} and "train" in splits["sample"]
    assert sum(row["source"] == "others" for row in rows) == 12  # all of them
    assert not (tmp_path / "dfa-instruct.dropped.csv").exists()


def test_an_unknown_name_is_refused(made: Any) -> None:
    with pytest.raises(ValueError, match=r"held_out: .*lisp.*lips, sample"):
        made(sources=[SAMPLE], techniques=["lips"], forgeries_per_face=1.0, held_out=["lisp"])
