"""Probing a frozen vision tower."""

from __future__ import annotations

from pathlib import Path

from datasets import load_dataset
from typer.testing import CliRunner

from modeling_dfa_gpt.bases import PHOTO_BASE
from modeling_dfa_gpt.cli import app


def test_a_frozen_tower_is_probed(dataset_folder: Path) -> None:
    shown = CliRunner().invoke(app, ["probe", str(PHOTO_BASE), "--data", str(dataset_folder)]).stdout
    test = load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="test")
    bona_fide = test.filter(lambda label: label == "bona_fide", input_columns="label")
    people = {identities[0] for identities in bona_fide["identities"]}
    most = max(bona_fide.num_rows, test.num_rows - bona_fide.num_rows) / test.num_rows
    assert f"majority {most:.1%}, on {test.num_rows} images" in shown
    assert f"bona fide by person, {len(people)} people: " in shown
    assert all(f"{category}: " in shown for category in set(test["category"]))
