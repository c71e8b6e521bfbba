"""Measure to which patches of a face the vision tower attends."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfa_instruct.vlm.inputs import encode_images, on
from dfa_instruct.vlm.parts import parts_of, patch_grid


def attention_received(model: Any, face: Image.Image) -> NDArray[np.float32] | None:
    """Return the attention that each patch of a face receives from all patches, as a share of the maximum.

    The attention is averaged over the heads and the querying patches of the layer whose output the language model
    reads. It shows which patches the tower used, which are not always the patches that decided the verdict.

    Args:
        model: A `DfaGpt`.
        face: The aligned face.

    Returns:
        The attention in shape (rows, columns), from 0 to 1, or None if the tower does not return its attention
        or the model is no LLaVA-1.5; towers of other families read several crops, or windows.
    """
    import torch

    llava = model.model
    if llava.config.model_type != "llava":
        return None
    tower = parts_of(llava).vision
    pixel_values = on(llava, encode_images(model.processor, [face]).features)["pixel_values"]
    fast = tower.config._attn_implementation
    tower.set_attn_implementation("eager")  # the faster implementations do not return the attention
    try:
        with torch.inference_mode():
            attentions = getattr(tower(pixel_values, output_attentions=True), "attentions", None)  # FocalNet has none
    finally:
        tower.set_attn_implementation(fast)
    if not attentions:
        return None
    layer = llava.config.vision_feature_layer
    of_layer = attentions[layer if layer < 0 else layer - 1][0].float().mean(0)  # hidden state 0 precedes layer 1
    rows, columns = patch_grid(llava.config, pixel_values)
    before = of_layer.shape[-1] - rows * columns  # the class token and registers come before the patches
    received = of_layer[before:, before:].mean(0).reshape(rows, columns)
    return (received / received.max()).cpu().numpy().astype(np.float32)
