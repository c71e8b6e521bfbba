"""The shared prefix has the loss and gradients of separate rows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator

PAIRS = (
    ("Has this face been forged?", "Yes, this face is forged."),
    ("Which technique is used?", "Face swapping is used."),
    ("Describe the artifacts.", "1. **Mouth and Lips**: The colour does not match.\n2. **Chin**: An edge is visible."),
)


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (128, 128, 3), np.uint8))


def conversation(pairs: tuple[tuple[str, str], ...], seed: int, branches: tuple[int, ...] = ()) -> dict:
    messages = [
        {"role": role, "content": text} | ({"branch": branches[number]} if branches else {})
        for number, pair in enumerate(pairs)
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return {"images": [picture(seed)], "messages": messages}


def test_loss_and_gradients_equal_separate_rows(base: Path) -> None:
    processor = AutoProcessor.from_pretrained(base)
    model = AutoModelForImageTextToText.from_pretrained(base).eval()
    every, one_left_out, two_turns = conversation(PAIRS, 0), conversation(PAIRS[:2], 1), (0, 1, 1)
    packed = [every, one_left_out, conversation(PAIRS, 2, branches=two_turns)]
    separate = [conversation((pair,), seed) for seed, pairs in ((0, PAIRS), (1, PAIRS[:2])) for pair in pairs]
    separate += [conversation(PAIRS[:1], 2), conversation(PAIRS[1:], 2)]

    def run(batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    loss, gradients = run(SharedPrefixCollator(processor)(packed))
    expected, expected_gradients = run(
        DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)(separate)
    )
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        if name.endswith("k_proj.bias"):  # shifts all scores of a query equally, so its gradient is rounding error
            assert max(gradient.norm(), expected_gradients[name].norm()) < 1e-6, name
            continue
        scale = expected_gradients[name].norm().clamp(min=1e-6)
        assert (gradient - expected_gradients[name]).norm() / scale < 1e-4, name


def test_several_images_are_refused(base: Path) -> None:
    row = conversation(PAIRS, 0)
    row["images"].append(picture(1))
    with pytest.raises(ValueError, match="one image"):
        SharedPrefixCollator(AutoProcessor.from_pretrained(base))([row])
