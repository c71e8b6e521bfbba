"""The base for photographs."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor

from modeling_dfa_gpt.app.attention import attention_received
from modeling_dfa_gpt.bases.photo_tower import make_photo_base
from modeling_dfa_gpt.dfa_gpt import DfaGpt
from modeling_dfa_gpt.forgery_map import patch_features
from modeling_dfa_gpt.preflight import check_base, check_template


def test_the_base_is_a_llava_that_can_be_trained(train: Dataset, tmp_path: Path) -> None:
    make_photo_base(train, tmp_path / "base", tower_steps=1)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "base")
    processor = AutoProcessor.from_pretrained(tmp_path / "base")
    check_base("the base", model.config, processor)
    check_template(processor, [processor.tokenizer.eos_token])
    assert model.config.vision_config.model_type == "focalnet"
    dfa_gpt = DfaGpt(model, processor)
    face = train[0]["image"]
    assert attention_received(dfa_gpt, face) is None and patch_features(dfa_gpt, [face]).shape[:3] == (1, 8, 8)
