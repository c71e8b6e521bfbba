"""Estimate what a training needs, from its recipe on the meta device, without loading or downloading weights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from dfa_instruct.vlm.image_tokens import ImageTokens, image_tokens
from dfa_instruct.vlm.load import is_model
from dfa_instruct.vlm.messages import CHAT_TEMPLATE, with_image
from dfa_instruct.vlm.parts import family_of
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.preflight import shares_prefix
from modeling_dfa_gpt.recipe import config_for_abilities, read_recipe
from modeling_dfa_gpt.shared_prefix import split_branches
from modeling_dfa_gpt.trainable_parts import check_trainable, count_parameters, lora_and_projector_config

IMAGES = 127_300
"""The number of images that the paper trains on (127.3 K)."""
GPUS = 2
PEAK = 989e12
"""Dense bf16 FLOPs per second of one H800, from its data sheet. It has the arithmetic units of an H100 SXM."""
UTILISATION = 0.4
"""The assumed share of the peak, with recomputed activations counted as work. It was not measured."""
SAMPLES = 200
SAMPLE_IDENTITIES = 24
CHARACTERS_PER_TOKEN = 4.0
"""For English, without a tokenizer on disk (SmolLM2's, of 49 thousand tokens, measured 4.07)."""

Messages = list[dict[str, Any]]


@dataclass
class TrainingEstimate:
    """The estimated cost of a training. Tokens and FLOPs are means over sampled images; memory is in bytes.

    Attributes:
        parts: The numbers of frozen and of trained parameters by part.
        lora: The number of trained parameters in LoRA matrices.
        size: The width and height in pixels of an image.
        image: The number of its tokens.
        counted_by: How the tokens of text were counted.
        questions: The number of questions per image.
        branches: The number of branches per image. A branch is one question, or several that follow each other.
        tokens: The number of tokens per image by form ("shared prefix", "turns of a row", "separate rows").
        batch: The number of images in the batch of a device.
        memory: The bytes by part on one GPU, and on each of two GPUs with ZeRO-3.
        flops: The FLOPs per image by form, for the forward, recomputed and backward passes.
    """

    parts: dict[str, tuple[int, int]]
    lora: int
    size: tuple[int, int]
    image: ImageTokens
    counted_by: str
    questions: float
    branches: float
    tokens: dict[str, float]
    batch: int
    memory: dict[str, tuple[float, float]]
    flops: dict[str, float]

    def hours(self, form: str) -> float:
        """Return the hours for `IMAGES` on `GPUS` H800 at `UTILISATION`."""
        return self.flops[form] * IMAGES / (GPUS * PEAK * UTILISATION) / 3600


def describe(recipe: Path) -> None:
    """Print the estimated cost of a training; see `estimate_training`."""
    from rich import print as rich_print
    from rich.table import Table

    found = estimate_training(recipe)
    parts = Table("part", "frozen", "trained", title=f"Parameters ({recipe})")
    for part, (frozen, trained) in found.parts.items():
        parts.add_row(part, f"{frozen:,}", f"{trained:,}")
    parts.add_row("all", *(f"{sum(column):,}" for column in zip(*found.parts.values(), strict=True)))
    rich_print(parts)
    print(f"of which {found.lora:,} in LoRA and {found.parts['projector'][1]:,} in the projector\n")

    image, title = found.image, f"One image with {found.questions:.1f} questions in {found.branches:.1f} branches"
    forms = Table("form", "tokens", "TFLOPs", f"hours on {GPUS} × H800", title=title)
    for form, tokens in found.tokens.items():
        forms.add_row(form, f"{tokens:,.0f}", f"{found.flops[form] / 1e12:,.2f}", f"{found.hours(form):,.1f}")
    rich_print(forms)
    print(
        f"{image.tokens:,} tokens are of an image of {found.size[0]} × {found.size[1]} pixels, which the vision tower "
        f"reads as {image.crops} × {image.patches:,} patches.\n"
        "Separate rows: one row for each branch, equivalent to the shared prefix. Turns of a row: LLaVA's own form, in "
        f"which each question follows the answers to those before it. Text tokens: {found.counted_by}.\n"
        f"FLOPs: forward, recomputed and backward passes. Hours: {IMAGES:,} images, one epoch, at an assumed "
        f"{UTILISATION:.0%} of {PEAK / 1e12:,.0f} TFLOPs per second and GPU.\n"
    )

    memory = Table("part", "one GPU", f"each of {GPUS}, ZeRO-3", title=f"Memory in GiB, {found.batch} images per GPU")
    for part, sizes in found.memory.items():
        memory.add_row(part, *(f"{size / 2**30:,.2f}" for size in sizes))
    memory.add_row("all", *(f"{sum(sizes) / 2**30:,.2f}" for sizes in zip(*found.memory.values(), strict=True)))
    rich_print(memory)
    print("Activations are estimated from the tensors that a decoder layer keeps, without workspace or fragmentation.")


def estimate_training(path: Path) -> TrainingEstimate:
    """Estimate the cost of a training.

    Raises:
        RecipeError: The recipe cannot be run, the configuration of its base is not on disk, or the tokens of an image
            cannot be computed from it.
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForImageTextToText
    from trl import ModelConfig

    recipe = read_recipe(path)
    arguments = ModelConfig(**{f.name: recipe[f.name] for f in fields(ModelConfig) if f.name in recipe})
    base = base_folder(path, arguments.model_name_or_path)
    config = AutoConfig.from_pretrained(base)
    try:
        shared = shares_prefix(recipe.get("shared_prefix"), config)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
    except ValueError as error:
        raise RecipeError(f"{path}: model_name_or_path: {error}") from error
    for key in ("per_device_train_batch_size", "lora_r", "lora_alpha"):
        if not isinstance(value := recipe.get(key, 1), int) or value < 1:
            raise RecipeError(f"{path}: {key}: expected 1 or more, not {value!r}")
    defaults = {"auto": config.dtype or torch.float32, None: torch.float32}
    dtype = defaults.get(arguments.dtype) or getattr(torch, str(arguments.dtype), None)
    if not isinstance(dtype, torch.dtype):
        raise RecipeError(f"{path}: dtype: expected auto, float32, bfloat16 or float16, not {arguments.dtype}")
    conversations, (width, height) = sample_rows(recipe)
    try:
        image = image_tokens(config, base, height, width)
    except ValueError as error:
        raise RecipeError(f"{path}: model_name_or_path: {error}") from error
    vision_tower = recipe.get("lora_vision_tower") is True
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=dtype)
        if adapter := lora_and_projector_config(arguments, config, vision_tower):
            model = get_peft_model(model, adapter)
            check_trainable(model, vision_tower)
    parts = count_parameters(model)
    lora = sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name)

    count, counted_by, special = token_counter(base)
    template = chat_template(base, config, recipe.get("chat_template"))

    def tokens(messages: Messages) -> tuple[float, float]:
        prefix, turns = rendered_halves(messages, template, special)
        return count(prefix) - 1 + image.tokens, count(turns)  # one token marks the place of the image

    lengths_by_form = sequence_lengths(conversations, tokens)
    tied = any(getattr(part, "tie_word_embeddings", False) for part in (config, config.get_text_config()))
    embedding = 0 if tied else model.get_input_embeddings().weight.numel()
    checkpointing = bool(recipe.get("activation_checkpointing", recipe.get("gradient_checkpointing", True)))
    batch = int(recipe.get("per_device_train_batch_size", 8))
    longest = max(max(lengths) for lengths in lengths_by_form["shared prefix" if shared else "turns of a row"])
    return TrainingEstimate(
        parts=parts,
        lora=lora,
        size=(width, height),
        image=image,
        counted_by=counted_by,
        questions=fmean(len(messages) / 2 for messages in conversations),
        branches=fmean(len(lengths) for lengths in lengths_by_form["separate rows"]),
        tokens={form: fmean(map(sum, rows)) for form, rows in lengths_by_form.items()},
        batch=batch,
        memory=memory(recipe, config, parts, dtype.itemsize, batch, longest, image, checkpointing, shared),
        flops={
            form: fmean(
                sum(flops(length, config, parts, embedding, image, checkpointing) for length in lengths)
                for lengths in rows
            )
            for form, rows in lengths_by_form.items()
        },
    )


def base_folder(recipe: Path, name: str | None) -> Path:
    """Return the folder with the base's configuration: its own, or one of the same name next to the recipe."""
    if name is None:
        raise RecipeError(
            f"{recipe}: model_name_or_path is missing: expected the folder or Hub id of a vision-language model"
        )
    folders = [Path(name), *(parent / Path(name).name for parent in recipe.resolve().parents[:2])]
    found = next((folder for folder in folders if folder.is_dir() and is_model(folder)), None)
    if found is None:
        raise RecipeError(f"{recipe}: model_name_or_path: {name} is not on disk (no folder with a config.json)")
    return found


def token_counter(base: Path) -> tuple[Callable[[str], float], str, dict[str, str]]:
    """Return a function that counts the tokens of a text, a description of it, and the BOS and EOS tokens."""
    if (base / "tokenizer.json").is_file():
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(base)
        special = {name: getattr(tokenizer, name) or "" for name in ("bos_token", "eos_token")}
        own = "counted by the base's own"
        return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]), own, special
    description = f"estimated at {CHARACTERS_PER_TOKEN:g} characters per token, because the tokenizer is not on disk"

    def estimate(text: str) -> float:
        rest, marks = re.subn(r"<[^<>\s]+>", "", text)  # special tokens such as <image> and <|im_end|>
        return len(rest) / CHARACTERS_PER_TOKEN + marks

    return estimate, description, {"bos_token": "<s>", "eos_token": "</s>"}


