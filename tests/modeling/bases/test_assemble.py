"""A LLaVA model of two pretrained models keeps their weights and answers questions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    LlamaForCausalLM,
    ViTConfig,
    ViTModel,
)
from trl import ModelConfig
from typer.testing import CliRunner

from modeling_dfa_gpt.bases import PHOTO_BASE
from modeling_dfa_gpt.bases.assemble import assemble
from modeling_dfa_gpt.cli import app
from modeling_dfa_gpt.dfa_gpt import DfaGpt
from modeling_dfa_gpt.preflight import check_base, check_template
from modeling_dfa_gpt.sft import train
from modeling_dfa_gpt.trainable_parts import check_trainable, lora_and_projector_config

RECIPES = Path(__file__).parents[3] / "recipes"
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(1)
    Dinov2Model(Dinov2Config(image_size=70, mlp_ratio=2, **SIZE)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    CLIPVisionModel(CLIPVisionConfig(image_size=56, intermediate_size=64, **SIZE)).save_pretrained(folder)
    return folder


def test_the_weights_of_both_models_are_kept(dinov2: Path, language: Path, tmp_path: Path) -> None:
    assemble(str(dinov2), str(language), tmp_path / "base", image_size=112)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "base").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "base")
    check_base("base", model.config, processor)
    check_template(processor, [processor.tokenizer.eos_token])
    for name, parameter in Dinov2Model.from_pretrained(dinov2).named_parameters():
        assert torch.equal(model.model.vision_tower.get_parameter(name), parameter)
    text = LlamaForCausalLM.from_pretrained(language).eval()
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        logits = model(input_ids=ids).logits
        expected = text(input_ids=ids).logits
    assert torch.allclose(logits[..., : expected.shape[-1]], expected, atol=1e-5)
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    inputs = processor(images=[Image.new("RGB", (50, 80))], text=["<image> Yes"], return_tensors="pt")
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == 64 == model.config.image_seq_length
    assert inputs["pixel_values"].shape[-2:] == (112, 112)
    assert torch.isfinite(model(**inputs).logits).all()
    black = torch.tensor(
        [(0 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0 - 0.406) / 0.225]
    )  # ImageNet's normalization, as for DINOv2
    assert torch.allclose(inputs["pixel_values"][0, :, 0, 0], black, atol=1e-4)


def test_the_tower_of_a_llava_is_taken_over(language: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["assemble", "--language", str(language), "--output", str(tmp_path / "base")])
    assert done.exit_code == 0, done.output
    model, photo = (AutoModelForImageTextToText.from_pretrained(folder) for folder in (tmp_path / "base", PHOTO_BASE))
    processor = AutoProcessor.from_pretrained(tmp_path / "base")
    check_base("base", model.config, processor)
    text = [f"{processor.image_token} Yes"]
    inputs = processor(images=[Image.effect_noise((200, 180), 50).convert("RGB")], text=text, return_tensors="pt")
    assert inputs["pixel_values"].shape[-2:] == (128, 128)
    features, expected = (
        m.eval().model.vision_tower(inputs["pixel_values"].to(m.dtype)).last_hidden_state for m in (model, photo)
    )
    assert torch.allclose(features, expected.float(), atol=1e-4)
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == features.shape[1]
    assert torch.isfinite(model(**inputs).logits).all()


def test_the_small_recipe_trains_it(
    dataset_folder: Path, language: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assemble(str(PHOTO_BASE), str(language), tmp_path / "base")
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    recipe = ["--config", str(RECIPES / "dfa-gpt-small" / "sft.yaml"), "--model_name_or_path", str(tmp_path / "base")]
    short = ["--max_steps", "1", "--per_device_train_batch_size", "1", "--abilities", "df_d", "--max_length", "8192"]
    unmeasured = ["--eval_strategy", "no", "--load_best_model_at_end", "false", "--save_strategy", "no"]
    train([*recipe, *short, *unmeasured, "--output_dir", str(tmp_path / "run")])
    assert isinstance(DfaGpt.from_pretrained(tmp_path / "run").chat(Image.new("RGB", (128, 128))).ask("Is it?"), str)


def test_lora_adapts_a_dinov2_tower(dinov2: Path, language: Path, tmp_path: Path) -> None:
    assemble(str(dinov2), str(language), tmp_path / "base", image_size=112)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "base")
    adapter = lora_and_projector_config(ModelConfig(use_peft=True), model.config, vision_tower=True)
    adapted = get_peft_model(model, adapter)
    check_trainable(adapted, vision_tower=True)
    in_tower = [name for name, _ in adapted.named_parameters() if ".vision_tower." in name and ".lora_A." in name]
    assert len(in_tower) == 6  # of the first of two blocks, because LLaVA reads the last block but one


def test_it_answers_a_question(clip: Path, language: Path, tmp_path: Path) -> None:
    assemble(str(clip), str(language), tmp_path / "base")
    conversation = DfaGpt.from_pretrained(tmp_path / "base").chat(Image.new("RGB", (56, 56), "grey"))
    assert isinstance(conversation.ask("Has this face been forged?"), str)
    assert len(conversation.messages) == 2


def test_the_seed_determines_the_projector(clip: Path, language: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assemble(str(clip), str(language), tmp_path / name, seed=seed)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_models_that_do_not_fit_are_refused(clip: Path, dinov2: Path, language: Path, tmp_path: Path) -> None:
    other = tmp_path / "vit"
    ViTModel(ViTConfig(image_size=56, intermediate_size=64, **SIZE)).save_pretrained(other)
    with pytest.raises(ValueError, match="vit; expected a CLIP, DINOv2 or FocalNet"):
        assemble(str(other), str(language), tmp_path / "base")
    with pytest.raises(ValueError, match=r"--image-size: .* 56 pixels"):
        assemble(str(clip), str(language), tmp_path / "base", image_size=112)
    with pytest.raises(ValueError, match="100 is not a multiple of the patch size, 14"):
        assemble(str(dinov2), str(language), tmp_path / "base", image_size=100)
    with pytest.raises(FileExistsError, match=str(other)):
        assemble(str(dinov2), str(language), other)
