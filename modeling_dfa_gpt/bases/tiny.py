"""Pretrain the tiny base, which has LLaVA-1.5's architecture, trains on a CPU and is part of this package.

LLaVA combines a pretrained vision tower and language model, which do not exist at this size. Both are pretrained here
on drawn faces that no quickstart draws: the vision tower by `modeling_dfa_gpt.bases.tower`, then the projector and the
language model on conversations about the same faces, with the recipe `recipes/dfa-gpt-tiny/pretrain.yaml`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from datasets import Dataset

from dfa_instruct.vlm.messages import IMAGE_TOKEN, SYSTEM_PROMPT
from dfa_instruct.vlm.parts import parts_of
from modeling_dfa_gpt.bases.processor import make_processor, train_tokenizer
from modeling_dfa_gpt.hub.card import base_card

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


def pretrain(data: Path, output: Path, seed: int = 0) -> None:
    """Train the vision tower, projector and language model of the tiny base, and write it in half precision.

    Intermediate results are kept in `<output>.work`, from which the same call resumes if it was killed.

    Args:
        data: The dataset folder that `recipes/dfa-gpt-tiny/dfa-instruct.yaml` builds.
        output: A new folder for the base.
        seed: The seed of all steps.

    Raises:
        FileExistsError: The output exists.
        FileNotFoundError: The dataset does not exist.
        subprocess.CalledProcessError: The training failed.
    """
    import torch
    from datasets import load_dataset
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    from dfa_instruct.dataset import DATASET_NAME
    from modeling_dfa_gpt.launch import launch_training

    if output.exists():
        raise FileExistsError(f"{output} exists; use a new folder")
    split = load_dataset(DATASET_NAME, data_dir=str(data), split="train")
    work = output.with_name(f"{output.name}.work")
    taught, trained, made = work / f"taught-{split._fingerprint}-{seed}", work / "trained", work / "made"
    if not taught.is_dir():
        make_tiny_base(split, made, seed=seed)
        made.rename(taught)
    launch_training("pretrain", taught, trained, data, seed)
    shutil.rmtree(made, ignore_errors=True)
    AutoModelForImageTextToText.from_pretrained(trained, dtype=torch.float16).save_pretrained(made)
    config = AutoConfig.from_pretrained(made)
    for part in (config, config.text_config, config.vision_config):
        part.dtype = torch.float32  # the type to compute in, although the weights are stored in float16
    config.save_pretrained(made)
    AutoProcessor.from_pretrained(trained).save_pretrained(made)
    run = json.loads((trained / "run.json").read_text(encoding="utf-8"))
    (made / "README.md").write_text(base_card(run), encoding="utf-8")
    made.rename(output)
    shutil.rmtree(work)
