"""Make the base for photographs: its vision tower, and a LLaVA model around it.

The traces of a forgery in a photograph are as fine as a pixel. A small vision transformer with patches of 16 pixels
loses them. A FocalNet (Yang et al., 2022) begins with patches of 4 pixels and widens the context from layer to layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from dfa_instruct.vlm.parts import parts_of
from modeling_dfa_gpt.bases import TINY_BASE
from modeling_dfa_gpt.bases.forged_pairs import GRID, SIDE, Pairs
from modeling_dfa_gpt.bases.teach import PAIRS, teach_tower
from modeling_dfa_gpt.bases.tower import broad_and_fine, whiten_patch_embedding

WIDTH = 128
STEPS = 4000
OWN_IN_PRETRAINING = 0.1
"""The share of the forgeries in pretraining that come from the dataset. Some techniques can only be seen there, because
they must be fitted to many faces before they can forge one."""


def new_tower(pairs: Pairs) -> Any:
    """Return an untrained FocalNet whose last layer has 64 patches. Its first layer is whitened."""
    from transformers import FocalNetConfig, FocalNetModel

    config: Any = FocalNetConfig(
        image_size=SIDE,
        patch_size=4,
        embed_dim=WIDTH // 4,
        use_conv_embed=True,
        depths=[2, 2, 4],
        focal_levels=[2, 2, 2],
        focal_windows=[3, 3, 3],
        mlp_ratio=2.0,
    )
    config.hidden_size = WIDTH  # LLaVA's projector reads it
    torch.manual_seed(pairs.seed)
    tower: Any = FocalNetModel(config, add_pooling_layer=False)
    sample = torch.stack([pairs[number]["pixel_values"][0] for number in range(256)])
    embedding = tower.embeddings.patch_embeddings.projection
    whiten_patch_embedding(
        embedding, sample, broad_and_fine(embedding.out_channels, embedding.kernel_size[0], pairs.seed)
    )
    return tower


def make_photo_base(train: Dataset, output: Path, *, seed: int = 0, tower_steps: int = STEPS) -> None:
    """Write a LLaVA model with a trained tower for photographs, a new projector and the tiny base's language model.

    An image of 128 pixels gives 64 image tokens.

    Args:
        train: The train split, config `default`.
        output: The folder to write. The checkpoints are written to its parent folder.
        seed: The seed of all random choices.
        tower_steps: The number of steps of 16 pairs to train the tower on.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaConfig, LlavaForConditionalGeneration

    processor = AutoProcessor.from_pretrained(TINY_BASE)
    pairs = Pairs(train, processor.image_processor, tower_steps * PAIRS, OWN_IN_PRETRAINING, seed)
    tower = new_tower(pairs)
    teach_tower(tower, pairs, tower_steps, 1e-3, output.parent)
    tiny = AutoModelForImageTextToText.from_pretrained(TINY_BASE, dtype=torch.float32)
    config = LlavaConfig(
        **{name: getattr(tiny.config, name) for name in ("text_config", "image_token_index", "tie_word_embeddings")},
        vision_config=tower.config,
        image_seq_length=GRID**2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",  # there is no class token
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    parts_of(model).vision.load_state_dict(tower.state_dict())
    parts_of(model).language.load_state_dict(parts_of(tiny).language.state_dict())
    model.generation_config = tiny.generation_config
    processor.vision_feature_select_strategy, processor.num_additional_image_tokens = "full", 0
    model.save_pretrained(output)
    processor.save_pretrained(output)
