"""Assembling the base model that DFA-GPT adapts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from modeling_dfa_gpt.processing import SYSTEM_PROMPT, make_processor, train_tokenizer

IMAGE_SIZE = 128
PATCH_SIZE = 16
WIDTH = 128
VOCABULARY = 1000
VISION_STEPS = 700
LANGUAGE_STEPS = 175
CONTEXT = 256
"""Tokens of a sequence that the language model is trained on."""
Axis = Literal["lightness", "red to green", "yellow to blue"]
AXES: dict[Axis, tuple[int, int, int]] = {
    "lightness": (1, 1, 1),
    "red to green": (1, -1, 0),
    "yellow to blue": (1, 1, -2),
}
Cosine = tuple[Axis, tuple[int, ...]]
"""An axis of colour, and a frequency down and across the patch."""


def make_tiny_base(
    train: Dataset,
    output: Path,
    *,
    vision_steps: int = VISION_STEPS,
    language_steps: int = LANGUAGE_STEPS,
    seed: int = 0,
) -> None:
    """Write a LLaVA of about two million weights, with its own tokenizer, as a Transformers folder.

    It is LLaVA-1.5's architecture (CLIP vision tower, two-layer projector, Llama) at a size that trains on a CPU in
    minutes: 128-pixel images, 64 image tokens. LLaVA starts from a vision tower and a language model that
    were pretrained; there are none of this size. So the tower is trained here to tell the techniques of the train split
    apart, and the language model reads its conversations without the images. The projector is random.

    Args:
        train: the train split, config `default`.
        output: the folder to write.
        vision_steps: batches of 16 images that the vision tower sees.
        language_steps: batches of 8 texts that the language model reads.
        seed: of the random weights.
    """
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    texts = (text for qa in train["qa"] for pair in qa for text in (pair["question"], f" {pair['answer']}"))
    tokenizer = train_tokenizer([*texts, f"{SYSTEM_PROMPT} USER: ASSISTANT:"], VOCABULARY)
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
    tower = train_vision_tower(vision, train, processor.image_processor, vision_steps, seed)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    train_language_model(model, train, processor, language_steps, seed)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.no_repeat_ngram_size = 24  # a model this small runs in circles else
    model.save_pretrained(output)
    processor.save_pretrained(output)


def train_language_model(model: Any, train: Dataset, processor: Any, steps: int, seed: int) -> None:
    """Train the language model of a LLaVA, in place, on the conversations without their images.

    It learns the words, and the form of questions and answers. Else these drown the little that depends on the image.
    """
    import torch
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    from dfa_instruct.dataset import messages

    tokenizer = processor.tokenizer
    ids = [
        i
        for qa in train["qa"]
        for i in tokenizer(processor.apply_chat_template(messages(qa)), add_special_tokens=False)["input_ids"]
    ]
    rows = [{"input_ids": ids[start : start + CONTEXT]} for start in range(0, len(ids) - CONTEXT + 1, CONTEXT)]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            max_steps=steps,
            per_device_train_batch_size=8,
            learning_rate=3e-3,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            weight_decay=0.05,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            seed=seed,
        )
        collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
        Trainer(model, arguments, train_dataset=rows, data_collator=collator).train()


def train_vision_tower(config: Any, train: Dataset, image_processor: Any, steps: int, seed: int) -> Any:
    """Train a CLIP vision tower to tell the techniques apart, by a linear layer on its mean patch.

    Returns the tower, a `CLIPVisionModel`, without that layer.
    """
    import torch
    from transformers import CLIPConfig, CLIPForImageClassification, Trainer, TrainingArguments

    techniques = [technique or "bona_fide" for technique in train["technique"]]
    names = sorted(set(techniques))
    pixels = torch.cat(
        [image_processor(batch["image"], return_tensors="pt")["pixel_values"] for batch in train.iter(64)]
    )
    rows = [{"pixel_values": p, "labels": names.index(t)} for p, t in zip(pixels, techniques, strict=True)]
    torch.manual_seed(seed)
    whole = CLIPConfig(vision_config=config.to_dict())
    whole.num_labels = len(names)
    model = CLIPForImageClassification(whole)
    with torch.no_grad():
        embedding = model.vision_model.embeddings.patch_embedding
        embedding.weight.copy_(whitened_cosines(embedding, pixels[:256], broad_and_fine(WIDTH, PATCH_SIZE, seed)))
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            max_steps=steps,
            per_device_train_batch_size=16,
            learning_rate=1e-3,
            lr_scheduler_type="linear",
            warmup_steps=0.08,
            weight_decay=0.05,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            seed=seed,
        )
        Trainer(model, arguments, train_dataset=rows).train()
    return model.vision_model


def broad_and_fine(channels: int, side: int, seed: int) -> list[Cosine]:
    """Choose cosines for a patch embedding: the low frequencies, a random choice of high ones, the lowest in colour."""
    frequencies = sorted(np.ndindex(side, side), key=lambda f: (sum(f), f))
    low, in_colour = channels // 3, channels // 12
    high = np.random.default_rng(seed).permutation(np.arange(low, len(frequencies)))[: channels - low - 2 * in_colour]
    chosen: list[Cosine] = [("lightness", frequencies[i]) for i in (*range(low), *high)]
    return chosen + [(axis, f) for axis in ("red to green", "yellow to blue") for f in frequencies[:in_colour]]


def whitened_cosines(embedding: Any, pixels: Any, cosines: list[Cosine]) -> Any:
    """Weights for a patch embedding that make fine grain as loud as broad light and shade.

    In photographs the low frequencies outweigh the high ones by far, and traces of a forgery are in the high ones: a
    vision tower that starts from noise hears none of them for many thousand images. Here every channel starts as one
    cosine of the patch, scaled so that its response over `pixels` has unit variance.

    Args:
        embedding: the convolution, weights of shape (channels, 3, side, side).
        pixels: preprocessed images, shape (count, 3, height, width).
        cosines: one for each channel.

    Returns:
        Weights of the embedding's shape.
    """
    import torch
    from scipy.fft import idctn

    _, _, side, _ = embedding.weight.shape

    def cosine(axis: Axis, frequency: tuple[int, ...]) -> NDArray[np.float64]:
        spectrum = np.zeros((side, side))
        spectrum[frequency] = 1
        return np.multiply.outer(np.array(AXES[axis]), idctn(spectrum, norm="ortho"))

    weights = torch.tensor(np.stack([cosine(*chosen) for chosen in cosines]), dtype=embedding.weight.dtype)
    responses = torch.nn.functional.conv2d(pixels, weights, stride=side)
    return weights / responses.std((0, 2, 3))[:, None, None, None].clamp(min=1e-6)
