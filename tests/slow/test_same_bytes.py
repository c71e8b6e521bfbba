"""The Parquet files of the drawn sample are unchanged, byte by byte: their fingerprints are compared with those here.

A change that moves code must leave this test as it is. A change that alters data on purpose (a technique, evidence,
templates, a column) replaces the fingerprints by those that the test prints, in the same commit, and its message says
what has changed. Another processor's or another library's arithmetic may round otherwise and give other fingerprints
of the same code: compare with those of the commit before, made on the same machine.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe

FINGERPRINTS = {
    "test-00000-of-00001-b0ea845a598b1975.parquet",
    "train-00000-of-00001-016b727c9ba3d0d0.parquet",
    "validation-00000-of-00001-c260f629410ab847.parquet",
}
"""The names of the files of `small_recipe`'s dataset. The last part of each is a hash of its content."""
OF_TINY_BASE = {
    "test-00000-of-00001-473cfb9dcde92157.parquet",
    "train-00000-of-00001-ffb77afbd555ea0a.parquet",
    "validation-00000-of-00001-1e15bd8255f85b2b.parquet",
}
"""The same, with the templates on which the tiny base is pretrained."""


def test_the_small_sample_is_unchanged(dataset_folder: Path) -> None:
    assert {path.name for path in (dataset_folder / "data").iterdir()} == FINGERPRINTS


def test_the_sample_with_the_templates_of_the_tiny_base_is_unchanged(small_recipe: Recipe, tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "modeling_dfa_gpt" / "bases" / "templates"
    build(replace(small_recipe, output=str(tmp_path / "dfa-instruct"), templates=str(folder)), workers=1)
    assert {path.name for path in (tmp_path / "dfa-instruct" / "data").iterdir()} == OF_TINY_BASE
