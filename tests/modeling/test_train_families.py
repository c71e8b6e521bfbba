"""A model of every family is trained, merged and used. The models are tiny and have random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from families import FAMILY_MAKERS
from tiny_recipe import tiny_recipe
from transformers import AutoModelForImageTextToText, AutoProcessor

from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.vlm.inputs import encode_prompts
from dfa_instruct.vlm.messages import dialogue
from modeling_dfa_gpt.dfa_gpt import merge
from modeling_dfa_gpt.sft import train

Maker = Callable[[Path], Path]
SHORT = {
    "datasets": [{"path": "dfa-instruct", "name": "conversations_d", "split": "train[:8]"}],
    "max_steps": 2,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
}


@pytest.mark.parametrize("maker", FAMILY_MAKERS)
def test_two_steps_and_a_merge(
    maker: Maker, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    base = maker(tmp_path / "base")
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    train(["--config", str(tiny_recipe(tmp_path, base, **SHORT, shared_prefix=False))])
    merge(tmp_path / "run", tmp_path / "merged")
    face = Image.fromarray(next(draw_sample(1, 1)).image)
    logits = {}
    for name in ("base", "run", "merged"):
        processor = AutoProcessor.from_pretrained(tmp_path / name)
        processor.chat_template = AutoProcessor.from_pretrained(tmp_path / "run").chat_template
        model = AutoModelForImageTextToText.from_pretrained(tmp_path / name).eval()
        with torch.no_grad():
            logits[name] = model(**encode_prompts(processor, [dialogue(["Is it?"])], [face])).logits[:, -1]
    assert (logits["run"] - logits["merged"]).abs().max() < 1e-4
    assert (logits["run"] - logits["base"]).abs().max() > 1e-3
