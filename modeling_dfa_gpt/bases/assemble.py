"""Combine a pretrained vision tower and a pretrained language model into a LLaVA model with a new projector."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
)
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from dfa_instruct.vlm.messages import IMAGE_TOKEN
from dfa_instruct.vlm.parts import parts_of, patch_grid
from modeling_dfa_gpt.bases.processor import make_processor
from modeling_dfa_gpt.new_folder import new_folder

LAYER = -2
"""LLaVA-1.5 uses the last layer but one, which retains more spatial information."""
TOWERS: Final = ("clip_vision_model", "dinov2", "focalnet")


def assemble(
    vision: str,
    language: str,
    output: Path,
    *,
    image_size: int | None = None,
    seed: int = 0,
) -> None:
    """Write a LLaVA model with a pretrained vision tower and language model and a random projector.

    An image token and DFA-GPT's chat template are added to the tokenizer of the language model. After an error, no
    folder is left.

    Args:
        vision: The folder or Hub id of a CLIP, DINOv2 or FocalNet vision model, or of a LLaVA model with such a tower.
        language: The folder or Hub id of a causal language model with its tokenizer.
        output: The folder to write.
        image_size: The side in pixels to which images are resized. CLIP and DINOv2 give (image_size // patch)² image
            tokens. The default is 224 for DINOv2, which accepts any multiple of its patch size. Other towers accept
            only their own size.
        seed: The seed of the projector's weights.

    Raises:
        FileExistsError: The output folder is not empty.
        OSError: A model does not exist.
        ValueError: The models cannot be combined.
    """
    with new_folder(output) as made:
        model, processor = join(vision, language, image_size, seed)
        model.save_pretrained(made)
        processor.save_pretrained(made)


def join(vision: str, language: str, image_size: int | None, seed: int) -> tuple[Any, Any]:
    """Return the LLaVA model of two pretrained models, and its processor; see `assemble`."""
    vision_config = AutoConfig.from_pretrained(vision)
    vision_config = getattr(vision_config, "vision_config", vision_config)
    side = check_image_size(vision, vision_config, image_size)
    staged = vision_config.model_type == "focalnet"  # it has no class token, and LLaVA reads its last stage

    tokenizer = prepare_tokenizer(AutoTokenizer.from_pretrained(language))
    text = AutoModelForCausalLM.from_pretrained(language, dtype=torch.float32)
    text.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    set_special_tokens(text.config, tokenizer)
    tower = AutoModel.from_pretrained(vision, dtype=torch.float32)
    tower = getattr(tower, "vision_tower", getattr(tower, "vision_model", tower))

    config = LlavaConfig(
        vision_config=vision_config,
        text_config=text.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        vision_feature_layer=-1 if staged else LAYER,
        vision_feature_select_strategy="full" if staged else "default",
        tie_word_embeddings=text.config.tie_word_embeddings,
    )
    rows, columns = patch_grid(config, torch.empty(side, side))
    config.image_seq_length = rows * columns
    torch.manual_seed(seed)  # for the projector, a two-layer MLP; the other weights are replaced below
    model = LlavaForConditionalGeneration(config)
    parts = parts_of(model)
    parts.vision.load_state_dict(tower.state_dict())
    parts.language.load_state_dict(text.model.state_dict())
    model.lm_head.load_state_dict(text.lm_head.state_dict())
    set_special_tokens(model.generation_config, tokenizer)

    processor = make_processor(tokenizer, side, side // rows)
    if staged:
        processor.vision_feature_select_strategy, processor.num_additional_image_tokens = "full", 0
    if vision_config.model_type == "dinov2":
        processor.image_processor.image_mean = IMAGENET_DEFAULT_MEAN
        processor.image_processor.image_std = IMAGENET_DEFAULT_STD
    return model, processor


def check_image_size(name: str, config: Any, image_size: int | None) -> int:
    """Return the side in pixels of a tower's images. Raise ValueError if the tower or the side is not supported."""
    if config.model_type not in TOWERS:
        raise ValueError(f"--vision: {name} is a {config.model_type}; expected a CLIP, DINOv2 or FocalNet vision model")
    side = image_size or (224 if config.model_type == "dinov2" else config.image_size)
    if config.model_type != "dinov2" and side != config.image_size:
        raise ValueError(f"--image-size: {name} accepts only images of {config.image_size} pixels")
    if side % config.patch_size:
        raise ValueError(f"--image-size: {side} is not a multiple of the patch size, {config.patch_size}")
    return side


def set_special_tokens(config: Any, tokenizer: Any) -> None:
    """Copy the ids of the special tokens from a tokenizer to a configuration."""
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id


def prepare_tokenizer(tokenizer: Any) -> Any:
    """Add the image token to a language model's tokenizer, and make it pad on the right.

    The padding token is the unknown token or, if there is none, the end-of-sequence token.
    """
    if tokenizer.eos_token is None:
        raise ValueError("--language: the tokenizer has no end-of-sequence token, so the model could not learn to stop")
    if tokenizer.bos_token is None:
        tokenizer.bos_token = tokenizer.eos_token
    tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    tokenizer.padding_side = "right"
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]}, replace_extra_special_tokens=False)
    tokenizer.image_token = IMAGE_TOKEN
    return tokenizer
