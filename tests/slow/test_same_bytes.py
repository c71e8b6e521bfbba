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
    "test-00000-of-00001-c7f62f95556ddd3a.parquet",
    "train-00000-of-00001-7a6dd48231d15419.parquet",
    "validation-00000-of-00001-ab8746f814bff4d8.parquet",
}
"""The names of the files of `small_recipe`'s dataset. The last part of each is a hash of its content."""
OF_TINY_BASE = {
    "test-00000-of-00001-0fed97f58812060d.parquet",
    "train-00000-of-00001-aea85886e4b7d3fd.parquet",
    "validation-00000-of-00001-b2f0110dcb8832bd.parquet",
}
"""The same, with the templates on which the tiny base is pretrained."""


def test_the_small_sample_is_unchanged(dataset_folder: Path) -> None:
    assert {path.name for path in (dataset_folder / "data").iterdir()} == FINGERPRINTS


def test_the_sample_with_the_templates_of_the_tiny_base_is_unchanged(small_recipe: Recipe, tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "modeling_dfa_gpt" / "bases" / "templates"
    build(replace(small_recipe, output=str(tmp_path / "dfa-instruct"), templates=str(folder)), workers=1)
    assert {path.name for path in (tmp_path / "dfa-instruct" / "data").iterdir()} == OF_TINY_BASE
