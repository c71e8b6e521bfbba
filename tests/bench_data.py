"""A small dataset folder and a tiny LLaVA of random weights for the tests of DFA-Bench."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from datasets import Dataset

from dfa_instruct.bench.bench_model import BenchModel, answers_path
from dfa_instruct.dataset.features import FEATURES
from dfa_instruct.instruct.options import lettered
from dfa_instruct.vlm.answer_cache import AnswerCache
from dfa_instruct.vlm.model import open_model
from dfa_instruct.vocabulary import CATEGORIES, Category

COLOURS: dict[Category, tuple[int, int, int]] = {
    "bona_fide": (200, 30, 30),
    "face_swapping": (30, 200, 30),
    "face_reenactment": (30, 30, 200),
    "face_editing": (200, 200, 30),
    "entire_face_synthesis": (30, 200, 200),
}
"""The images of each category have one colour, so that a model can tell them apart."""

TRAIN: dict[Category, int] = {"bona_fide": 3, "face_swapping": 2, "face_editing": 1, "face_reenactment": 1}
TEST: dict[Category, int] = {"bona_fide": 5, **dict.fromkeys([c for c in CATEGORIES if c != "bona_fide"], 2)}


TECHNIQUES = [f"by {category}" for category in CATEGORIES if category != "bona_fide"]


def description(category: Category) -> str:
    return "No artifact is visible." if category == "bona_fide" else f"1. Eyes: they tell of {CATEGORIES[category]}."


def row(category: Category, split: str, number: int) -> dict[str, Any]:
    png = io.BytesIO()
    PIL.Image.new("RGB", (32, 32), COLOURS[category]).save(png, format="PNG")
    forged = category != "bona_fide"
    options = [CATEGORIES[c] for c in np.random.default_rng(number).permutation(list(CATEGORIES))]
    asked = [
        ("df_d", "Is this face forged?", "Yes" if forged else "No", ["Yes", "No"]),
        ("df_c", f"Which category?\n{lettered(options)}", CATEGORIES[category], options),
        ("ad", "Describe the artifacts.", description(category), []),
        *([("df_t", "Which technique?", f"by {category}", TECHNIQUES)] if forged else []),
    ]
    keys = ("ability", "question", "answer", "options")
    known = {
        "image": {"bytes": png.getvalue(), "path": None},
        "face_id": f"{number:016x}",
        "label": "forged" if forged else "bona_fide",
        "category": category,
        "technique": f"by {category}" if forged else None,
        "split": split,
        "artifacts": [],
        "qa": [{"ability": "ad", "question": "?", "answer": description(category), "template": "ad.1"}],
        "bench": [dict(zip(keys, question, strict=True)) for question in asked] if split == "test" else [],
    }
    return {column: known.get(column) for column in FEATURES}


def write_counts(folder: Path, **counts: dict[Category, int]) -> Path:
    """Write a dataset folder with so many faces of each category in each split."""
    categories = {split: [c for c, n in of_split.items() for _ in range(n)] for split, of_split in counts.items()}
    return write(folder, {split: [row(c, split, i) for i, c in enumerate(of)] for split, of in categories.items()})


def write(folder: Path, splits: dict[str, list[dict[str, Any]]]) -> Path:
    (folder / "data").mkdir(parents=True)
    for split, rows in splits.items():
        Dataset.from_list(rows, features=FEATURES).to_parquet(str(folder / f"data/{split}-00000-of-00001.parquet"))
    return folder


def tiny_base(folder: Path, seed: int) -> Path:
    """Write a LLaVA of random weights: 32-pixel images, four image tokens."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    from modeling_dfa_gpt.bases.processor import make_processor, train_tokenizer

    texts = ["Is this face forged? Which category? Describe the artifacts.", *map(description, CATEGORIES)]
    tokenizer = train_tokenizer(texts, 400)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**size, image_size=32, patch_size=16),
        text_config=LlamaConfig(**size, vocab_size=len(tokenizer), eos_token_id=2, pad_token_id=0),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
    )
    torch.manual_seed(seed)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    make_processor(tokenizer, 32, 16).save_pretrained(folder)
    return folder


def opened(name: str, data: Path, base_url: str | None = None, **options: int) -> BenchModel:
    """Open a model as `dfa-instruct bench` does, and keep its answers beside the dataset folder."""
    return BenchModel(open_model(name, base_url, **options), AnswerCache(answers_path(data)))
