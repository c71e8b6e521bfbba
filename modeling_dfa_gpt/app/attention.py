"""Where the vision tower gathered what the language model reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfa_instruct.vlm.inputs import encode_images, on
from dfa_instruct.vlm.parts import parts_of, patch_grid


def attention_received(model: Any, face: Image.Image) -> NDArray[np.float32] | None:
    """Return how much attention each patch of a face receives from all others, as a share of the most, (rows, columns).

    It is the mean over the heads and the patches that ask, in the layer whose output the language model reads. That is
    where the tower drew from, which need not be what decided the verdict. None: the tower tells no attention.

    Args:
        model: a `DfaGpt`.
        face: the picture as the model looks at it.
    """
    import torch

    llava = model.model
    tower = parts_of(llava).vision
    pixel_values = on(llava, encode_images(model.processor, [face]).features)["pixel_values"]
    fast = tower.config._attn_implementation
    tower.set_attn_implementation("eager")  # the fast ones do not tell what they attend to
    try:
        with torch.inference_mode():
            attentions = tower(pixel_values, output_attentions=True).attentions
    finally:
        tower.set_attn_implementation(fast)
    if not attentions:
        return None
    layer = llava.config.vision_feature_layer
    of_layer = attentions[layer if layer < 0 else layer - 1][0].float().mean(0)  # hidden state 0 is before layer 1
    rows, columns = patch_grid(llava.config, pixel_values)
    others = of_layer.shape[-1] - rows * columns  # the class token and registers stand before the patches
    received = of_layer[others:, others:].mean(0).reshape(rows, columns)
    return (received / received.max()).cpu().numpy().astype(np.float32)
