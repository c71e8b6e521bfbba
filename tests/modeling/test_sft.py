"""Training: the label mask, the trained parts and the errors of a wrong recipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import load_dataset
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from tiny_recipe import tiny_recipe
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from modeling_dfa_gpt.dfa_gpt import merge
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.sft import train
from modeling_dfa_gpt.trainable_parts import check_trainable

RECIPES = Path(__file__).parents[2] / "recipes" / "dfa-gpt-tiny"
CPU = RECIPES.parent / "accelerate_configs" / "cpu.yaml"


def test_the_loss_covers_only_the_answers(base: Path, dataset_folder: Path) -> None:
    rows = load_dataset("dfa-instruct", "conversations", data_dir=str(dataset_folder), split="train[:2]")
    processor = AutoProcessor.from_pretrained(base)
    collate = DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)
    batch = collate([rows[0], rows[1]])
    for row, ids, labels in zip(rows, batch["input_ids"], batch["labels"], strict=True):
        answers = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        in_loss = labels[labels != -100]
        assert processor.tokenizer.decode(in_loss) == "".join(f" {answer}</s>" for answer in answers)
        assert torch.equal(in_loss, ids[labels != -100])
        text = processor.tokenizer.decode(ids[ids != processor.tokenizer.pad_token_id])
        assert text.startswith("<s>A chat between") and text.count("<s>") == 1
        assert text.count("<image>") == 64 and text.count("ASSISTANT:") == 7


def test_the_adapter_contains_lora_and_the_projector_only(adapter: Path) -> None:
    names = set(load_file(adapter / "adapter_model.safetensors"))
    lora = {n for n in names if ".language_model." in n and ".lora_" in n}
    projector = {n for n in names if ".multi_modal_projector." in n}
    assert names == lora | projector
    assert len(lora) == 4 * 7 * 2 and len(projector) == 4
    assert not {p.suffix for p in adapter.iterdir()} & {".bin", ".pt", ".pkl"}


def test_the_card_of_an_adapter_states_no_figures(adapter: Path, base: Path) -> None:
    card = (adapter / "README.md").read_text()
    assert "pipeline_tag: image-text-to-text" in card and str(base) in card
    assert "not measured yet" in card.lower() and "More Information Needed" not in card


def test_training_changes_the_adapter_but_not_the_vision_tower(adapter: Path, base: Path) -> None:
    trained = load_file(adapter / "adapter_model.safetensors")
    assert any(t.abs().max() > 0 for n, t in trained.items() if "lora_B" in n)
    before = AutoModelForImageTextToText.from_pretrained(base).state_dict()
    after = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), adapter).get_base_model()
    tower = {n: p for n, p in after.state_dict().items() if "vision_tower" in n}
    assert tower and all(torch.equal(p, before[n]) for n, p in tower.items())
    projector = next(
        p for n, p in after.state_dict().items() if "modules_to_save" in n and n.endswith("linear_1.weight")
    )
    assert not torch.equal(projector, before["model.multi_modal_projector.linear_1.weight"])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_lora_adapts_the_vision_tower_if_asked(
    checkpointing: bool, base: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    settings = {"lora_vision_tower": True, "activation_checkpointing": checkpointing}
    recipe = tiny_recipe(tmp_path, base, **settings, max_steps=2, gradient_accumulation_steps=1)
    train(["--config", str(recipe)])
    trained = load_file(tmp_path / "run" / "adapter_model.safetensors")
    changed = {n for n, t in trained.items() if ".vision_tower." in n and "lora_B" in n and t.abs().max() > 0}
    assert len(changed) == 4 * 6  # blocks, and their linear layers
    assert {n for n in trained if ".lora_" not in n} == {n for n in trained if ".multi_modal_projector." in n}
    before = AutoModelForImageTextToText.from_pretrained(base)
    merge(tmp_path / "run", tmp_path / "merged")
    after = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").state_dict()
    name = "model.vision_tower.encoder.layers.0.mlp.fc1.weight"
    assert not torch.equal(before.state_dict()[name], after[name])
    assert "a LoRA adapter for the vision tower and the language model" in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.parametrize(
    ("targets", "saved", "message"),
    [
        (["q_proj", "v_proj"], ["multi_modal_projector"], "would train .*vision_tower"),
        (r"model\.language_model\..*\.q_proj", None, "lora_modules_to_save .*projector"),
        (r"model\.language_model\..*\.q_proj", ["multi_modal_projector", "lm_head"], "would train .*lm_head"),
    ],
)
def test_other_trainable_weights_are_refused(
    base: Path, targets: object, saved: list[str] | None, message: str
) -> None:
    config = LoraConfig(target_modules=targets, modules_to_save=saved, r=4)
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(base), config)
    with pytest.raises(RecipeError, match=message):
        check_trainable(model, vision_tower=False)


@pytest.mark.parametrize(
    ("launcher", "status"),
    [
        ([], 2),
        (["-m", "accelerate.commands.launch", "--quiet", "--config_file", f"{CPU}"], 1),  # the status of accelerate
    ],
)
def test_a_missing_model_is_a_one_line_error(
    launcher: list[str], status: int, tmp_path: Path, dataset_folder: Path
) -> None:
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "modeling_dfa_gpt.sft", "--config", str(RECIPES / "sft.yaml")]
        + ["--model_name_or_path", str(tmp_path / "absent"), "--output_dir", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env={**os.environ, "DFA_INSTRUCT_DIR": str(dataset_folder)},
    )
    assert done.returncode == status
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "absent: no such model" in errors[0]
    assert "Traceback" not in done.stderr
