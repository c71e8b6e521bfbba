"""Train, measure and question a model of random weights, and print its speed and memory.

    python tests/gpu/check.py llava          # LLaVA-1.5-7B's shape, in bfloat16: needs a GPU of 80 GB
    python tests/gpu/check.py qwen2_5_vl     # Qwen2.5-VL-7B's shape
    python tests/gpu/check.py llava --tiny   # a tiny model, also on a CPU

Only the last form was run: no GPU was at hand when this was written.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

sys.path.insert(0, str(Path(__file__).parents[1]))
import families

from dfa_instruct.bench.runner import run_bench
from dfa_instruct.vlm.inputs import on
from modeling_dfa_gpt.bases.processor import make_processor, train_tokenizer
from modeling_dfa_gpt.conversation import Conversation
from modeling_dfa_gpt.dfa_gpt import DfaGpt
from modeling_dfa_gpt.estimate import PEAK, build_small_sample, estimate_training
from modeling_dfa_gpt.recipe import parse_recipe
from modeling_dfa_gpt.sft import load_processor, train
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator, rope_index_of, split_branches

RECIPES = Path(__file__).parents[2] / "recipes"
SHAPES = {
    "llava": "dfa-gpt-7b/llava-1.5-7b-hf",
    "qwen2_5_vl": "dfa-gpt-qwen2.5-vl-7b/Qwen2.5-VL-7B-Instruct",
}
STEPS = 6
WORDS = 8000
"""The vocabulary size of the large models' tokenizer. A text then has about as many tokens as in the real models."""
TOLERANCE = 0.02
"""The largest relative difference between the losses of a shared prefix and of separate rows."""
SHORT = ["--eval_strategy", "no", "--load_best_model_at_end", "false", "--save_strategy", "no", "--report_to", "none"]
SHORT += ["--dataset_num_proc", "1", "--dataloader_num_workers", "0", "--max_steps", str(STEPS)]
SMALL = ["--bf16", "false", "--tf32", "false", "--dtype", "float32", "--abilities", "df_d"]
SMALL += ["--per_device_train_batch_size", "2", "--max_length", "4096"]


def main() -> None:
    """Run all checks of one family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=SHAPES)
    parser.add_argument("--tiny", action="store_true", help="a tiny model in float32, without 4 bits")
    arguments = parser.parse_args()
    if not (arguments.tiny or torch.cuda.is_available()):
        raise SystemExit("a model of 7 B weights needs a GPU; expected --tiny")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["DFA_INSTRUCT_DIR"] = data = build_small_sample(folder)
        base = make_base(arguments.family, folder / "base", Path(data), arguments.tiny)
        shape = RECIPES / SHAPES[arguments.family]
        recipe = shape.parent / "sft.yaml"
        options = [*SHORT, *(SMALL if arguments.tiny else [])]
        compare_losses(recipe, base, options)
        for form, more in {
            "shared prefix": [],
            "turns of a row": ["--shared_prefix", "false"],
            "shared prefix, 4 bits": ["--load_in_4bit", "true"],
        }.items():
            if not (arguments.tiny and "4 bits" in form):
                flops = None if arguments.tiny else estimate_training(recipe).flops[form.partition(",")[0]]
                run = folder / form.replace(" ", "-")
                measure_training(form, recipe, base, run, [*options, *more], flops)
        answer(folder / "shared-prefix", Path(data))


def make_base(family: str, folder: Path, data: Path, tiny: bool) -> Path:
    """Write a model of random weights and its processor."""
    if tiny:
        return getattr(families, family)(folder)
    rows = load_dataset("dfa-instruct", data_dir=str(data), split="train")
    families.TEXTS = [text for qa in rows["qa"] for pair in qa for text in (pair["question"], pair["answer"])]
    families.VOCABULARY = WORDS
    getattr(families, family)(folder)
    small, shape = AutoConfig.from_pretrained(folder), RECIPES / SHAPES[family]
    config = AutoConfig.from_pretrained(shape)
    for name, value in small.to_dict().items():
        if name.endswith(("_token_id", "_token_index")):
            setattr(config, name, value)
    processor = AutoProcessor.from_pretrained(folder)
    if family == "llava":
        processor = make_processor(train_tokenizer(families.TEXTS, WORDS), 336, 14)
        config.image_token_index = processor.image_token_id
    else:
        processor.image_processor = AutoImageProcessor.from_pretrained(shape)
    torch.manual_seed(0)
    with torch.device("cuda"):
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def compare_losses(recipe: Path, base: Path, options: list[str]) -> None:
    """Check that a shared prefix gives the same loss as separate rows, up to `TOLERANCE`."""
    read = parse_recipe(["--config", str(recipe), "--model_name_or_path", str(base), *options])
    processor, *_ = load_processor(read)
    model: Any = AutoModelForImageTextToText.from_pretrained(base, dtype=read.model.dtype)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    rows = list(load_dataset("dfa-instruct", "conversations", split="train[:2]"))
    separate = [{**row, "messages": turns} for row in rows for turns in split_branches(row["messages"])]
    stock = DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)
    losses = []
    with torch.no_grad():
        for collator, batch in ((SharedPrefixCollator(processor, rope_index_of(model)), rows), (stock, separate)):
            losses.append(model(**on(model, collator(batch))).loss.item())
    print(f"loss of a shared prefix {losses[0]:.4f}, of separate rows {losses[1]:.4f}")
    if abs(losses[0] / losses[1] - 1) > TOLERANCE:
        raise SystemExit(f"expected a relative difference of at most {TOLERANCE}")


def measure_training(
    form: str, recipe: Path, base: Path, output: Path, options: list[str], flops: float | None
) -> None:
    """Train a few steps, and print the speed and the peak memory."""
    free_memory()
    train(["--config", str(recipe), "--model_name_or_path", str(base), "--output_dir", str(output), *options])
    state = json.loads((output / "trainer_state.json").read_text(encoding="utf-8"))
    last = state["log_history"][-1]
    images, tokens = last["train_samples_per_second"], state["num_input_tokens_seen"] / last["train_runtime"]
    used = "" if flops is None else f", {flops * images / PEAK:.0%} of {PEAK / 1e12:.0f} TFLOPs a second"
    print(f"{form}: {images:.2f} images and {tokens:,.0f} tokens a second{used}; {peak_memory()}")


def answer(adapter: Path, data: Path) -> None:
    """Print how long turns take with and without the cache that is kept between turns, and run the bench."""
    free_memory()
    gpt = DfaGpt.from_pretrained(adapter)
    face = load_dataset("dfa-instruct", split="test")[0]["image"]
    for use_cache in (True, False):
        talk, seconds = Conversation(gpt, face, use_cache=use_cache), []
        for question in ("Has this face been forged?", "What gives it away?", "And the eyes?"):
            start = time.perf_counter()
            talk.ask(question)
            seconds.append(time.perf_counter() - start)
        print(f"turns {'with' if use_cache else 'without'} the cache: {', '.join(f'{s:.2f} s' for s in seconds)}")
    del gpt
    free_memory()
    start = time.perf_counter()
    tasks = run_bench(adapter, data, limit=16)["tasks"]
    print(f"bench: {len(tasks)} tasks of 16 faces in {time.perf_counter() - start:.1f} s; {peak_memory()}")


def free_memory() -> None:
    """Free the memory of earlier models, and reset the peak that PyTorch has recorded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> str:
    """Return the largest amount of GPU memory that was allocated, as text."""
    return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_available() else "no GPU"


if __name__ == "__main__":
    main()
