"""Measure how many steps a second the tower for photographs is trained, and which share of the time is training.

    python tests/benchmarks/photo_tower.py

A step makes 16 pairs of a bona fide face and a forgery, degrades them, and trains on them. Only the last part counts as
training.
"""

from __future__ import annotations

import statistics
import time

import psutil
import torch
from datasets import load_dataset
from transformers import AutoProcessor

from modeling_dfa_gpt.bases import TINY_BASE
from modeling_dfa_gpt.bases.forged_pairs import Pairs
from modeling_dfa_gpt.bases.photo_tower import OWN_IN_PRETRAINING, new_tower
from modeling_dfa_gpt.bases.teach import PAIRS, ForgeryReader

STEPS = 8
AIM = 0.5


def main() -> None:
    """Print the steps a second, and fail if the share of the time that is training is less than `AIM`."""
    train = load_dataset("dfa-instruct", split="train")
    processor = AutoProcessor.from_pretrained(TINY_BASE)
    pairs = Pairs(train, processor.image_processor, PAIRS * (STEPS + 1), OWN_IN_PRETRAINING, seed=0)
    reader = ForgeryReader(new_tower(pairs), len(pairs.names))
    optimizer = torch.optim.AdamW(reader.parameters(), 1e-3)

    def step(number: int) -> tuple[float, float]:
        start = time.perf_counter()
        items = [pairs[number * PAIRS + pair] for pair in range(PAIRS)]
        batch = {key: torch.stack([torch.as_tensor(item[key]) for item in items]) for key in items[0]}
        made = time.perf_counter()
        reader(**batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        end = time.perf_counter()
        return end - start, (end - made) / (end - start)

    step(0)
    seconds, shares = (statistics.median(of) for of in zip(*map(step, range(1, STEPS + 1)), strict=True))
    memory = psutil.Process().memory_info().rss / 2**20
    print(
        f"{1 / seconds:.2f} steps of {PAIRS} pairs a second with {torch.get_num_threads()} threads; {shares:.2f} of "
        f"the time is training, the rest makes the pairs (median of {STEPS} steps); {memory:,.0f} MiB"
    )
    if shares < AIM:
        raise SystemExit(f"expected at least {AIM}")


if __name__ == "__main__":
    main()
