"""The estimated cost of a training: the paper's counts, and counts that agree with a real training."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from datasets import load_dataset
from families import gemma3, idefics3, llava_next
from tiny_recipe import tiny_recipe
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl.chat_template_utils import get_training_chat_template

from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.estimate import TrainingEstimate, describe, estimate_training
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator

RECIPES = Path(__file__).parents[2] / "recipes"
SEVEN_B = RECIPES / "dfa-gpt-7b"
LLAVA_LORA = {
    "lora_r": 128,
    "lora_alpha": 256,
    "lora_dropout": 0.05,
    "learning_rate": 2e-4,
    "projector_learning_rate": 2e-5,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.03,
    "weight_decay": 0.0,
    "num_train_epochs": 1,
    "optim": "adamw_torch",
    "bf16": True,
    "tf32": True,
    "activation_checkpointing": True,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 1,
    "max_length": 2048,
    "pad_token": "<unk>",
}


@pytest.fixture(autouse=True)
def _data(dataset_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))


@pytest.fixture(scope="module")
def paper(dataset_folder: Path) -> TrainingEstimate:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
        return estimate_training(SEVEN_B / "sft.yaml")


def test_the_model_has_the_parameters_of_the_paper(paper: TrainingEstimate, capsys: pytest.CaptureFixture[str]) -> None:
    assert paper.lora == 319_815_680
    assert paper.parts["projector"] == (0, 20_979_712)
    assert paper.parts["vision tower"] == (303_507_456, 0)
    assert paper.parts["language model"][1] == paper.lora
    assert sum(frozen for frozen, _ in paper.parts.values()) == 7_063_427_072 - 20_979_712
    describe(SEVEN_B / "sft.yaml")
    printed = capsys.readouterr().out
    assert "319,815,680 in LoRA" in printed and "20,979,712 in the projector" in printed


def test_the_shared_prefix_saves_the_tokens_of_the_image(paper: TrainingEstimate) -> None:
    saved = paper.tokens["separate rows"] - paper.tokens["shared prefix"]
    assert saved == pytest.approx((paper.branches - 1) * (576 + 41), rel=0.05)  # the image and the system prompt
    ratio = paper.flops["separate rows"] / paper.flops["shared prefix"]
    assert ratio == pytest.approx(paper.tokens["separate rows"] / paper.tokens["shared prefix"], rel=0.1)
    assert paper.hours("shared prefix") * ratio == pytest.approx(paper.hours("separate rows"))
    # 4 FLOPs per weight and token, and 2 recomputed; nearly all weights are the 6.6 G of the language model
    assert paper.flops["shared prefix"] == pytest.approx(6 * 6.6e9 * paper.tokens["shared prefix"], rel=0.15)


def test_memory_follows_the_recipe(paper: TrainingEstimate) -> None:
    full, quantized = paper.memory, estimate_training(SEVEN_B / "qlora.yaml").memory
    assert full["frozen weights"][0] == pytest.approx(2 * 7.04e9, rel=0.01)
    assert full["AdamW's moments"][0] == 8 * 340_795_392
    assert quantized["frozen weights"][0] < 4.5 * 2**30
    assert sum(one for one, _ in quantized.values()) < 24e9 / 2
    assert all(each <= one for one, each in full.values())


def test_the_counts_of_the_tiny_model_are_those_of_its_training(
    base: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    found = estimate_training(tiny_recipe(tmp_path, base))
    model = AutoModelForImageTextToText.from_pretrained(base)
    frozen = sum(frozen for frozen, _ in found.parts.values())
    assert frozen + found.parts["projector"][1] == sum(p.numel() for p in model.parameters())
    rows = load_dataset("dfa-instruct", "conversations", data_dir=str(dataset_folder), split="train")
    collate = SharedPrefixCollator(AutoProcessor.from_pretrained(base))
    lengths = [collate([row])["input_ids"].numel() for row in rows.select(range(10))]
    assert found.tokens["shared prefix"] == pytest.approx(sum(lengths) / len(lengths), rel=0.1)


def test_the_counts_of_another_family_are_those_of_its_training(dataset_folder: Path, tmp_path: Path) -> None:
    base = idefics3(tmp_path / "base")
    found = estimate_training(tiny_recipe(tmp_path, base, chat_template=None))
    processor = AutoProcessor.from_pretrained(base)
    processor.chat_template = get_training_chat_template(processor)
    rows = load_dataset("dfa-instruct", "conversations", data_dir=str(dataset_folder), split="train")
    lengths = [SharedPrefixCollator(processor)([row])["input_ids"].numel() for row in rows.select(range(10))]
    assert found.tokens["shared prefix"] == pytest.approx(sum(lengths) / len(lengths), rel=0.1)


def test_a_family_without_a_shared_prefix_needs_no_mask_of_the_branches(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, gemma3(tmp_path / "base"), chat_template=None, shared_prefix=None)
    assert estimate_training(recipe).memory["mask of the branches"] == (0.0, 0.0)
    refused = tiny_recipe(tmp_path, tmp_path / "base", chat_template=None, shared_prefix=True)
    with pytest.raises(RecipeError, match=r"recipe\.yaml: shared_prefix: gemma3 does not allow it"):
        estimate_training(refused)


def test_a_family_whose_image_tokens_are_unknown_is_refused(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, llava_next(tmp_path / "base"), chat_template=None)
    with pytest.raises(RecipeError, match=r"recipe\.yaml: model_name_or_path: .* cannot be estimated for llava_next"):
        estimate_training(recipe)


def test_an_adapted_vision_tower_costs_more(base: Path, tmp_path: Path) -> None:
    frozen, adapted = (
        estimate_training(tiny_recipe(tmp_path / name, base, lora_vision_tower=name == "adapted"))
        for name in ("frozen", "adapted")
    )
    in_tower = adapted.parts["vision tower"][1]
    assert frozen.parts["vision tower"] == (adapted.parts["vision tower"][0], 0)
    assert in_tower == adapted.lora - frozen.lora == 4 * 32 * (4 * 2 * 192 + 2 * (192 + 384))  # blocks, rank, widths
    assert adapted.memory["activations"][0] > frozen.memory["activations"][0]
    assert all(adapted.flops[form] > flops for form, flops in frozen.flops.items())


@pytest.mark.parametrize(
    ("name", "parameters", "lora", "image_tokens"),  # the totals of Qwen2.5-VL and SmolVLM2 are the published ones
    [
        ("dfa-gpt-qwen2.5-vl-7b", 8_292_166_656, 322_961_408, 25),
        ("dfa-gpt-internvl3-8b", 7_944_373_760, 322_961_408, 258),
        ("dfa-gpt-smolvlm2-2.2b", 2_246_784_880, 144_703_488, 1_416),
    ],
)
def test_the_models_of_other_recipes_have_these_parameters(
    name: str, parameters: int, lora: int, image_tokens: int
) -> None:
    found = estimate_training(RECIPES / name / "sft.yaml")
    assert sum(frozen for frozen, _ in found.parts.values()) + found.parts["projector"][1] == parameters
    assert found.parts["language model"][1] == found.lora == lora
    assert found.parts["vision tower"][1] == found.parts["projector"][0] == 0
    assert (found.size, found.image.tokens) == ((128, 128), image_tokens)


def test_the_recipe_of_the_paper_has_the_values_of_llava() -> None:
    recipe = yaml.safe_load((SEVEN_B / "sft.yaml").read_text())
    assert {key: recipe[key] for key in LLAVA_LORA} == LLAVA_LORA


@pytest.mark.parametrize("name", ["7b", "qwen2.5-vl-7b", "internvl3-8b", "smolvlm2-2.2b"])
def test_each_value_names_its_source(name: str) -> None:
    settings = (RECIPES / f"dfa-gpt-{name}" / "sft.yaml").read_text().split("# Logging, validation and saving")[0]
    for line in settings.splitlines():
        if ":" in line and not line.startswith("#") and line != "datasets:":
            assert any(f"# {who}" in line for who in ("paper", "LLaVA", "ours")), line


def test_fewer_abilities_have_fewer_questions(base: Path, tmp_path: Path) -> None:
    assert estimate_training(tiny_recipe(tmp_path, base, abilities=["df_d", "df_c"])).questions == 2


@pytest.mark.parametrize(
    ("key", "value"), [("dtype", "float31"), ("per_device_train_batch_size", "many"), ("lora_r", 0)]
)
def test_an_invalid_value_is_named(key: str, value: object, base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"{key}: expected .*, not '?{value}"):
        estimate_training(tiny_recipe(tmp_path, base, **{key: value}))


def test_the_dtype_of_the_base_is_used(base: Path, tmp_path: Path) -> None:
    assert estimate_training(tiny_recipe(tmp_path, base, dtype="auto")).lora > 0


def test_accelerate_loads_the_configs() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    kinds = {
        path.stem: str(load_config_from_file(str(path)).distributed_type.value)
        for path in (RECIPES / "accelerate_configs").glob("*.yaml")
    }
    assert kinds == {
        "cpu": "NO",
        "multi_cpu": "MULTI_GPU",
        "one_gpu": "NO",
        "multi_gpu": "MULTI_GPU",
        "fsdp": "FSDP",
        "zero2": "DEEPSPEED",
        "zero3": "DEEPSPEED",
    }


def test_a_missing_base_is_named(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model_name_or_path: some/where\ndatasets: [{path: dfa-instruct, name: conversations}]\n")
    with pytest.raises(RecipeError, match=r"some/where is not on disk"):
        estimate_training(recipe)
