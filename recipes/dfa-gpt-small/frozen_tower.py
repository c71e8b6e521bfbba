"""How much of a forgery the frozen vision tower shows: a logistic regression on what the projector is given.

    python recipes/dfa-gpt-small/frozen_tower.py BASE DATASET

BASE is an assembled LLaVA, DATASET a dataset folder. The tower's patches are averaged over a grid of 4 × 4, with their
mean and deviation over the picture; the regression tells forged from bona fide on the test split, its regularisation
chosen on the validation split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from datasets import Dataset, load_dataset
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm
from transformers import AutoModelForImageTextToText, AutoProcessor

import dfa_instruct  # noqa: F401 (registers "dfa-instruct" with datasets)
from dfa_instruct.vocabulary import CATEGORIES

GRID = 4
BATCH = 16


def features(rows: Dataset, model: Any, processor: Any) -> NDArray[np.float32]:
    """Return what the tower says of each image, shape (rows, channels · (2 + GRID²))."""
    batches = []
    for batch in tqdm(rows.iter(BATCH), total=-(-len(rows) // BATCH)):
        pixels = processor.image_processor(batch["image"], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
        patches = states[model.config.vision_feature_layer][:, 1:].transpose(1, 2)
        side = round(patches.shape[2] ** 0.5)
        grid = torch.nn.functional.adaptive_avg_pool2d(patches.unflatten(2, (side, side)), GRID).flatten(1)
        batches.append(torch.cat([patches.mean(2), patches.std(2), grid], 1).numpy())
    return np.concatenate(batches)


def main(base: str, dataset: Path, images: int = 2000) -> None:
    """Print the accuracy on the test split beside the majority's, and what of each category is called forged."""
    model = AutoModelForImageTextToText.from_pretrained(base).eval()
    processor = AutoProcessor.from_pretrained(base)
    known: dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
    for split in ("train", "validation", "test"):
        rows = load_dataset("dfa-instruct", data_dir=str(dataset), split=split).shuffle(seed=0)
        rows = rows.select(range(min(images, len(rows))))
        known[split] = features(rows, model, processor), np.array(rows["label"]) == "forged"
    categories = np.array(rows["category"])
    people = np.array([identities[0] for identities in rows["identities"]])
    fits = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500)).fit(*known["train"])
        for strength in (1e-5, 1e-4, 1e-3, 1e-2)
    ]
    best = max(fits, key=lambda fit: fit.score(*known["validation"]))
    seen, truth = known["test"]
    majority = max(truth.mean(), 1 - truth.mean())
    print(f"accuracy {best.score(seen, truth):.1%}, majority {majority:.1%}, on {len(truth)} images")
    called = best.predict(seen)
    for category in CATEGORIES:
        print(f"{category}: {called[categories == category].mean():.1%} called forged")
    bona_fide = {person: called[~truth & (people == person)].mean() for person in set(people[~truth])}
    fewest, quarter, half, three_quarters, most = np.quantile([*bona_fide.values()], [0, 0.25, 0.5, 0.75, 1])
    print(
        f"bona fide by person, {len(bona_fide)} people: {fewest:.0%} to {most:.0%} called forged, median {half:.0%}, "
        f"middle half {quarter:.0%} to {three_quarters:.0%}"
    )


if __name__ == "__main__":
    typer.run(main)
