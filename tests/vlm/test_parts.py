"""Families of models: their parts, and one line for a family that is unknown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from PIL import Image
from tiny_recipe import tiny_recipe
from transformers import AutoConfig, AutoModelForImageTextToText
from typer.testing import CliRunner

from dfa_instruct.vlm.parts import FAMILIES, family_of, parts_of, vision_lora_targets
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from modeling_dfa_gpt.cli import app
from modeling_dfa_gpt.sft import train


def test_the_parts_are_the_same_with_and_without_an_adapter(base: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(base)
    family, parts = family_of(model.config), parts_of(model)
    assert [type(part).__name__ for part in (parts.vision, parts.projector, parts.language)] == [
        "CLIPVisionModel",
        "LlavaMultiModalProjector",
        "LlamaModel",
    ]
    lora = LoraConfig(target_modules=family.lora_targets, modules_to_save=family.projector_modules(model.config), r=2)
    adapted = get_peft_model(model, lora)
    assert parts_of(adapted).vision is parts.vision
    of_part = {family.part_of(name) for name, weights in adapted.named_parameters() if weights.requires_grad}
    assert of_part == {"projector", "language model"}
    assert {family.part_of(name) for name, _ in model.named_parameters()} == {*of_part, "vision tower"}


@pytest.mark.parametrize(("feature_layer", "blocks"), [(-1, 4), (-2, 3), (2, 2), ([1, -2], 3)])
def test_lora_adapts_the_blocks_of_the_vision_tower_that_are_read(
    feature_layer: int | list[int], blocks: int, base: Path
) -> None:
    config = AutoConfig.from_pretrained(base, vision_feature_layer=feature_layer)
    model = AutoModelForImageTextToText.from_config(config)
    adapted = get_peft_model(model, LoraConfig(target_modules=vision_lora_targets(config), r=2))
    trained = [name for name, weights in adapted.named_parameters() if weights.requires_grad]
    assert len(trained) == blocks * 6 * 2
    assert {family_of(config).part_of(name) for name in trained} == {"vision tower"}


def unknown_family(base: Path, folder: Path) -> Path:
    """Write a model of a family that `FAMILIES` lacks, without weights that could be read."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "vipllava"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"no weights that could be read")
    return folder


def test_a_base_of_an_unknown_family_is_refused_before_its_weights(base: Path, tmp_path: Path) -> None:
    folder = unknown_family(base, tmp_path / "unknown")
    with pytest.raises(ValueError, match=f"{folder}: model type vipllava: expected one of llava, llava_next, "):
        train(["--config", str(tiny_recipe(tmp_path, folder))])


def test_a_model_without_a_chat_template_is_refused_before_its_weights(base: Path, tmp_path: Path) -> None:
    folder = unknown_family(base, tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match=f"{folder}: it has no chat template, so it cannot converse"):
        VisionLanguageModel(folder)


@pytest.mark.parametrize("command", ["chat", "analyze", "app", "calibrate"])
def test_an_unknown_family_is_refused_before_its_weights(
    command: str, base: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    folder = unknown_family(base, tmp_path / "unknown")
    picture = tmp_path / "face.png"
    Image.new("RGB", (64, 64), "grey").save(picture)
    arguments = {"chat": [picture], "analyze": [picture], "app": [], "calibrate": ["--data", dataset_folder]}[command]
    done = CliRunner().invoke(app, [command, str(folder), *map(str, arguments)])
    expected = f"{folder}: model type vipllava: expected one of {', '.join(FAMILIES)}"
    assert done.exit_code == 2 and done.stderr.splitlines()[-1] == f"error: {expected}"