def chat_template(base: Path, config: Any, asked: str | None) -> str:
    """Return the chat template of a training.

    Without a template on disk, it is the one that the family is trained with, or TRL's copy of the published one.
    """
    from trl import chat_template_utils

    if asked or config.model_type == "llava":
        return CHAT_TEMPLATE
    if (file := base / "chat_template.jinja").is_file():
        return file.read_text(encoding="utf-8")
    return family_of(config).training_template or getattr(chat_template_utils, f"{config.model_type}_chat_template")


def sample_rows(recipe: dict[str, Any]) -> tuple[list[Messages], tuple[int, int]]:
    """Return the messages of some rows of each dataset of a recipe, and the width and height of the first image.

    If a dataset would be the embedded sample, only a few of its portraits are drawn.
    """
    from datasets import load_dataset

    from dfa_instruct.dataset import DATASET_NAME, DIRECTORY_ENV

    sampled: list[Messages] = []
    size = None
    with TemporaryDirectory() as scratch:
        for dataset in recipe.get("datasets", []):
            keys = {key: dataset.get(key) for key in ("path", "name", "data_dir", "data_files")}
            keys["name"] = config_for_abilities(keys["path"], keys["name"], recipe.get("abilities"))
            if keys["path"] == DATASET_NAME and not keys["data_dir"] and not os.environ.get(DIRECTORY_ENV):
                keys["data_dir"] = build_small_sample(Path(scratch))
            rows = load_dataset(**keys, split=dataset.get("split", "train"), streaming=True)
            sampled += [row["messages"] for row in islice(rows.select_columns(["messages"]), SAMPLES)]
            size = size or next((row["images"][0].size for row in rows.select_columns(["images"])), None)
    if not sampled or size is None:
        raise RecipeError("datasets: there are no rows whose tokens could be counted")
    return sampled, size


