"""Training a vision tower on pairs: that it learns, resumes, and is taught a dataset by a command."""

from __future__ import annotations

import shutil
from functools import wraps
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from datasets import Dataset
from safetensors.torch import load_file
from transformers import CLIPImageProcessor
from typer.testing import CliRunner

from modeling_dfa_gpt.bases import TINY_BASE, tower
from modeling_dfa_gpt.bases.forged_pairs import Pairs
from modeling_dfa_gpt.bases.photo_tower import make_photo_base, new_tower
from modeling_dfa_gpt.bases.teach import ForgeryReader, steps_for, teach_tower
from modeling_dfa_gpt.cli import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def pairs_of(train: Dataset, count: int, own: float) -> Pairs:
    return Pairs(train, CLIPImageProcessor(), count, own, seed=0)


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


def test_checkpoints_belong_to_the_faces_the_tower_and_the_steps(train: Dataset, tmp_path: Path) -> None:
    copied = Dataset.from_dict(train.to_dict(), features=train.features)
    assert copied._fingerprint != train._fingerprint
    fewer = train.filter(lambda face: face != train[0]["face_id"], input_columns="face_id")
    for rows in (train, copied, fewer):
        teach_tower(new_tower(pairs_of(rows, 16, 0.0)), pairs_of(rows, 16, 0.0), 1, 1e-3, tmp_path)
    assert len(list(tmp_path.glob("tower-*"))) == 2  # the folder that the faces were read from does not matter
    pairs = pairs_of(train, 16, 0.0)
    other = new_tower(pairs)
    with torch.no_grad():
        next(other.parameters()).add_(0.01)
    teach_tower(other, pairs, 1, 1e-3, tmp_path)
    teach_tower(new_tower(pairs), pairs, 2, 1e-3, tmp_path)
    assert len(list(tmp_path.glob("tower-*"))) == 4


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


def test_the_more_people_the_more_steps() -> None:
    def rows(people: int) -> Dataset:
        forged, bona_fide = [["a generated face"]], [[f"person {number}"] for number in range(people)]
        return Dataset.from_dict({"identities": bona_fide + forged, "label": ["bona_fide"] * people + ["forged"]})

    assert [steps_for(rows(people), 100, 600) for people in (22, 250, 2000)] == [100, 250, 600]


def test_a_base_is_taught_a_dataset(
    train: Dataset, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photo_base(train, tmp_path / "base", tower_steps=1)
    shutil.rmtree(next(tmp_path.glob("tower-*")))
    arguments = ["teach", tmp_path / "base", "--data", dataset_folder, "--output", tmp_path / "taught"]
    forward, beside = ForgeryReader.forward, set()

    @wraps(forward)
    def watched(self: ForgeryReader, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
        beside.update(path.name for path in tmp_path.iterdir())
        return forward(self, **batch)

    with monkeypatch.context() as patch:
        patch.setattr(ForgeryReader, "forward", watched)
        assert run(*arguments, "--steps", 2).exit_code == 0
    assert beside == {"base", "taught.work"}  # a quickstart that was killed here refuses no folder when it is run again
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "taught"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and changed and all("vision_tower" in name for name in changed)
    assert not (tmp_path / "taught.work").exists()
    again = run(*arguments)
    assert again.exit_code == 2 and f"error: {tmp_path / 'taught'} is not an empty folder" in again.stderr
    shutil.rmtree(tmp_path / "taught")
    drawn = run("teach", TINY_BASE, *arguments[2:])
    assert drawn.exit_code == 2 and "expected the vision tower for photographs" in drawn.stderr
    assert not (tmp_path / "taught").exists()
