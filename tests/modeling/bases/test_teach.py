"""Training a vision tower on the labels of patches, and probing a frozen one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import Result
from datasets import load_dataset
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPImageProcessor,
    LlamaForCausalLM,
)
from typer.testing import CliRunner

from modeling_dfa_gpt.bases.teach import LAYERS, MORE_LAYERS, Patches
from modeling_dfa_gpt.cli import app
from modeling_dfa_gpt.preflight import check_base


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def taught(data: Path, language: Path, output: Path, more_steps: int = 1) -> Path:
    size = ["--patch", 16, "--steps", 1, "--more-steps", more_steps]
    done = run("teach", "--data", data, "--language", language, "--output", output, *size)
    assert done.exit_code == 0, done.output
    return output


@pytest.fixture(scope="module")
def small(dataset_folder: Path, language: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught(dataset_folder, language, tmp_path_factory.mktemp("small") / "base")


def test_a_patch_has_the_label_of_its_forgery(dataset_folder: Path) -> None:
    rows = load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="train")
    patches = Patches(rows, 16, CLIPImageProcessor())
    seen = set()
    for row, (_, changed, label) in zip(rows.remove_columns("image"), patches.items, strict=True):
        labels = patches.patch_labels(changed, label)
        if row["label"] == "bona_fide":
            assert not labels.any()
        elif row["category"] == "entire_face_synthesis":
            assert (labels == label).all()
        elif row["category"] == "face_editing":  # a part of the face, and nothing around it
            assert 0 < (labels == label).sum() < len(labels) / 2
            assert not (labels[: round(len(labels) ** 0.5)]).any()
        assert row["technique"] is None or row["technique"].replace("_", " ") in patches.names[label]
        seen.add(row["category"])
    assert {"face_editing", "entire_face_synthesis"} <= seen
    item = patches[0]
    assert item["pixel_values"].shape[0] == 3
    assert item["labels"].shape == (64,)


def test_only_the_tower_and_the_projector_are_trained(
    small: Path, dataset_folder: Path, language: Path, tmp_path: Path
) -> None:
    check_base(str(small), AutoConfig.from_pretrained(small), AutoProcessor.from_pretrained(small))
    model = AutoModelForImageTextToText.from_pretrained(small).model
    layers = [f"layers.{number}." for number in range(LAYERS, LAYERS + MORE_LAYERS)]
    assert len(model.vision_tower.get_submodule("encoder.layers")) == LAYERS + MORE_LAYERS
    other = taught(dataset_folder, language, tmp_path / "longer", more_steps=2)
    longer = AutoModelForImageTextToText.from_pretrained(other).model.vision_tower.state_dict()
    for name, weight in model.vision_tower.state_dict().items():
        added = any(layer in name for layer in layers)  # the other layers are frozen in the second part
        assert torch.equal(weight, longer[name]) != added, name
    language_layers = model.language_model.layers.state_dict()
    for name, weight in LlamaForCausalLM.from_pretrained(language).model.layers.state_dict().items():
        torch.testing.assert_close(language_layers[name], weight, rtol=0, atol=0)
    assert not list(small.parent.glob(".*"))


def test_invalid_options_are_one_line_errors(dataset_folder: Path, language: Path, small: Path, tmp_path: Path) -> None:
    for output, patch, message in (
        (small, 16, str(small)),
        (tmp_path / "odd", 14, "--patch: "),
        (tmp_path / "few", 8, "--patch: 8 pixels"),
    ):
        done = run("teach", "--data", dataset_folder, "--language", language, "--output", output, "--patch", patch)
        assert done.exit_code == 2 and f"error: {message}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_tower_is_probed(dataset_folder: Path, small: Path) -> None:
    shown = run("probe", small, "--data", dataset_folder).stdout
    test = load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="test")
    bona_fide = test.filter(lambda label: label == "bona_fide", input_columns="label")
    people = {identities[0] for identities in bona_fide["identities"]}
    most = max(bona_fide.num_rows, test.num_rows - bona_fide.num_rows) / test.num_rows
    assert f"majority {most:.1%}, on {test.num_rows} images" in shown
    assert f"bona fide by person, {len(people)} people: " in shown
    assert all(f"{category}: " in shown for category in set(test["category"]))
