"""Training by rewards: the adapter changes, the run resumes, and wrong recipes are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import load_dataset
from safetensors.torch import load_file

from modeling_dfa_gpt.checkpoints import last_checkpoint
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.grpo import prompts, train
from modeling_dfa_gpt.recipe import parse_arguments
from modeling_dfa_gpt.rewards import REWARDS

RECIPE = Path(__file__).parents[2] / "recipes" / "dfa-gpt-tiny" / "grpo.yaml"
QUICK = {
    "num_generations": 4,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "max_completion_length": 40,
    "temperature": 1.5,
    "max_steps": 2,
    "save_steps": 1,
    "logging_steps": 1,
    "warmup_steps": 0,
    "learning_rate": 1e-3,
    "save_total_limit": None,
}


def rewarded_recipe(folder: Path, adapter: Path, **changes: Any) -> Path:
    """Write a quick recipe that trains into `run` in the folder."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8")) | QUICK
    recipe |= {"model_name_or_path": str(adapter), "output_dir": str(folder / "run"), **changes}
    path = folder / "grpo.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(RECIPE.parents[1].rglob("grpo.yaml")), ids=lambda path: path.parent.name)
def test_every_recipe_can_be_read(path: Path) -> None:
    arguments = ["--config", str(path), "--bf16", "false", "--use_cpu", "true"]
    recipe = parse_arguments(arguments, rewarded=True)
    training = recipe.training
    assert len(training.reward_weights) == len(REWARDS)
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps % training.num_generations == 0


def test_it_trains_the_adapter_and_resumes(
    adapter: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    recipe, run = rewarded_recipe(tmp_path, adapter), tmp_path / "run"
    train(["--config", str(recipe)])
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, run))
    assert set(before) == set(after)
    assert any(not torch.equal(before[name], after[name]) for name in before if ".lora_" in name)
    assert not {path.suffix for path in run.iterdir()} & {".bin", ".pt", ".pkl"}
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    assert {f"rewards/{name}/mean" for name in ("verdict", "category", "regions", "brevity")} <= set(history[0])
    card = (run / "README.md").read_text()
    assert "| reward | 1 | 2 |\n| --- | ---: | ---: |\n| brevity |" in card and "| verdict |" in card

    # A killed run has a checkpoint only.
    shutil.rmtree(run / "checkpoint-2")
    for name in ("trainer_state.json", "adapter_model.safetensors"):
        (run / name).unlink()
    train(["--config", str(recipe)])
    resumed = json.loads((run / "trainer_state.json").read_text())["log_history"]
    assert resumed[0] == history[0] and resumed[1]["rewards/verdict/mean"] == history[1]["rewards/verdict/mean"]
    check_published(run, after)

    # A run that was killed after its last checkpoint takes no further step.
    for name in ("trainer_state.json", "adapter_model.safetensors"):
        (run / name).unlink()
    train(["--config", str(recipe)])
    check_published(run, after)
    assert last_checkpoint(run) == run / "checkpoint-2"


def check_published(run: Path, expected: dict[str, torch.Tensor]) -> None:
    found = load_file(run / "adapter_model.safetensors")
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    assert (run / "trainer_state.json").is_file() and "| reward |" in (run / "README.md").read_text()


def test_half_of_the_questions_follow_earlier_turns(dataset_folder: Path) -> None:
    rows = load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="train")
    asked = prompts(rows, seed=0)
    turns = [len(row["prompt"]) for row in asked]
    assert 1 in turns and max(turns) > 1 and all(count % 2 for count in turns)
    assert [row["prompt"] for row in asked] == [row["prompt"] for row in prompts(rows, seed=0)]
    for row in asked:
        assert row["prompt"][-1] == {"role": "user", "content": row["question"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward_weights": [1.0]}, "reward_weights: expected 4 numbers, for verdict, category, regions, brevity"),
        ({"num_generation": 2}, "unknown key 'num_generation'; did you mean 'num_generations'?"),
        ({"datasets": [{"path": "dfa-instruct", "name": "qa", "split": "train"}]}, "expected the config default"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(
    changes: dict[str, Any],
    message: str,
    adapter: Path,
    dataset_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    with pytest.raises(RecipeError, match=message.replace("?", r"\?")) as raised:
        train(["--config", str(rewarded_recipe(tmp_path, adapter, **changes))])
    assert "\n" not in str(raised.value)


def test_a_base_is_refused_by_the_command(base: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modeling_dfa_gpt.grpo", "--config", str(rewarded_recipe(tmp_path, base))]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode and "expected the folder of an adapter" in run.stderr and "Traceback" not in run.stderr