def build_small_sample(folder: Path) -> str:
    """Build a dataset of a few drawn portraits, unless it exists, and return its folder."""
    from dfa_instruct.construction.pipeline import build
    from dfa_instruct.construction.recipe import sample_recipe
    from dfa_instruct.dataset import DATASET_NAME

    output = folder / DATASET_NAME
    if not output.is_dir():
        recipe = sample_recipe(output)
        source = {**recipe.sources[0], "identities": SAMPLE_IDENTITIES, "pictures": 2}
        with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull), redirect_stderr(devnull):
            build(replace(recipe, sources=[source]))
    return str(output)


def sequence_lengths(
    conversations: list[Messages], tokens: Callable[[Messages], tuple[float, float]]
) -> dict[str, list[list[float]]]:
    """Return the lengths of the training sequences of each conversation, by form.

    Args:
        conversations: The messages of each conversation.
        tokens: Returns the number of tokens of a conversation up to the end of its image, and after it.
    """
    forms: dict[str, list[list[float]]] = {"shared prefix": [], "turns of a row": [], "separate rows": []}
    for messages in conversations:
        prefix, turns = tokens(messages)
        branches = [tokens(branch)[1] for branch in split_branches(messages)]
        forms["shared prefix"].append([prefix + sum(branches)])
        forms["turns of a row"].append([prefix + turns])
        forms["separate rows"].append([prefix + branch for branch in branches])
    return forms


def rendered_halves(messages: Messages, template: str, special: Any) -> tuple[str, str]:
    """Return the text of a conversation up to its image token and the marks around it, and after them."""
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered: Any = render_jinja_template([with_image(messages)], chat_template=template, **special)
    text = rendered[0][0]
    end = text.rindex(">", 0, text.index(messages[0]["content"])) + 1
    return text[:end], text[end:]


