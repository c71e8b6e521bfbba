"""The scripts beside the small model's recipe: a base whose tower knows each patch."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import load_dataset
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPImageProcessor,
    LlamaConfig,
    LlamaForCausalLM,
)

from modeling_dfa_gpt.checks import check_base
from modeling_dfa_gpt.processing import train_tokenizer

RECIPE = Path(__file__).parents[3] / "recipes" / "dfa-gpt-small"


@pytest.fixture
def language(tmp_path: Path) -> Path:
    folder = tmp_path / "language"
    tokenizer = train_tokenizer(["bona fide face editing lips skin eyes face swapping"], 300)
    tokenizer.save_pretrained(folder)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder)
    return folder


def test_a_patch_is_named_after_what_was_done_to_it(dataset_folder: Path) -> None:
    patches = runpy.run_path(str(RECIPE / "teach.py"))["Patches"](dataset_folder, 16, CLIPImageProcessor())
    rows = load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="train").remove_columns("image")
    seen = set()
    for row, (_, changed, label) in zip(rows, patches.items, strict=True):
        labels = patches.patch_labels(changed, label)
        if row["label"] == "bona_fide":
            assert not labels.any()
        elif row["category"] == "entire_face_synthesis":
            assert (labels == label).all()
        elif row["category"] == "face_editing":  # some of the face, and nothing around it
            assert 0 < (labels == label).sum() < len(labels) / 2
            assert not (labels[: round(len(labels) ** 0.5)]).any()
        assert row["technique"] is None or row["technique"].replace("_", " ") in patches.names[label]
        seen.add(row["category"])
    assert {"face_editing", "entire_face_synthesis"} <= seen
    item = patches[0]
    assert item["pixel_values"].shape[0] == 3
    assert item["labels"].shape == (64,)


def test_what_is_taught_is_a_llava_whose_language_model_is_as_it_was(
    dataset_folder: Path, language: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    size = ["--width", "32", "--layers", "1", "--patch", "16", "--steps", "2"]
    command = [sys.executable, RECIPE / "teach.py", dataset_folder, language]
    subprocess.run([*command, base, *size, "--more-steps", "2"], check=True)
    subprocess.run([*command, tmp_path / "longer", *size, "--more-steps", "4"], check=True)
    check_base(str(base), AutoConfig.from_pretrained(base), AutoProcessor.from_pretrained(base))
    before = LlamaForCausalLM.from_pretrained(language).model.layers.state_dict()
    model = AutoModelForImageTextToText.from_pretrained(base).model
    assert len(model.vision_tower.get_submodule("encoder.layers")) == 3
    longer = AutoModelForImageTextToText.from_pretrained(tmp_path / "longer").model.vision_tower.state_dict()
    for name, weight in model.vision_tower.state_dict().items():
        added = "layers.1." in name or "layers.2." in name  # the rest stays as it is in the second part
        assert torch.equal(weight, longer[name]) != added, name
    joined = model.language_model.layers.state_dict()
    for name, weight in before.items():
        torch.testing.assert_close(joined[name], weight, rtol=0, atol=0)
    again = subprocess.run([*command, base, *size], capture_output=True, text=True)
    assert again.returncode != 0
    assert f"{base} is there already; name a new folder" in again.stderr


def test_a_frozen_tower_is_measured_by_category_and_by_person(
    dataset_folder: Path, language: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    size = ["--width", "32", "--layers", "1", "--patch", "16", "--steps", "1", "--more-steps", "1"]
    subprocess.run([sys.executable, RECIPE / "teach.py", dataset_folder, language, base, *size], check=True)
    command = [sys.executable, RECIPE / "frozen_tower.py", base, dataset_folder]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    test = load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="test")
    bona_fide = test.filter(lambda label: label == "bona_fide", input_columns="label")
    people = {identities[0] for identities in bona_fide["identities"]}
    most = max(bona_fide.num_rows, test.num_rows - bona_fide.num_rows) / test.num_rows
    assert f"majority {most:.1%}, on {test.num_rows} images" in shown
    assert f"bona fide by person, {len(people)} people: " in shown
