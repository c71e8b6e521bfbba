"""Assembling the base model that DFA-GPT adapts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modeling_dfa_gpt.processing import SYSTEM_PROMPT, make_processor, train_tokenizer

IMAGE_SIZE = 128
PATCH_SIZE = 16
WIDTH = 128


def make_tiny_base(
    texts: Iterable[str], images: Iterable[Image.Image], output: Path, *, vocab_size: int = 1000, seed: int = 0
) -> None:
    """Write a LLaVA of about two million untrained weights, with its own tokenizer, as a Transformers folder.

    It is LLaVA-1.5's architecture (CLIP vision tower, two-layer projector, Llama) at a size that trains on a CPU in
    minutes: 128-pixel images, 64 image tokens. Its weights are random but for the patch embedding; see
    `whitened_cosines`.

    Args:
        texts: what its tokenizer is trained on, questions and answers of the train split.
        images: some of the train split, to measure the spread of their patches.
        output: the folder to write.
        vocab_size: the most tokens its vocabulary may have.
        seed: of the random weights.
    """
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = train_tokenizer([*texts, f"{SYSTEM_PROMPT} USER: ASSISTANT:"], vocab_size)
    processor = make_processor(tokenizer, IMAGE_SIZE, PATCH_SIZE)
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
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
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    pixels = processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        embedding = model.model.vision_tower.embeddings.patch_embedding
        embedding.weight.copy_(whitened_cosines(embedding, pixels, seed))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(output)
    processor.save_pretrained(output)


def whitened_cosines(embedding: Any, pixels: Any, seed: int) -> Any:
    """Weights for a patch embedding that make fine grain as loud as broad light and shade.

    In photographs the low frequencies outweigh the high ones by far, and traces of a forgery are in the high ones: a
    vision tower that starts from noise hears none of them for many thousand images. Here every channel starts as one
    cosine of the patch (low frequencies, a random choice of high ones, and the lowest in colour), scaled so that its
    response over `pixels` has unit variance.

    Args:
        embedding: the convolution, weights of shape (channels, 3, side, side).
        pixels: preprocessed images, shape (count, 3, height, width).
        seed: of the choice of high frequencies.

    Returns:
        Weights of the embedding's shape.
    """
    import torch
    from scipy.fft import idctn

    channels, _, side, _ = embedding.weight.shape
    frequencies = sorted(np.ndindex(side, side), key=lambda f: (sum(f), f))
    low, in_colour = channels // 3, channels // 12
    high = np.random.default_rng(seed).permutation(np.arange(low, len(frequencies)))[: channels - low - 2 * in_colour]
    axes = {"lightness": (1, 1, 1), "red to green": (1, -1, 0), "yellow to blue": (1, 1, -2)}
    chosen = [("lightness", i) for i in (*range(low), *high)]
    chosen += [(axis, i) for axis in ("red to green", "yellow to blue") for i in range(in_colour)]

    def cosine(axis: str, index: int) -> NDArray[np.float64]:
        spectrum = np.zeros((side, side))
        spectrum[frequencies[index]] = 1
        return np.multiply.outer(np.array(axes[axis]), idctn(spectrum, norm="ortho"))

    weights = torch.tensor(np.stack([cosine(*choice) for choice in chosen]), dtype=embedding.weight.dtype)
    responses = torch.nn.functional.conv2d(pixels, weights, stride=side)
    return weights / responses.std((0, 2, 3))[:, None, None, None].clamp(min=1e-6)
