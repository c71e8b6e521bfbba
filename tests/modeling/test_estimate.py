"""What a training will take: the paper's counts, and counts that agree with what is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from datasets import load_dataset
from transformers import AutoModelForImageTextToText, AutoProcessor

from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.estimate import Description, describe, measure
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
def paper(dataset_folder: Path) -> Description:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
        return measure(SEVEN_B / "sft.yaml")


def test_the_paper_s_model_has_the_paper_s_counts(paper: Description, capsys: pytest.CaptureFixture[str]) -> None:
    found = paper
    assert found.lora == 319_815_680
    assert found.parts["projector"] == (0, 20_979_712)
    assert found.parts["vision tower"] == (303_507_456, 0)
    assert found.parts["language model"][1] == found.lora
    assert sum(frozen for frozen, _ in found.parts.values()) == 7_063_427_072 - 20_979_712
    describe(SEVEN_B / "sft.yaml")
    printed = capsys.readouterr().out
    assert "319,815,680 in LoRA and 20,979,712 in the projector" in printed and "estimated at 4 characters" in printed


def test_the_shared_prefix_saves_what_the_image_costs(paper: Description) -> None:
    found = paper
    saved = found.tokens["separate rows"] - found.tokens["shared prefix"]
    assert saved == pytest.approx((found.branches - 1) * (576 + 41), rel=0.05)  # the image and the system prompt
    ratio = found.flops["separate rows"] / found.flops["shared prefix"]
    assert ratio == pytest.approx(found.tokens["separate rows"] / found.tokens["shared prefix"], rel=0.1)
    assert found.hours("shared prefix") * ratio == pytest.approx(found.hours("separate rows"))
    # 4 FLOPs a weight and token and 2 recomputed: the language model's 6.6 G weights are nearly all of it
    assert found.flops["shared prefix"] == pytest.approx(6 * 6.6e9 * found.tokens["shared prefix"], rel=0.15)


def test_memory_follows_the_recipe(paper: Description) -> None:
    whole, quantised = paper.memory, measure(SEVEN_B / "qlora.yaml").memory
    assert whole["frozen weights"][0] == pytest.approx(2 * 7.04e9, rel=0.01)
    assert whole["AdamW's moments"][0] == 8 * 340_795_392
    assert quantised["frozen weights"][0] < 4.5 * 2**30
    assert sum(one for one, _ in quantised.values()) < 24e9 / 2
    assert all(each <= one for one, each in whole.values())


def test_tiny_counts_are_those_of_its_training(base: Path, dataset_folder: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load((RECIPES / "dfa-gpt-tiny" / "sft.yaml").read_text())
    recipe["datasets"] = [{"path": "dfa-instruct", "name": "conversations", "split": "train"}]
    written = tmp_path / "recipe.yaml"
    written.write_text(yaml.safe_dump({**recipe, "model_name_or_path": str(base)}))
    found = measure(written)
    assert found.counted_by == "counted by the base's own"
    model = AutoModelForImageTextToText.from_pretrained(base)
    frozen = sum(frozen for frozen, _ in found.parts.values())
    assert frozen + found.parts["projector"][1] == sum(p.numel() for p in model.parameters())
    rows = load_dataset("dfa-instruct", "conversations", data_dir=str(dataset_folder), split="train")
    collate = SharedPrefixCollator(AutoProcessor.from_pretrained(base))
    lengths = [collate([row])["input_ids"].numel() for row in rows.select(range(10))]
    assert found.tokens["shared prefix"] == pytest.approx(sum(lengths) / len(lengths), rel=0.1)


def test_the_paper_s_recipe_holds_llava_s_values_and_says_whose_they_are() -> None:
    text = (SEVEN_B / "sft.yaml").read_text()
    recipe = yaml.safe_load(text)
    assert {key: recipe[key] for key in LLAVA_LORA} == LLAVA_LORA
    before_ours = text.split("# Logging, validation and saving")[0]
    for line in before_ours.splitlines():
        if ":" in line and not line.startswith("#") and line != "datasets:":
            assert any(f"# {who}" in line for who in ("paper", "LLaVA", "ours")), line


def test_fewer_abilities_are_fewer_questions(base: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load((RECIPES / "dfa-gpt-tiny" / "sft.yaml").read_text())
    written = tmp_path / "recipe.yaml"
    written.write_text(yaml.safe_dump({**recipe, "model_name_or_path": str(base), "abilities": ["df_d", "df_c"]}))
    assert measure(written).questions == 2


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("dtype", "float31", "dtype: expected auto, float32, bfloat16 or float16, not float31"),
        ("per_device_train_batch_size", "many", "per_device_train_batch_size: expected 1 or more, not 'many'"),
        ("lora_r", 0, "lora_r: expected 1 or more, not 0"),
    ],
)
def test_a_value_that_is_none_is_named(key: str, value: object, expected: str, base: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load((RECIPES / "dfa-gpt-tiny" / "sft.yaml").read_text())
    written = tmp_path / "recipe.yaml"
    written.write_text(yaml.safe_dump({**recipe, "model_name_or_path": str(base), key: value}))
    with pytest.raises(RecipeError, match=expected):
        measure(written)
    written.write_text(yaml.safe_dump({**recipe, "model_name_or_path": str(base), "dtype": "auto"}))
    assert measure(written).lora > 0


def test_accelerate_reads_its_configs() -> None:
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


def test_a_base_that_is_nowhere_is_named(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model_name_or_path: some/where\ndatasets: [{path: dfa-instruct, name: conversations}]\n")
    with pytest.raises(RecipeError, match=r"some/where is not on disk"):
        measure(recipe)
