"""How much of a forgery a frozen vision tower shows: a linear probe of what the projector is given.

The tower's patches are averaged over a grid of 4 × 4, with their mean and deviation over the picture; a logistic
regression on them tells forged from bona fide on the test split, its regularisation chosen on the validation split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, load_dataset
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.vlm.inputs import encode_images, on
from dfa_instruct.vlm.load import load_model, load_processor
from dfa_instruct.vlm.parts import parts_of
from dfa_instruct.vocabulary import CATEGORIES

GRID = 4
BATCH = 16
IMAGES = 2000
"""Of each split, at most."""
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2)
"""Inverse strengths of the regularisation that are tried."""


def probe(base: str, data: Path) -> None:
    """Print the accuracy on the test split beside the majority's, and what of each category is called forged.

    Args:
        base: a LLaVA, a folder or Hub id.
        data: the dataset folder.

    Raises:
        FileNotFoundError: the base or the dataset is not there.
    """
    processor, model = load_processor(base), load_model(base)
    known: dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
    for split in ("train", "validation", "test"):
        rows = load_dataset(DATASET_NAME, data_dir=str(data), split=split).shuffle(seed=0)
        rows = rows.select(range(min(IMAGES, len(rows))))
        known[split] = tower_features(rows, model, processor), np.array(rows["label"]) == "forged"
    fits = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500)).fit(*known["train"])
        for strength in STRENGTHS
    ]
    best = max(fits, key=lambda fit: fit.score(*known["validation"]))
    features, truth = known["test"]
    report(best.predict(features), truth, rows)


def tower_features(rows: Dataset, model: Any, processor: Any) -> NDArray[np.float32]:
    """Return what the tower says of each image, shape (rows, channels · (2 + GRID²))."""
    batches = []
    for batch in tqdm(rows.iter(BATCH), total=-(-len(rows) // BATCH), desc="look at faces", unit="batch"):
        pixels = on(model, encode_images(processor, batch["image"]).features)["pixel_values"]
        with torch.inference_mode():
            states = parts_of(model).vision(pixels, output_hidden_states=True).hidden_states
        patches = states[model.config.vision_feature_layer][:, 1:].float().transpose(1, 2)
        side = round(patches.shape[2] ** 0.5)
        grid = torch.nn.functional.adaptive_avg_pool2d(patches.unflatten(2, (side, side)), GRID).flatten(1)
        batches.append(torch.cat([patches.mean(2), patches.std(2), grid], 1).cpu().numpy())
    return np.concatenate(batches)


def report(called: NDArray[np.bool_], truth: NDArray[np.bool_], rows: Dataset) -> None:
    """Print how often test faces are called what they are, by category, and by person for bona fide ones."""
    majority = max(truth.mean(), 1 - truth.mean())
    print(f"accuracy {(called == truth).mean():.1%}, majority {majority:.1%}, on {len(truth)} images")
    categories = np.array(rows["category"])
    for category in CATEGORIES:
        if (categories == category).any():
            print(f"{category}: {called[categories == category].mean():.1%} called forged")
    people = np.array([identities[0] for identities in rows["identities"]])
    shares = [called[~truth & (people == person)].mean() for person in set(people[~truth])]
    fewest, quarter, half, three_quarters, most = np.quantile(shares, [0, 0.25, 0.5, 0.75, 1])
    print(
        f"bona fide by person, {len(shares)} people: {fewest:.0%} to {most:.0%} called forged, median {half:.0%}, "
        f"middle half {quarter:.0%} to {three_quarters:.0%}"
    )
