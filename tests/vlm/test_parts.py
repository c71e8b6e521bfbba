"""Families of models: their parts, and one line for a family that is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from PIL import Image
from test_inputs import llava_next
from transformers import AutoConfig, AutoModelForImageTextToText
from typer.testing import CliRunner

from dfa_instruct.vlm.parts import FAMILIES, family_of, parts_of, vision_lora_targets
from modeling_dfa_gpt.cli import app


def test_the_parts_are_the_same_with_and_without_an_adapter(base: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(base)
    family, parts = family_of(model.config), parts_of(model)
    assert [type(part).__name__ for part in (parts.vision, parts.projector, parts.language)] == [
        "CLIPVisionModel",
        "LlavaMultiModalProjector",
        "LlamaModel",
    ]
    lora = LoraConfig(target_modules=family.lora_targets, modules_to_save=[family.projector], r=2)
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


@pytest.mark.parametrize("command", ["chat", "analyze", "app", "calibrate"])
def test_an_unknown_family_is_refused_before_its_weights(command: str, dataset_folder: Path, tmp_path: Path) -> None:
    folder = llava_next(tmp_path / "next")
    picture = tmp_path / "face.png"
    Image.new("RGB", (64, 64), "grey").save(picture)
    (folder / "model.safetensors").write_bytes(b"no weights that could be read")
    arguments = {"chat": [picture], "analyze": [picture], "app": [], "calibrate": ["--data", dataset_folder]}[command]
    done = CliRunner().invoke(app, [command, str(folder), *map(str, arguments)])
    expected = f"{folder}: model type llava_next: expected a model of type {' or '.join(FAMILIES)}"
    assert done.exit_code == 2 and done.stderr.splitlines()[-1] == f"error: {expected}"
