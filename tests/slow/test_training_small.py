"""The small model of DINOv2-S and SmolLM2-135M: its trained parts, and its shared prefix compared with TRL's rows.

DFA_TEST_VISION and DFA_TEST_LANGUAGE are the folders or Hub ids of the two pretrained models.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from modeling_dfa_gpt.bases.assemble import assemble
from modeling_dfa_gpt.preflight import check_base, check_template
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator
from modeling_dfa_gpt.trainable_parts import check_trainable

TARGETS = r"model\.language_model\..*\.(q|k|v|o|gate|up|down)_proj"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small base with 64 image tokens."""
    given = [os.environ.get(name) for name in ("DFA_TEST_VISION", "DFA_TEST_LANGUAGE")]
    if not all(given):
        pytest.skip("needs DFA_TEST_VISION and DFA_TEST_LANGUAGE")
    folder = tmp_path_factory.mktemp("small") / "base"
    assemble(str(given[0]), str(given[1]), folder, image_size=112)
    return folder


@pytest.fixture(scope="module")
def model(small: Path) -> Any:
    torch.manual_seed(0)
    config = LoraConfig(r=8, target_modules=TARGETS, modules_to_save=["multi_modal_projector"])
    adapted = get_peft_model(AutoModelForImageTextToText.from_pretrained(small, dtype=torch.float32), config).eval()
    for name, parameter in adapted.named_parameters():  # if LoRA's B were zero, the gradients of A would be zero
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    return adapted


def test_only_lora_and_the_projector_are_trained(small: Path, model: Any) -> None:
    processor = AutoProcessor.from_pretrained(small)
    check_base("small", model.config, processor)
    check_template(processor, [processor.tokenizer.eos_token])
    check_trainable(model)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trained) == 30 * 7 * 2 + 4


def test_loss_and_gradients_equal_those_of_separate_rows(small: Path, model: Any, dataset_folder: Path) -> None:
    """Compare an image with branches of several turns, and one without some questions, with one row per branch."""
    processor = AutoProcessor.from_pretrained(small)
    rows = load_dataset("dfa-instruct", "conversations", data_dir=str(dataset_folder), split="train")
    plain = [{"role": m["role"], "content": m["content"]} for m in rows[1]["messages"]]
    packed = [rows[0], {**rows[1], "messages": [*plain[:2], *plain[4:6]]}]
    branches: dict[Any, list[dict[str, Any]]] = {}
    for number, row in enumerate(packed):
        for turn in range(0, len(row["messages"]), 2):
            pair = row["messages"][turn : turn + 2]
            branches.setdefault((number, pair[0].get("branch", turn)), []).extend(pair)
    separate = [{"images": packed[number]["images"], "messages": turns} for (number, _), turns in branches.items()]

    def run(batch: Any) -> tuple[float, dict[str, torch.Tensor]]:
        model.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        return float(loss), {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}

    loss, gradients = run(SharedPrefixCollator(processor)(packed))
    collator = DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)
    expected, expected_gradients = run(collator(separate))
    assert loss == pytest.approx(expected, rel=1e-4)
    for name, gradient in gradients.items():
        assert (gradient - expected_gradients[name]).norm() <= 1e-4 * expected_gradients[name].norm(), name
