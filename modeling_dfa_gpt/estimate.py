"""What a training will take, computed from its recipe on the meta device: no weights are loaded, nothing is fetched."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from dfa_instruct.vlm.load import is_model
from dfa_instruct.vlm.messages import CHAT_TEMPLATE, IMAGE_TOKEN, with_image
from dfa_instruct.vlm.parts import family_of
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.lora import adapter_of, check_trainable, count_parameters
from modeling_dfa_gpt.recipe import config_of, read_recipe
from modeling_dfa_gpt.shared_prefix import split_branches

IMAGES = 127_300
"""Images that the paper trains on (127.3 K)."""
GPUS = 2
PEAK = 989e12
"""Dense bf16 FLOPs a second of one H800, from its data sheet; the arithmetic units are those of an H100 SXM."""
UTILISATION = 0.4
"""Assumed share of the peak, recomputed activations counted as work; measured nowhere."""
SAMPLES = 200
FEW = 24
CHARACTERS_A_TOKEN = 4.0
"""Of English in vocabularies of 32 to 49 thousand, where the tokenizer is not on disk (4.07 with SmolLM2's here)."""


@dataclass
class Description:
    """A training in figures. Tokens, FLOPs and characters are means over sampled images, memory is in bytes.

    Attributes:
        parts: part → frozen and trained parameters.
        lora: trained parameters in LoRA matrices.
        counted_by: how text was turned into token counts.
        questions: questions an image.
        branches: branches an image: a question, or several that follow each other.
        tokens: form ("shared prefix", "turns of a row", "separate rows") → tokens an image.
        batch: images in a device's batch.
        memory: part → bytes on one GPU that holds everything, and on each of two that share by ZeRO-3.
        flops: form → FLOPs an image, forward, recomputed and backward.
    """

    parts: dict[str, tuple[int, int]]
    lora: int
    counted_by: str
    questions: float
    branches: float
    tokens: dict[str, float]
    batch: int
    memory: dict[str, tuple[float, float]]
    flops: dict[str, float]

    def hours(self, form: str) -> float:
        """Hours for `IMAGES` on `GPUS` H800 at `UTILISATION`."""
        return self.flops[form] * IMAGES / (GPUS * PEAK * UTILISATION) / 3600


def describe(recipe: Path) -> None:
    """Print what a training will take.

    Raises:
        RecipeError: the recipe cannot be run, or its base's configuration is not on disk.
    """
    from rich import print as rich_print
    from rich.table import Table

    found = measure(recipe)
    parts = Table("part", "frozen", "trained", title=f"Parameters ({recipe})")
    for part, (frozen, trained) in found.parts.items():
        parts.add_row(part, f"{frozen:,}", f"{trained:,}")
    parts.add_row("all", *(f"{sum(column):,}" for column in zip(*found.parts.values(), strict=True)))
    rich_print(parts)
    print(f"of which {found.lora:,} in LoRA and {found.parts['projector'][1]:,} in the projector\n")

    title = f"An image with {found.questions:.1f} questions in {found.branches:.1f} branches"
    forms = Table("form", "tokens", "TFLOPs", f"hours on {GPUS} × H800", title=title)
    for form, tokens in found.tokens.items():
        forms.add_row(form, f"{tokens:,.0f}", f"{found.flops[form] / 1e12:,.2f}", f"{found.hours(form):,.1f}")
    rich_print(forms)
    print(
        f"Separate rows: one a branch, and learnt alike. Turns of a row: LLaVA's own form, all questions one after the "
        f"other; each is learnt with the answers to those before it in sight. Text tokens: {found.counted_by}.\n"
        f"FLOPs: forward, recomputed and backward. Hours: {IMAGES:,} images, one epoch, at an assumed "
        f"{UTILISATION:.0%} of {PEAK / 1e12:,.0f} TFLOPs a second and GPU.\n"
    )

    memory = Table("part", "one GPU", f"each of {GPUS}, ZeRO-3", title=f"Memory in GiB, {found.batch} images a GPU")
    for part, sizes in found.memory.items():
        memory.add_row(part, *(f"{size / 2**30:,.2f}" for size in sizes))
    memory.add_row("all", *(f"{sum(sizes) / 2**30:,.2f}" for sizes in zip(*found.memory.values(), strict=True)))
    rich_print(memory)
    print("Estimated: activations by counting the tensors that a decoder layer keeps; no workspace, no fragmentation.")


def measure(path: Path) -> Description:
    """Compute what a training will take.

    Raises:
        RecipeError: see `describe`.
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
        family = family_of(config)
    except ValueError as error:
        raise RecipeError(f"{path}: model_name_or_path: {error}") from error
    for key in ("per_device_train_batch_size", "lora_r", "lora_alpha"):
        if not isinstance(value := recipe.get(key, 1), int) or value < 1:
            raise RecipeError(f"{path}: {key}: expected 1 or more, not {value!r}")
    known = {"auto": config.dtype or torch.float32, None: torch.float32}
    dtype = known.get(arguments.dtype) or getattr(torch, str(arguments.dtype), None)
    if not isinstance(dtype, torch.dtype):
        raise RecipeError(f"{path}: dtype: expected auto, float32, bfloat16 or float16, not {arguments.dtype}")
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=dtype)
        if adapter := adapter_of(arguments, family):
            model = get_peft_model(model, adapter)
            check_trainable(model)
    parts = count_parameters(model)
    lora = sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name)

    count, counted_by = token_counter(base)
    patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    image_tokens = config.image_seq_length or patches
    conversations = sample_messages(recipe)
    rows = sequence_lengths(conversations, image_tokens, count)
    shared = recipe.get("shared_prefix") is not False
    form = "shared prefix" if shared else "separate rows"
    checkpointing = bool(recipe.get("activation_checkpointing", recipe.get("gradient_checkpointing", True)))
    batch = int(recipe.get("per_device_train_batch_size", 8))
    longest = max(max(lengths) for lengths in rows[form])
    return Description(
        parts=parts,
        lora=lora,
        counted_by=counted_by,
        questions=fmean(len(messages) / 2 for messages in conversations),
        branches=fmean(len(lengths) for lengths in rows["separate rows"]),
        tokens={name: fmean(sum(lengths) for lengths in of_form) for name, of_form in rows.items()},
        batch=batch,
        memory=memory(recipe, config, parts, dtype.itemsize, batch, longest, checkpointing),
        flops={
            name: fmean(
                sum(flops(length, config, parts, lora, image_tokens, checkpointing) for length in lengths)
                for lengths in of_form
            )
            for name, of_form in rows.items()
        },
    )


def base_folder(recipe: Path, name: str | None) -> Path:
    """Return the folder of the base's configuration: the base's own, or the one of its name beside the recipe.

    Raises:
        RecipeError: there is neither.
    """
    if name is None:
        raise RecipeError(f"{recipe}: model_name_or_path is missing: expected a LLaVA's folder or Hub id")
    beside = [folder / Path(name).name for folder in (recipe.resolve().parent, recipe.resolve().parents[1])]
    found = next((folder for folder in (Path(name), *beside) if folder.is_dir() and is_model(folder)), None)
    if found is None:
        raise RecipeError(f"{recipe}: model_name_or_path: {name} is not on disk (no folder with a config.json)")
    return found


def token_counter(base: Path) -> tuple[Callable[[str], float], str]:
    """Return a function that counts the tokens of a text, and how it does."""
    if (base / "tokenizer.json").is_file():
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(base)
        return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]), "counted by the base's own"
    estimated = f"estimated at {CHARACTERS_A_TOKEN:g} characters a token, the tokenizer not being on disk"
    return lambda text: len(text) / CHARACTERS_A_TOKEN, estimated


def sample_messages(recipe: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the messages of some rows of each of the recipe's datasets.

    Where the recipe leaves it to the embedded sample, a few portraits of it are drawn, not all.
    """
    from datasets import load_dataset

    from dfa_instruct.dataset import DATASET_NAME, DIRECTORY_ENV

    sampled: list[list[dict[str, Any]]] = []
    with TemporaryDirectory() as scratch:
        for dataset in recipe.get("datasets", []):
            keys = {key: dataset.get(key) for key in ("path", "name", "data_dir", "data_files")}
            keys["name"] = config_of(keys["path"], keys["name"], recipe.get("abilities"))
            if keys["path"] == DATASET_NAME and not keys["data_dir"] and not os.environ.get(DIRECTORY_ENV):
                keys["data_dir"] = draw_few(Path(scratch))
            rows = load_dataset(**keys, split=dataset.get("split", "train"), streaming=True)
            sampled += [row["messages"] for row in islice(rows.select_columns(["messages"]), SAMPLES)]
    if not sampled:
        raise RecipeError("datasets: there are no rows to count the tokens of")
    return sampled


def draw_few(folder: Path) -> str:
    """Build a dataset of a few drawn portraits in a folder, once, and return where it is."""
    from dfa_instruct.construction.pipeline import build
    from dfa_instruct.construction.recipe import sample_recipe
    from dfa_instruct.dataset import DATASET_NAME

    few = folder / DATASET_NAME
    if not few.is_dir():
        recipe = sample_recipe(few)
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            build(replace(recipe, sources=[{**recipe.sources[0], "identities": FEW, "pictures": 2}], size=64))
    return str(few)


def sequence_lengths(
    conversations: list[list[dict[str, Any]]], image_tokens: int, count: Callable[[str], float]
) -> dict[str, list[list[float]]]:
    """Count the tokens of each sequence that a conversation is trained as: form → conversation → its sequences."""
    forms: dict[str, list[list[float]]] = {"shared prefix": [], "turns of a row": [], "separate rows": []}
    for messages in conversations:
        prefix, turns = conversation_tokens(messages, image_tokens, count)
        branches = [conversation_tokens(branch, image_tokens, count)[1] for branch in split_branches(messages)]
        forms["shared prefix"].append([prefix + sum(branches)])
        forms["turns of a row"].append([prefix + turns])
        forms["separate rows"].append([prefix + branch for branch in branches])
    return forms


def conversation_tokens(
    messages: Sequence[dict[str, Any]], image_tokens: int, count: Callable[[str], float]
) -> tuple[float, float]:
    """Count the tokens of a conversation about an image: up to the image's last, and of the turns after it."""
    from transformers.utils.chat_template_utils import render_jinja_template

    special: Any = {"bos_token": "", "eos_token": ""}  # counted apart: they are a token each
    rendered: Any = render_jinja_template([with_image(messages)], chat_template=CHAT_TEMPLATE, **special)
    prefix, turns = rendered[0][0].split(IMAGE_TOKEN)
    return 1 + count(prefix) + image_tokens, count(turns) + len(messages) / 2


def flops(
    length: float, config: Any, parts: dict[str, tuple[int, int]], lora: int, image_tokens: int, checkpointing: bool
) -> float:
    """Count the FLOPs of one training sequence.

    A matrix of n weights takes 2n a token forward and 2n backward for the activations' gradients; what is trained takes
    another 2n for its own. Attention takes 4 · layers · length² · width forward (the mask saves nothing) and twice that
    backward. Checkpointing takes the forward pass of the language model twice. A frozen vision tower has no backward.
    """
    text, vision = config.text_config, config.vision_config
    frozen, trained = parts["language model"]
    matrices = frozen + trained - text.vocab_size * text.hidden_size  # the embeddings are looked up
    weights = lora or trained
    forward = 2 * matrices * length + 4 * text.num_hidden_layers * length**2 * text.hidden_size
    backward = 2 * matrices * length + 8 * text.num_hidden_layers * length**2 * text.hidden_size + 2 * weights * length
    patches = image_tokens + 1
    tower = 2 * sum(parts["vision tower"]) * patches + 4 * vision.num_hidden_layers * patches**2 * vision.hidden_size
    tower *= 3 if parts["vision tower"][1] else 1
    projector = 6 * sum(parts["projector"]) * image_tokens
    return forward * (2 if checkpointing else 1) + backward + tower + projector


def memory(
    recipe: dict[str, Any],
    config: Any,
    parts: dict[str, tuple[int, int]],
    itemsize: int,
    batch: int,
    length: float,
    checkpointing: bool,
) -> dict[str, tuple[float, float]]:
    """Estimate the bytes of each part on one GPU, and on each of two under ZeRO-3.

    PEFT keeps trained weights in fp32, with gradients and AdamW's two moments; an 8-bit optimizer's take a byte each.
    Activations: checkpointing keeps the input of every decoder layer and the tensors of one layer at a time, else those
    of all. A layer keeps for each token 7 tensors of its width and 4 of its inner width, and LoRA with dropout for each
    of its 7 matrices the input in fp32, the dropped one and the dropout's mask.
    """
    text = config.text_config
    frozen = sum(frozen for frozen, _ in parts.values())
    trained = sum(trained for _, trained in parts.values())
    weights = float(frozen * itemsize)
    if recipe.get("load_in_4bit"):
        quantised = parts["language model"][0] - 2 * text.vocab_size * text.hidden_size
        weights -= quantised * (itemsize - 4.13 / 8)  # nf4, and its scales quantised again
    moments = 1 if "8bit" in str(recipe.get("optim")) else 4

    inputs = 6 * text.hidden_size + text.intermediate_size
    kept = (7 * text.hidden_size + 4 * text.intermediate_size) * itemsize
    kept += inputs * 9 if recipe.get("use_peft") and recipe.get("lora_dropout", 0.05) else 0
    layers = text.num_hidden_layers
    each = text.hidden_size * itemsize * layers + kept if checkpointing else kept * layers
    activations = batch * length * each
    mask = batch * length**2 * (1 + itemsize) if recipe.get("shared_prefix") is not False else 0.0
    return {
        "frozen weights": (weights, weights / GPUS),
        "trained weights": (trained * 4, trained * 4 / GPUS),
        "their gradients": (trained * 4, trained * 4 / GPUS),
        "AdamW's moments": (2 * trained * moments, 2 * trained * moments / GPUS),
        "activations": (activations, activations),
        "mask of the branches": (mask, mask),
    }
