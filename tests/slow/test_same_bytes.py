"""The data are what they were: the drawn sample's Parquet files, byte by byte, against fingerprints kept here.

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
    "test-00000-of-00001-98cd5ebd57842e78.parquet",
    "train-00000-of-00001-2adf7959d71054a0.parquet",
    "validation-00000-of-00001-85f546526cf0be6f.parquet",
}
"""Names of the files of `small_recipe`'s dataset; the last word of each is what its content gives."""
OF_TINY_BASE = {
    "test-00000-of-00001-0f5adbb4338a159b.parquet",
    "train-00000-of-00001-acc6b18acde7b643.parquet",
    "validation-00000-of-00001-48281b78ce9b3068.parquet",
}
"""Likewise, with the templates of the tiny base's pretraining."""


def test_the_small_sample_has_the_bytes_that_it_had(dataset_folder: Path) -> None:
    assert {path.name for path in (dataset_folder / "data").iterdir()} == FINGERPRINTS


def test_and_so_has_that_of_the_templates_that_the_tiny_base_read(small_recipe: Recipe, tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "modeling_dfa_gpt" / "base" / "templates"
    build(replace(small_recipe, output=str(tmp_path / "dfa-instruct"), templates=str(folder)), workers=1)
    assert {path.name for path in (tmp_path / "dfa-instruct" / "data").iterdir()} == OF_TINY_BASE
