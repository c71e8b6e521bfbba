"""The trainer: undecodable images, the projector's learning rate, the order of rows, and checkpoints."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import load_dataset
from safetensors.torch import load_file
from tiny_recipe import tiny_recipe
from transformers import AutoProcessor

from modeling_dfa_gpt.checkpoints import last_checkpoint
from modeling_dfa_gpt.data import DecodingCollator, EpochSampler, undecoded
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.sft import train
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator
from modeling_dfa_gpt.trainer import DfaTrainer, UndecodableError

SMALL_STEPS = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}


@pytest.fixture(scope="module")
def rows(dataset_folder: Path) -> Any:
    return undecoded(load_dataset("dfa-instruct", "conversations", data_dir=str(dataset_folder), split="train[:12]"))


def write_rows(rows: Any, broken: set[int], path: Path) -> list[dict[str, Any]]:
    """Write rows as Parquet, some with truncated images, and return them as the datasets of a recipe."""

    def truncate(row: dict[str, Any], number: int) -> dict[str, Any]:
        [image] = row["images"]
        return {"images": [{**image, "bytes": image["bytes"][:200]}]} if number in broken else row

    rows.map(truncate, with_indices=True, features=rows.features).to_parquet(path)
    return [{"path": "parquet", "data_files": str(path)}]


def run(folder: Path, base: Path, data: list[dict[str, Any]], **changes: Any) -> Path:
    """Train the tiny recipe with changes, and return the folder of the run."""
    settings = {"datasets": data, "max_steps": 3, "logging_steps": 1, **SMALL_STEPS, **changes}
    train(["--config", str(tiny_recipe(folder, base, **settings))])
    return folder / "run"


LENGTHS = [(7 * i) % 50 + 1 for i in range(200)]


def history(folder: Path, key: str) -> list[float]:
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry[key] for entry in log if key in entry]


@pytest.mark.parametrize(("workers", "order"), [(0, "random"), (2, "group_by_length")])
def test_an_undecodable_image_is_named_and_counted(
    rows: Any, base: Path, tmp_path: Path, workers: int, order: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(rows, {5}, tmp_path / "rows.parquet")
    loading = {"dataloader_num_workers": workers, "train_sampling_strategy": order}
    folder = run(tmp_path, base, data, max_steps=-1, num_train_epochs=1, **loading)
    assert len(history(folder, "loss")) == 6  # every batch of the epoch was trained on
    assert history(folder, "skipped_images")[-1] == 1
    name = rows[5]["images"][0]["path"]
    assert f"skipped {name}: does not decode as an image" in capfd.readouterr().err


def test_accumulated_batches_sorted_by_length_train_the_same_adapter(
    base: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    data = [  # rows of seven questions and of one
        {"path": "dfa-instruct", "name": name, "split": split}
        for name, split in (("conversations", "train[:8]"), ("conversations_d", "train[8:16]"))
    ]
    single = run(tmp_path / "single", base, data, per_device_train_batch_size=8, gradient_accumulation_steps=1)
    parts = run(tmp_path / "parts", base, data, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert history(parts, "loss") == pytest.approx(history(single, "loss"), rel=1e-4)
    weights = load_file(single / "adapter_model.safetensors")
    for name, weight in load_file(parts / "adapter_model.safetensors").items():
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=1e-4, msg=name)


def test_a_skipped_row_has_no_labels(rows: Any, base: Path) -> None:
    collate = DecodingCollator(SharedPrefixCollator(AutoProcessor.from_pretrained(base)))
    good = [rows[0], rows[1]]
    bad = [rows[0], {**rows[1], "images": [{"bytes": b"no picture", "path": "x.png"}]}]
    expected, batch = collate(good), collate(bad)
    assert (batch["labels"][1] == -100).all() and (expected["labels"][1] != -100).any()
    assert torch.equal(batch["labels"][0], expected["labels"][0])
    assert torch.equal(batch["pixel_values"][0], expected["pixel_values"][0])
    assert (collate.seen.value, collate.skipped.value) == (4, 1)


def test_too_many_undecodable_images_stop_the_training(
    rows: Any, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeling_dfa_gpt.trainer.SKIPPED_AT_LEAST", 3)
    data = write_rows(rows, set(range(8)), tmp_path / "rows.parquet")
    with pytest.raises(UndecodableError, match=r"of \d+ images cannot be decoded"):
        run(tmp_path, base, data, max_steps=6)


def test_the_projector_has_its_own_learning_rate(rows: Any, base: Path, tmp_path: Path) -> None:
    data = write_rows(rows, set(), tmp_path / "rows.parquet")
    folder = run(tmp_path, base, data, learning_rate=1e-2, projector_learning_rate=0.0)
    trained = load_file(folder / "adapter_model.safetensors")
    before = load_file(base / "model.safetensors")
    name = "multi_modal_projector.linear_1.weight"
    [projector] = [p for n, p in trained.items() if n.endswith(name)]
    [initial] = [p for n, p in before.items() if n.endswith(name)]
    assert torch.equal(projector, initial)
    assert all((p != 0).any() for n, p in trained.items() if "lora_B" in n)


def order(lengths: list[int] | None, grouped: bool = False, seed: int = 0, epoch: int = 0) -> list[int]:
    return list(EpochSampler(200, lengths, grouped, 8, seed, lambda: epoch))


def padded_tokens(lengths: list[int], indices: list[int], batch: int) -> int:
    batches = [indices[start : start + batch] for start in range(0, len(indices), batch)]
    return sum(batch * max(lengths[i] for i in rows) for rows in batches)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_order_depends_only_on_seed_and_epoch(grouped: bool) -> None:
    for lengths in (None, LENGTHS):
        first, later, other = (order(lengths, grouped, *at) for at in ((0, 0), (0, 1), (1, 0)))
        assert sorted(first) == list(range(200))
        assert first == order(lengths, grouped) and first != later and first != other


def test_lengths_sort_rows_within_a_step() -> None:
    random, ordered, grouped = order(None), order(LENGTHS), order(LENGTHS, grouped=True)
    for start in range(0, 200, 8):
        assert set(random[start : start + 8]) == set(ordered[start : start + 8])
    assert padded_tokens(LENGTHS, ordered, batch=2) < 0.85 * padded_tokens(LENGTHS, random, batch=2)
    assert padded_tokens(LENGTHS, grouped, batch=8) < 0.75 * padded_tokens(LENGTHS, random, batch=8)


WHOLE = {"use_peft": False, "freeze_vision_tower": True}


@pytest.mark.parametrize(("kind", "file"), [({}, "adapter_model.safetensors"), (WHOLE, "model.safetensors")])
def test_the_model_with_the_best_validation_loss_is_saved(
    kind: dict[str, bool], file: str, base: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    steps = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "save_total_limit": 1}
    data = [{"path": "dfa-instruct", "name": "conversations_d"}]
    stale = [tmp_path / "run" / name for name in ("results.json", "calibration.json")]  # measured with other weights
    (tmp_path / "run").mkdir()
    for measured in stale:
        measured.write_text("{}")
    rate = {"learning_rate": 0.5, "warmup_steps": 0}
    folder = run(tmp_path, base, data, validation_split="validation", **rate, **kind, **steps, **best)
    assert not any(measured.exists() for measured in stale)
    losses = history(folder, "eval_loss")
    assert len(losses) == 3
    kept = folder / f"checkpoint-{losses.index(min(losses)) + 1}"
    saved, best_saved = (load_file(where / file) for where in (folder, kept))
    assert saved.keys() == best_saved.keys()
    assert all(torch.equal(saved[name], best_saved[name]) for name in best_saved)


def test_a_whole_model_resumes_with_its_trained_weights(rows: Any, base: Path, tmp_path: Path) -> None:
    data = write_rows(rows, set(), tmp_path / "rows.parquet")
    saving = {"save_strategy": "steps", "save_steps": 1, "learning_rate": 1e-2, **WHOLE}
    folder = run(tmp_path, base, data, **saving)
    trained, losses = load_file(folder / "model.safetensors"), history(folder, "loss")
    for checkpoint in ("checkpoint-2", "checkpoint-3"):
        shutil.rmtree(folder / checkpoint)
    (folder / "trainer_state.json").unlink()
    resumed = run(tmp_path, base, data, **saving)
    assert history(resumed, "loss") == losses
    assert all(torch.equal(trained[name], tensor) for name, tensor in load_file(folder / "model.safetensors").items())


def test_a_full_disk_keeps_the_previous_checkpoint(
    rows: Any, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_rows(rows, set(), tmp_path / "rows.parquet")
    save = DfaTrainer._save_optimizer_and_scheduler
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_on_a_full_disk(self: DfaTrainer, output_dir: str) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]) if self.state.global_step == 2 else limits)
        try:
            save(self, output_dir)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(DfaTrainer, "_save_optimizer_and_scheduler", save_on_a_full_disk)
    saving = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}
    with pytest.raises(OSError, match=r"checkpoint-2: .*checkpoint-1"):
        run(tmp_path, base, data, **saving)
    checkpoint = tmp_path / "run" / "checkpoint-1"
    assert last_checkpoint(tmp_path / "run") == checkpoint and not (tmp_path / "run" / "checkpoint-2").exists()
    monkeypatch.setattr(DfaTrainer, "_save_optimizer_and_scheduler", save)
    folder = run(tmp_path, base, data, **saving)
    assert len(history(folder, "loss")) == 3 and (folder / "adapter_model.safetensors").is_file()
    assert not list(folder.glob("*.bin")) and not list(folder.glob("checkpoint-*/*.bin"))


def test_incomplete_checkpoints_are_ignored_and_those_of_another_run_refused(
    rows: Any, base: Path, tmp_path: Path
) -> None:
    data = write_rows(rows, set(), tmp_path / "rows.parquet")
    saving = {"save_strategy": "steps", "save_steps": 2}
    folder = run(tmp_path, base, data, **saving)
    assert last_checkpoint(folder) == folder / "checkpoint-3"
    state = folder / "checkpoint-3" / "trainer_state.json"
    state.write_text(state.read_text()[:100])
    assert last_checkpoint(folder) == folder / "checkpoint-2"
    state.unlink()
    assert last_checkpoint(folder) == folder / "checkpoint-2"
    run(tmp_path, base, data, **saving, logging_strategy="no")  # logging may change
    with pytest.raises(RecipeError, match=r"different settings \(learning_rate\)"):
        run(tmp_path, base, data, **saving, learning_rate=1e-4)
    write_rows(rows.select(range(11)), set(), tmp_path / "rows.parquet")
    with pytest.raises(RecipeError, match=r"different settings \(data\)"):
        run(tmp_path, base, data, **saving)
    shutil.rmtree(folder / "checkpoint-2")
    (folder / "run.json").unlink()
    with pytest.raises(RecipeError, match=r"checkpoints but no run\.json"):
        run(tmp_path, base, data, **saving)


@pytest.mark.parametrize("best", [False, True])
def test_a_complete_run_is_not_trained_again(
    base: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: Any, best: bool
) -> None:
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    data = [{"path": "dfa-instruct", "name": "conversations_d", "split": "train[:12]"}]
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1, "lr_scheduler_type": "constant"}
    if best:
        saving |= {"validation_split": "validation", "eval_strategy": "steps", "eval_steps": 1}
        saving |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    folder = run(tmp_path, base, data, **saving)
    adapter = folder / "adapter_model.safetensors"
    trained = adapter.read_bytes()
    for name in ("README.md", "results.json"):
        (folder / name).write_text("measured later")
    run(tmp_path, base, data, **saving)
    assert adapter.read_bytes() == trained and not (folder / "checkpoint-4").exists()
    assert (folder / "README.md").read_text() == (folder / "results.json").read_text() == "measured later"
    # as if killed after the last checkpoint
    for name in ("adapter_model.safetensors", "trainer_state.json", "README.md"):
        (folder / name).unlink()
    run(tmp_path, base, data, **saving)
    assert adapter.read_bytes() == trained and len(history(folder, "loss")) == 3
    assert "not measured yet" in (folder / "README.md").read_text().lower()
    assert not list(folder.glob("*.pt")) and not list(folder.glob("*.bin"))