def flops(
    length: float,
    config: Any,
    parts: dict[str, tuple[int, int]],
    embedding: int,
    image: ImageTokens,
    checkpointing: bool,
) -> float:
    """Return the FLOPs of one training sequence.

    A matrix of n weights needs 2n FLOPs per token in the forward pass, 2n in the backward pass for the gradients of the
    activations, and another 2n if it is trained. Attention needs 4 · layers · length² · width in the forward pass (the
    mask saves nothing) and twice that in the backward pass. Checkpointing repeats the forward passes. A frozen vision
    tower has no backward pass, and its attention is counted as that of all patches of a crop to each other. `embedding`
    is the number of parameters that are looked up, not multiplied.
    """
    text, vision = config.get_text_config(), config.vision_config
    frozen, trained = parts["language model"]
    matrices = frozen + trained - embedding
    forward = 2 * matrices * length + 4 * text.num_hidden_layers * length**2 * text.hidden_size
    backward = 2 * matrices * length + 8 * text.num_hidden_layers * length**2 * text.hidden_size
    backward += 2 * trained * length
    patches = image.crops * image.patches
    blocks = getattr(vision, "depth", None) or vision.num_hidden_layers  # the name in Qwen's configurations
    tower_matrices = 2 * sum(parts["vision tower"]) * patches
    tower_attention = 4 * blocks * patches * image.patches * vision.hidden_size
    tower = tower_matrices + tower_attention
    if tower_trained := parts["vision tower"][1]:
        tower *= 2 if checkpointing else 1
        tower += tower_matrices + 2 * tower_attention + 2 * tower_trained * patches
    projector = 6 * sum(parts["projector"]) * image.tokens
    return forward * (2 if checkpointing else 1) + backward + tower + projector


def memory(
    recipe: dict[str, Any],
    config: Any,
    parts: dict[str, tuple[int, int]],
    itemsize: int,
    batch: int,
    length: float,
    image: ImageTokens,
    checkpointing: bool,
    shared: bool,
) -> dict[str, tuple[float, float]]:
    """Return the bytes of each part on one GPU, and on each of two GPUs with ZeRO-3.

    PEFT keeps trained weights in fp32, with gradients and the two moments of AdamW, which take one byte each in an
    8-bit optimizer. For each token, a decoder layer keeps 7 tensors of its width and 4 of its inner width; LoRA with
    dropout keeps for each of its 7 matrices the input in fp32, the dropped input and the mask of the dropout. With
    checkpointing, only the inputs of all layers and the tensors of one layer are kept. A trained vision tower keeps as
    much for each patch.
    """
    text = config.get_text_config()
    frozen = sum(frozen for frozen, _ in parts.values())
    trained = sum(trained for _, trained in parts.values())
    weights = float(frozen * itemsize)
    if recipe.get("load_in_4bit"):
        quantized = parts["language model"][0] - 2 * text.vocab_size * text.hidden_size
        weights -= quantized * (itemsize - 4.13 / 8)  # nf4 with quantized scales
    moments = 1 if "8bit" in str(recipe.get("optim")) else 4

    dropout = recipe.get("use_peft") and recipe.get("lora_dropout", 0.05)

    def kept_per_token(part: Any) -> float:
        inner = getattr(part, "intermediate_size", 4 * part.hidden_size)  # DINOv2 states no size
        layer = (7 * part.hidden_size + 4 * inner) * itemsize + (6 * part.hidden_size + inner) * 9 * bool(dropout)
        layers = getattr(part, "depth", None) or part.num_hidden_layers
        return part.hidden_size * itemsize * layers + layer if checkpointing else layer * layers

    activations = batch * length * kept_per_token(text)
    if parts["vision tower"][1]:
        activations += batch * image.crops * image.patches * kept_per_token(config.vision_config)
    mask = batch * length**2 * (1 + itemsize) if shared else 0.0
    return {
        "frozen weights": (weights, weights / GPUS),
        "trained weights": (trained * 4, trained * 4 / GPUS),
        "their gradients": (trained * 4, trained * 4 / GPUS),
        "AdamW's moments": (2 * trained * moments, 2 * trained * moments / GPUS),
        "activations": (activations, activations),
        "mask of the branches": (mask, mask),
    }
