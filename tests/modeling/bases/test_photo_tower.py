"""The tower for photographs: its training pairs, that it learns and resumes, and its base."""

from __future__ import annotations

from functools import wraps
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, load_dataset
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor, CLIPImageProcessor

from modeling_dfa_gpt.app.attention import attention_received
from modeling_dfa_gpt.bases import tower
from modeling_dfa_gpt.bases.photo_tower import (
    ForgeryReader,
    Pairs,
    degrade,
    make_photo_base,
    new_tower,
    steps_for,
    teach_base,
    teach_tower,
)
from modeling_dfa_gpt.dfa_gpt import DfaGpt
from modeling_dfa_gpt.forgery_map import patch_features
from modeling_dfa_gpt.preflight import check_base, check_template


@pytest.fixture(scope="module")
def train(dataset_folder: Path) -> Dataset:
    return load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="train")


def pairs_of(train: Dataset, count: int, own: float) -> Pairs:
    return Pairs(train, CLIPImageProcessor(), count, own, seed=0)


@pytest.mark.parametrize("own", [0.0, 1.0])
def test_a_pair_differs_where_its_patches_are_forged(train: Dataset, own: float) -> None:
    pairs = pairs_of(train, 12, own)
    assert len(pairs) == 12
    for item in (pairs[number] for number in range(12)):
        difference = (item["pixel_values"][1] - item["pixel_values"][0]).abs().amax(0)
        of_patch = torch.nn.functional.avg_pool2d(difference[None], 16)[0].flatten()
        forged = item["forged"].bool()
        assert item["pixel_values"].shape == (2, 3, 128, 128) and forged.shape == (64,)
        assert item["technique"] > 0 and pairs.names[0] == "bona_fide"
        if forged.any() and not forged.all():
            assert of_patch[forged].mean() > of_patch[~forged].mean()


def test_faces_that_cannot_be_forged_leave_the_datasets_own_forgeries(train: Dataset) -> None:
    without = train.remove_columns("landmarks").add_column("landmarks", [None] * len(train))
    assert {pairs_of(without, 8, 0.0).draw(np.random.default_rng(n))[3] for n in range(8)} <= set(train["technique"])
    bona_fide = without.filter(lambda label: label == "bona_fide", input_columns="label")
    with pytest.raises(ValueError, match="could be forged"):
        pairs_of(bona_fide, 8, 0.5)[0]


def test_forgeries_are_drawn_as_often_as_they_occur(train: Dataset) -> None:
    numbers = {
        technique: [n for n, of in enumerate(train["technique"]) if of == technique] for technique in ("lips", "skin")
    }
    bona_fide = [n for n, label in enumerate(train["label"]) if label == "bona_fide"]
    rows = train.select(bona_fide[:2] + numbers["lips"][:1] + 7 * numbers["skin"][:1])
    pairs = pairs_of(rows, 1, own=1.0)
    rng = np.random.default_rng(0)
    drawn = [pairs.draw(rng)[3] for _ in range(80)]
    assert set(drawn) == {"lips", "skin"} and 1 <= drawn.count("lips") <= 20  # one in eight, and not one in two


def test_small_faces_are_enlarged() -> None:
    small = np.zeros((64, 64, 3), np.uint8)
    first, second, area = degrade(small, small, np.ones((64, 64), bool), np.random.default_rng(0))
    assert first.shape == second.shape == (128, 128, 3) and area.shape == (128, 128) and area.min() == 1


def test_the_same_item_is_the_same_pair(train: Dataset) -> None:
    first, again = (pairs_of(train, 4, 0.5)[3] for _ in range(2))
    assert torch.equal(first["pixel_values"], again["pixel_values"])
    assert not torch.equal(first["pixel_values"], pairs_of(train, 4, 0.5)[2]["pixel_values"])


@pytest.mark.parametrize("killed_in", [3, None])
def test_a_killed_training_ends_with_the_same_weights(
    train: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: int | None
) -> None:
    monkeypatch.setattr(tower, "SAVE_STEPS", 2)
    pairs = pairs_of(train, 4 * 16, 0.5)

    def taught(folder: Path) -> dict[str, torch.Tensor]:
        made = new_tower(pairs)
        teach_tower(made, pairs, 4, 1e-3, folder)
        return made.state_dict()

    before, once = new_tower(pairs).state_dict(), taught(tmp_path / "once")
    assert any(not torch.equal(before[name], weights) for name, weights in once.items())
    if killed_in:
        steps, forward = iter(range(1, 5)), ForgeryReader.forward

        @wraps(forward)  # Trainer reads the names of the arguments
        def killed(self: ForgeryReader, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
            if next(steps) == killed_in:
                raise KeyboardInterrupt
            return forward(self, **batch)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(ForgeryReader, "forward", killed)
            taught(tmp_path / "killed")
    again = taught(tmp_path / ("killed" if killed_in else "once"))
    assert all(torch.equal(once[name], weights) for name, weights in again.items())


def test_checkpoints_belong_to_the_faces_and_not_to_the_folder_they_were_read_from(
    train: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Dataset.from_dict(train.to_dict(), features=train.features)
    assert copied._fingerprint != train._fingerprint
    fewer = train.filter(lambda face: face != train[0]["face_id"], input_columns="face_id")
    for rows in (train, copied, fewer):
        teach_tower(new_tower(pairs_of(rows, 16, 0.0)), pairs_of(rows, 16, 0.0), 1, 1e-3, tmp_path)
    assert len(list(tmp_path.glob("tower-*"))) == 2


def test_the_loss_of_a_batch_falls(train: Dataset) -> None:
    pairs = pairs_of(train, 4, 0.0)
    reader = ForgeryReader(new_tower(pairs), len(pairs.names))
    batch = {key: torch.stack([torch.as_tensor(pairs[n][key]) for n in range(4)]) for key in pairs[0]}
    optimizer = torch.optim.AdamW(reader.parameters(), 3e-3)
    losses = []
    for _ in range(15):
        loss = reader(**batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


def test_the_base_is_a_llava_that_can_be_trained(train: Dataset, tmp_path: Path) -> None:
    make_photo_base(train, tmp_path / "base", tower_steps=1)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "base")
    processor = AutoProcessor.from_pretrained(tmp_path / "base")
    check_base("the base", model.config, processor)
    check_template(processor, [processor.tokenizer.eos_token])
    assert model.config.vision_config.model_type == "focalnet"
    dfa_gpt = DfaGpt(model, processor)
    face = train[0]["image"]
    assert attention_received(dfa_gpt, face) is None and patch_features(dfa_gpt, [face]).shape[:3] == (1, 8, 8)


def test_the_more_people_the_more_steps() -> None:
    def rows(people: int) -> Dataset:
        forged, bona_fide = [["a generated face"]], [[f"person {number}"] for number in range(people)]
        return Dataset.from_dict({"identities": bona_fide + forged, "label": ["bona_fide"] * people + ["forged"]})

    assert [steps_for(rows(people), 100, 600) for people in (22, 250, 2000)] == [100, 250, 600]


def test_a_base_is_taught_a_dataset(train: Dataset, dataset_folder: Path, tmp_path: Path) -> None:
    make_photo_base(train, tmp_path / "base", tower_steps=1)
    teach_base(tmp_path / "base", dataset_folder, tmp_path / "taught", steps=2)
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "taught"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and changed and all("vision_tower" in name for name in changed)
    assert not (tmp_path / "taught.work").exists()
