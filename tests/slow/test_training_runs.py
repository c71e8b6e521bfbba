"""Complete trainings: killed and resumed, with two processes, and compared with TRL (takes minutes)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset, load_dataset
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer

from modeling_dfa_gpt.checkpoints import last_checkpoint
from modeling_dfa_gpt.dfa_gpt import DfaGpt
from modeling_dfa_gpt.sft import train

RECIPES = Path(__file__).parents[2] / "recipes"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
TARGETS = r"model\.language_model\..*\.(q|k|v|o|gate|up|down)_proj"


def write_recipe(folder: Path, base: Path, **changes: Any) -> Path:
    recipe = yaml.safe_load((RECIPES / "dfa-gpt-tiny" / "sft.yaml").read_text())
    recipe |= {"model_name_or_path": str(base), "output_dir": str(folder / "run"), "logging_steps": 1}
    recipe["gradient_accumulation_steps"] = 1
    recipe["datasets"] = [{"path": "dfa-instruct", "name": "conversations_d_c_ad"}]
    path = folder / f"{len(list(folder.glob('*.yaml')))}.yaml"
    path.write_text(yaml.safe_dump({**recipe, **changes}))
    return path


def launch(config: str, recipe: Path, data: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*LAUNCH, str(RECIPES / "accelerate_configs" / f"{config}.yaml"), "-m", "modeling_dfa_gpt.sft"]
    return subprocess.Popen(
        [*command, "--config", str(recipe), *arguments],
        env={**os.environ, "DFA_INSTRUCT_DIR": str(data), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        text=True,
    )


def losses(folder: Path) -> list[float]:
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in log if "loss" in entry]


def difference(one: Path, other: Path) -> float:
    a, b = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("order", ["random", "group_by_length"])
def test_a_resumed_run_has_the_same_adapter(base: Path, dataset_folder: Path, tmp_path: Path, order: str) -> None:
    recipe = write_recipe(
        tmp_path,
        base,
        num_train_epochs=3,
        per_device_train_batch_size=4,
        save_strategy="steps",
        save_steps=3,
        save_total_limit=2,
        train_sampling_strategy=order,
        max_length=1024,
        projector_learning_rate=1e-4,
    )
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert launch("cpu", recipe, dataset_folder, "--output_dir", str(undisturbed)).wait() == 0

    first = launch("cpu", recipe, dataset_folder, "--output_dir", str(killed))
    while last_checkpoint(killed) is None and first.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 3))
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (killed / "adapter_model.safetensors").exists(), "the run ended before it was killed"
    assert launch("cpu", recipe, dataset_folder, "--output_dir", str(killed)).wait() == 0
    assert difference(undisturbed, killed) <= 1e-6
    assert losses(killed) == pytest.approx(losses(undisturbed), abs=1e-6)


def test_two_processes_equal_one_with_twice_the_batch(base: Path, dataset_folder: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, base, max_steps=8, lora_dropout=0.0)
    two, one = tmp_path / "two", tmp_path / "one"
    half = ("--per_device_train_batch_size", "3", "--output_dir", str(two))
    assert launch("multi_cpu", recipe, dataset_folder, *half).wait() == 0
    double = ("--per_device_train_batch_size", "6", "--output_dir", str(one))
    assert launch("cpu", recipe, dataset_folder, *double).wait() == 0
    assert len(losses(two)) == 8
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    face = load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="test[:1]")[0]["image"]
    assert isinstance(DfaGpt.from_pretrained(two).chat(face).ask("Has this face been forged?"), str)


def test_twenty_steps_have_the_losses_of_trl(base: Path, dataset_folder: Path, tmp_path: Path) -> None:
    rows = load_dataset("dfa-instruct", "conversations", data_dir=str(dataset_folder), split="train")
    rows = rows.remove_columns(["face_id"])

    def first_three(row: dict[str, Any]) -> dict[str, Any]:
        plain = [{"role": message["role"], "content": message["content"]} for message in row["messages"]]
        return {"images": row["images"], "messages": plain[:6]}  # without `branch`, every question is a branch

    shared = Dataset.from_list([first_three(row) for row in rows])
    stock = Dataset.from_list(
        [{**row, "messages": row["messages"][turn : turn + 2]} for row in shared for turn in (0, 2, 4)]
    )
    shared.to_parquet(tmp_path / "rows.parquet")
    ours = {"train_sampling_strategy": "sequential", "lora_dropout": 0.0, "max_steps": 20, "shared_prefix": True}
    ours["datasets"] = [{"path": "parquet", "data_files": str(tmp_path / "rows.parquet")}]
    train(["--config", str(write_recipe(tmp_path, base, per_device_train_batch_size=2, **ours))])

    recipe = yaml.safe_load((RECIPES / "dfa-gpt-tiny" / "sft.yaml").read_text())
    same = ("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "seed")
    config = SFTConfig(
        output_dir=str(tmp_path / "stock"),
        per_device_train_batch_size=6,
        train_sampling_strategy="sequential",
        max_steps=20,
        logging_steps=1,
        assistant_only_loss=True,
        max_length=None,
        activation_checkpointing=False,
        bf16=False,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        **{key: recipe[key] for key in same},
    )
    rank = {"r": recipe["lora_r"], "lora_alpha": recipe["lora_alpha"], "lora_dropout": 0.0}
    trainer = SFTTrainer(
        AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32),
        config,
        train_dataset=stock,
        processing_class=AutoProcessor.from_pretrained(base),
        peft_config=LoraConfig(
            target_modules=TARGETS, modules_to_save=["multi_modal_projector"], task_type="CAUSAL_LM", **rank
        ),
    )
    trainer.train()
    expected = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(expected) == 20 and expected[-1] < expected[0]
    assert losses(tmp_path / "run") == pytest.approx(expected, rel=1e-3)
