"""Measure how well a frozen vision tower separates forged from bona fide faces, with a linear probe.

The features are the tower's patches, averaged over a grid of 4 × 4, with their mean and standard deviation over the
image. A logistic regression is fitted to the train split, its regularization is chosen on the validation split, and its
accuracy is measured on the test split.
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
from dfa_instruct.vlm.parts import parts_of, patch_grid
from dfa_instruct.vocabulary import CATEGORIES

GRID = 4
BATCH = 16
IMAGES = 2000
"""The maximum number of images of each split."""
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2)
"""The inverse regularization strengths to choose from."""


def probe(base: str, data: Path) -> None:
    """Print the accuracy on the test split, that of the majority label, and the share called forged by category.

    Raises:
        FileNotFoundError: The base or the dataset does not exist.
    """
    processor, model = load_processor(base), load_model(base)
    splits: dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
    for split in ("train", "validation", "test"):
        rows = load_dataset(DATASET_NAME, data_dir=str(data), split=split).shuffle(seed=0)
        rows = rows.select(range(min(IMAGES, len(rows))))
        splits[split] = tower_features(rows, model, processor), np.array(rows["label"]) == "forged"
    fits = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500)).fit(*splits["train"])
        for strength in STRENGTHS
    ]
    best = max(fits, key=lambda fit: fit.score(*splits["validation"]))
    features, truth = splits["test"]
    report(best.predict(features), truth, rows)


def tower_features(rows: Dataset, model: Any, processor: Any) -> NDArray[np.float32]:
    """Return the features of each image, of shape (rows, channels · (2 + GRID²))."""
    batches = []
    for batch in tqdm(rows.iter(BATCH), total=-(-len(rows) // BATCH), desc="Encode faces", unit="batch"):
        pixels = on(model, encode_images(processor, batch["image"]).features)["pixel_values"]
        with torch.inference_mode():
            states = parts_of(model).vision(pixels, output_hidden_states=True).hidden_states
        rows_and_columns = patch_grid(model.config, pixels)
        count = rows_and_columns[0] * rows_and_columns[1]
        patches = states[model.config.vision_feature_layer][:, -count:].float().transpose(1, 2)
        grid = torch.nn.functional.adaptive_avg_pool2d(patches.unflatten(2, rows_and_columns), GRID).flatten(1)
        batches.append(torch.cat([patches.mean(2), patches.std(2), grid], 1).cpu().numpy())
    return np.concatenate(batches)


def report(called: NDArray[np.bool_], truth: NDArray[np.bool_], rows: Dataset) -> None:
    """Print the accuracy, and the share of faces called forged by category and, for bona fide faces, by person."""
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
