"""The checks before the first training step. Each test makes one mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_recipe import tiny_recipe
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from dfa_instruct.vlm.messages import CHAT_TEMPLATE
from modeling_dfa_gpt.data import GREY
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.label_mask import check_batch
from modeling_dfa_gpt.preflight import check_base, check_messages, check_template
from modeling_dfa_gpt.sft import train
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator
from modeling_dfa_gpt.trainable_parts import count_parameters

ROWS = [
    {
        "images": [GREY],
        "messages": [
            {"role": "user", "content": "Has this face been forged?"},
            {"role": "assistant", "content": "Yes, this face is forged."},
            {"role": "user", "content": "How?"},
            {"role": "assistant", "content": "Face swapping is used."},
        ],
    }
]
ENDS = ["</s>"]
Batch = dict[str, torch.Tensor]


@pytest.fixture
def processor(base: Path) -> Any:
    return AutoProcessor.from_pretrained(base)


@pytest.fixture(params=["shared prefix", "stock rows"])
def batch(request: pytest.FixtureRequest, processor: Any) -> Batch:
    if request.param == "shared prefix":
        return SharedPrefixCollator(processor)(ROWS)
    return dict(DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)(ROWS))


def test_a_correct_mask_is_counted(batch: Batch, processor: Any, base: Path) -> None:
    tokens = check_batch(batch, ROWS, processor, AutoConfig.from_pretrained(base), ENDS)
    assert tokens.image == 64 and tokens.answers == ["Yes, this face is forged.", "Face swapping is used."]
    assert tokens.image + tokens.masked + tokens.trained == batch["input_ids"].numel()
    assert 4 < tokens.trained < tokens.masked


def shift_mask(batch: Batch, by: int) -> None:
    in_loss = batch["labels"].roll(by) != -100
    in_loss[:, 0] = False
    batch["labels"] = torch.where(in_loss, batch["input_ids"], -100)


def truncate(batch: Batch) -> None:
    for name in ("input_ids", "labels"):
        batch[name] = batch[name][:, :-2]


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (lambda batch: shift_mask(batch, -1), "the loss covers"),
        (lambda batch: shift_mask(batch, 1), "the loss covers"),
        (lambda batch: batch.update(labels=batch["labels"].roll(-1)), "a label differs from its token"),
        (lambda batch: batch.update(labels=torch.full_like(batch["labels"], -100)), "every answer is masked"),
        (truncate, "the loss covers"),
        (lambda batch: batch.update(labels=batch["input_ids"].clone()), "the loss covers"),
    ],
    ids=["mask too early", "mask too late", "labels shifted", "all masked", "truncated", "prompts in the loss"],
)
def test_a_wrong_mask_is_refused(breaks: Any, message: str, batch: Batch, processor: Any, base: Path) -> None:
    breaks(batch)
    with pytest.raises(RecipeError, match=f"row 0: {message}"):
        check_batch(batch, ROWS, processor, AutoConfig.from_pretrained(base), ENDS)


def test_one_masked_answer_of_two_is_refused(batch: Batch, processor: Any, base: Path) -> None:
    in_loss = (batch["labels"][0] != -100).nonzero()[:, 0]
    gap = int((in_loss.diff() > 1).nonzero()[0, 0])
    batch["labels"][0, in_loss[gap + 1] :] = -100
    with pytest.raises(RecipeError, match="row 0: the loss covers"):
        check_batch(batch, ROWS, processor, AutoConfig.from_pretrained(base), ENDS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{% generation %}", "", "every answer is masked|generation"),
        (" + eos_token }}{% endgeneration %}", " }}{% endgeneration %}{{ eos_token }}", "the loss covers"),
        ("{{ bos_token }}", "", "omits <s>"),
        ("'USER: ' + '<image>", "'USER: ' + '<img>", "template"),
        (
            "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}",
            "{% if add_generation_prompt %}{{ ' BOT:' }}",
            "training text",
        ),
        ("images + text }}", "images }}", "omits"),
    ],
)
def test_a_broken_template_is_refused(processor: Any, base: Path, old: str, new: str, message: str) -> None:
    assert old in CHAT_TEMPLATE
    processor.chat_template = CHAT_TEMPLATE.replace(old, new)
    if not new and "generation" in old:
        processor.chat_template = processor.chat_template.replace("{% endgeneration %}", "")
    with pytest.raises(ValueError, match=message):
        check_template(processor, ENDS)
        check_batch(SharedPrefixCollator(processor)(ROWS), ROWS, processor, AutoConfig.from_pretrained(base), ENDS)


def test_a_patch_size_other_than_the_tower_s_is_refused(processor: Any, base: Path) -> None:
    processor.patch_size = 32
    with pytest.raises(RecipeError, match="16 image tokens for 64 patches"):
        check_batch(SharedPrefixCollator(processor)(ROWS), ROWS, processor, AutoConfig.from_pretrained(base), ENDS)


def test_a_base_with_another_image_token_is_refused(processor: Any, base: Path) -> None:
    config = AutoConfig.from_pretrained(base)
    check_base("base", config, processor)
    config.image_token_index = 7
    with pytest.raises(RecipeError, match="the image token is 3 in the processor and 7 in the model"):
        check_base("base", config, processor)
    config.image_token_index = processor.image_token_id
    processor.tokenizer.add_tokens(["<new>"])
    with pytest.raises(RecipeError, match="the tokenizer has 1501 tokens, the model 1500"):
        check_base("base", config, processor)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "alternating"),
        ([("assistant", "Yes."), ("user", "Is it?")], "the roles assistant, user"),
        ([("user", "Is it?"), ("assistant", "  ")], "assistant is empty"),
        ([("user", "Is <image> it?"), ("assistant", "Yes.")], "user contains .* <image>"),
        ([("user", "Is it?"), ("assistant", "Yes.</s>")], "assistant contains .* </s>"),
    ],
)
def test_an_invalid_row_is_named(messages: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(RecipeError, match=f"row 4: .*{message}"):
        check_messages([{"role": role, "content": text} for role, text in messages], ["<image>", "</s>"], "row 4")


def test_the_parameters_of_each_part_are_counted(base: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = AutoModelForImageTextToText.from_pretrained(base)
    before = sum(parameter.numel() for parameter in model.parameters())
    targets = r"model\.language_model\..*\.(q|k|v|o|gate|up|down)_proj"
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=targets, modules_to_save=["multi_modal_projector"]))
    parts = count_parameters(adapted)
    assert parts["vision tower"][1] == 0 and parts["projector"][0] == 0
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert sum(trained for _, trained in parts.values()) == trained
    assert sum(frozen for frozen, _ in parts.values()) == before - parts["projector"][1]


DATA = [{"path": "dfa-instruct", "name": "conversations", "split": "train"}]
SHORT = {"max_steps": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}


def recipe_with(folder: Path, base: Path, **changes: Any) -> list[str]:
    return ["--config", str(tiny_recipe(folder, base, **{"datasets": DATA, **SHORT, **changes}))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": [{"path": "dfa-instruct", "name": "conversations", "split": "trian"}]}, "datasets: .*trian"),
        ({"datasets": [{"path": "dfa-instruct", "name": "conversation"}]}, "datasets: .*'conversation' not found"),
        ({"validation_split": "validaton"}, "validation_split: .*validaton"),
        ({"datasets": [{"path": "dfa-instruct", "name": "default"}]}, "images and messages"),
        ({"max_length": 100}, r"max_length: 100 would truncate \d+ of \d+ rows"),
        ({"shared_prefix": False, "max_length": 100}, "max_length: 100 would truncate"),
        ({"lora_modules_to_save": ["lm_head"]}, "would train .*lm_head"),
        ({"lora_target_modules": ["q_proj", "v_proj"]}, "would train .*vision_tower"),
        ({"lora_target_modules": ["all-linear"]}, "would train .*(vision_tower|multi_modal_projector|lm_head)"),
        ({"shared_prefix": True, "attn_implementation": "eager"}, "shared_prefix: .*sdpa.*eager"),
    ],
)
def test_a_recipe_that_does_not_fit_the_base_or_the_data_is_refused(
    changes: dict[str, Any], message: str, base: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    with pytest.raises(ValueError, match=message):
        train(recipe_with(tmp_path, base, **changes))
    assert not (tmp_path / "run" / "adapter_model.safetensors").exists()


def test_truncated_weights_of_a_base_are_named(base: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(base, cut)
    (cut / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(OSError, match=f"{cut}: "):
        train(recipe_with(tmp_path, cut))


def test_a_streamed_dataset_can_be_trained_on(
    base: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    train(recipe_with(tmp_path, base, streaming=True, gradient_accumulation_steps=2, max_steps=1))
    assert (tmp_path / "run" / "adapter_model.safetensors").is_file()


def test_the_trained_parts_and_the_run_are_described(
    base: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    train(recipe_with(tmp_path, base, projector_learning_rate=2e-5, shared_prefix=None))
    printed = capsys.readouterr().out
    for expected in ("vision tower", "2e-05", "1,024 masked", "in the loss", "Answers of the first row: "):
        assert expected in printed
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["settings"]["learning_rate"] == 5e-4 and run["settings"]["projector_learning_rate"] == 2e-5
    assert run["versions"]["trl"] and len(run["data"]["sha256"]) == 64 and run["base"]["name"] == str(base)
    assert not list((tmp_path / "run").glob("*.bin"))
