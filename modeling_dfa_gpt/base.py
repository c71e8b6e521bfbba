"""Assembling the base model that DFA-GPT adapts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from modeling_dfa_gpt.processing import SYSTEM_PROMPT, make_processor, train_tokenizer

IMAGE_SIZE = 128
PATCH_SIZE = 16


def make_tiny_base(texts: Iterable[str], output: Path, *, vocab_size: int = 1200, seed: int = 0) -> None:
    """Write a LLaVA of a few million random weights, with its own tokenizer, as a Transformers folder.

    It is LLaVA-1.5's architecture (CLIP vision tower, two-layer projector, Llama) at a size that trains on a CPU in
    minutes: 128-pixel images, 64 image tokens.

    Args:
        texts: what its tokenizer is trained on, questions and answers of the train split.
        output: the folder to write.
        vocab_size: the most tokens its vocabulary may have.
        seed: of the random weights.
    """
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = train_tokenizer([*texts, f"{SYSTEM_PROMPT} USER: ASSISTANT:"], vocab_size)
    vision = CLIPVisionConfig(
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(IMAGE_SIZE // PATCH_SIZE) ** 2,
        vision_feature_layer=-1,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(output)
    make_processor(tokenizer, IMAGE_SIZE, PATCH_SIZE).save_pretrained(output)
