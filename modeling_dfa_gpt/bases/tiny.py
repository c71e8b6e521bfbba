"""Pretrain the tiny base, which has LLaVA-1.5's architecture, trains on a CPU and is part of this package.

LLaVA combines a pretrained vision tower and language model, which do not exist at this size. Both are pretrained here
on drawn faces that no quickstart draws: the vision tower by `modeling_dfa_gpt.bases.tower`, then the projector and the
language model on conversations about the same faces, with the recipe `recipes/dfa-gpt-tiny/pretrain.yaml`.
"""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset

from dfa_instruct.vlm.messages import IMAGE_TOKEN, SYSTEM_PROMPT
from dfa_instruct.vlm.parts import parts_of
from modeling_dfa_gpt.bases.processor import make_processor, train_tokenizer

IMAGE_SIZE = 128
PATCH_SIZE = 16
WIDTH = 192
VOCABULARY = 1500
TOWER_STEPS = 12000


def make_tiny_base(train: Dataset, output: Path, *, tower_steps: int = TOWER_STEPS, seed: int = 0) -> None:
    """Write a LLaVA model with a trained vision tower and tokenizer, and an untrained projector and language model.

    An image of 128 pixels gives 64 image tokens.

    Args:
        train: The train split, config `default`.
        output: The folder to write.
        tower_steps: The number of batches of 16 images on which the vision tower is trained.
        seed: The seed of the weights.
    """
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    from modeling_dfa_gpt.bases.tower import Faces, new_tower, teach_tower

    texts = (text for qa in train["qa"] for pair in qa for text in (pair["question"], f" {pair['answer']}"))
    tokenizer = train_tokenizer([*texts, f"{SYSTEM_PROMPT} USER: ASSISTANT:"], VOCABULARY)
    processor = make_processor(tokenizer, IMAGE_SIZE, PATCH_SIZE)
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=6,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=(IMAGE_SIZE // PATCH_SIZE) ** 2,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    faces = Faces(train, processor.image_processor)
    tower = new_tower(vision, faces, seed)
    teach_tower(tower, faces, tower_steps, seed)
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    parts_of(model).vision.load_state_dict(tower.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(output)
    processor.save_pretrained(output)
