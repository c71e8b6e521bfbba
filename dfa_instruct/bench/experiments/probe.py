"""Table I: a frozen vision-only model with one linear layer for DF-D and one for DF-C, each trained for one epoch.

The feature vectors of a split are computed once and cached under the fingerprints of the model and of the faces. The
paper does not give a learning rate. For each layer, the one of `RATES` that is best on the validation split is used.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import datasets
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from tqdm import tqdm

from dfa_instruct.bench.experiments.backbones import Backbone, Features, load_backbone
from dfa_instruct.bench.metrics import Prediction
from dfa_instruct.bench.results import Results, Rows, make_results, model_name
from dfa_instruct.bench.rows import stream
from dfa_instruct.bench.scores import all_metrics
from dfa_instruct.sources.pictures import read_image
from dfa_instruct.vocabulary import CATEGORIES, SPLITS, BenchTask, Category, Label, Split

LABELS: Final[tuple[Label, ...]] = ("bona_fide", "forged")
CLASSES: Final[tuple[Category, ...]] = tuple(CATEGORIES)
COLUMNS: Final = ("face_id", "video", "identities", "label", "category", "technique")
IMAGE_BATCH: Final = 32
BATCH: Final = 32
RATES: Final = (1e-4, 1e-3, 1e-2, 1e-1)


def run_probe(
    model: str, data: Path | None, *, image_size: int | None = None, seed: int = 0, cache: Path | None = None
) -> Results:
    """Train both layers on the training split, and measure them on the test split.

    Args:
        model: The model, see `dfa_instruct.bench.experiments.backbones.load_backbone`.
        data: The dataset folder, see `dfa_instruct.bench.runner.run_bench`.
        image_size: The side to which images are resized, in pixels. None: the size that the model's folder gives.
        seed: The seed for the layers' initial weights and the order of the faces.
        cache: The folder that caches feature vectors. None: a folder in the cache of `datasets`.

    Raises:
        FileNotFoundError: The model or the dataset does not exist.
        ValueError: A split is missing, or the model takes no images.
    """
    metrics = all_metrics()
    backbone = load_backbone(model, image_size)
    rows: dict[Split, Rows] = {split: list(stream(data, split, COLUMNS)) for split in SPLITS}
    if empty := [split for split, of_split in rows.items() if not of_split]:
        raise ValueError(f"{data or 'the dataset folder'}: the {empty[0]} split has no rows")
    cache = cache or Path(datasets.config.HF_DATASETS_CACHE).expanduser() / "dfa-instruct-features"
    features = {split: features_of(backbone, data, split, of_split, cache) for split, of_split in rows.items()}
    predictions: list[Prediction] = []
    rates: dict[str, float] = {}
    for task, column, names in ((BenchTask.DF_D, "label", LABELS), (BenchTask.DF_C, "category", CLASSES)):
        truth = {s: np.array([names.index(row[column]) for row in of_split]) for s, of_split in rows.items()}
        logits, rates[task] = classify(features, truth, len(names), seed)
        predictions += [
            prediction_of(task, row, names, of_row) for row, of_row in zip(rows["test"], logits, strict=True)
        ]
    settings = {"rates": rates, "seed": seed, "image_size": image_size}
    return {"model": model_name(model), "probe": settings, **make_results(predictions, rows["test"], metrics)}


def features_of(backbone: Backbone, data: Path | None, split: Split, rows: Rows, cache: Path) -> Features:
    """Return the feature vectors of a split's faces from the cache, or compute and cache them."""
    faces = hashlib.sha256(" ".join(row["face_id"] for row in rows).encode()).hexdigest()[:16]
    path = cache / f"{backbone.fingerprint}-{faces}.npy"
    if path.is_file():
        return np.load(path)
    batches = []
    with tqdm(total=len(rows), desc=f"Features of {split} faces", unit="face") as progress:
        for batch in stream(data, split, ["image"]).iter(IMAGE_BATCH):
            images = [PIL.Image.fromarray(read_image(image["bytes"], smallest=1)) for image in batch["image"]]
            batches.append(backbone.features(images))
            progress.update(len(images))
    vectors = np.concatenate(batches)
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, vectors)
    partial.replace(path)
    return vectors


def classify(
    features: dict[Split, Features], truth: dict[Split, NDArray[np.int64]], classes: int, seed: int
) -> tuple[NDArray[np.float32], float]:
    """Train a linear layer at each learning rate, and choose the best one on the validation split.

    The features are standardized by the training split, so that the same rates suit backbones of any scale.

    Args:
        features: The features of each split, shape (faces, channels).
        truth: The class of each face, shape (faces,).
        classes: The number of classes.
        seed: The seed of the training.

    Returns:
        The logits of the test faces, shape (faces, classes), and the learning rate.
    """
    mean, deviation = features["train"].mean(0), features["train"].std(0) + 1e-6
    faces = {split: (vectors - mean) / deviation for split, vectors in features.items()}
    layers = {rate: linear_layer(faces["train"], truth["train"], classes, rate, seed) for rate in RATES}

    def accuracy(rate: float) -> float:
        return float((layers[rate](faces["validation"]).argmax(1) == truth["validation"]).mean())

    best = max(RATES, key=accuracy)
    return layers[best](faces["test"]), best


def linear_layer(vectors: Features, truth: NDArray[np.int64], classes: int, rate: float, seed: int) -> Any:
    """Train a linear layer for one epoch with AdamW; return the function from features to logits."""
    import torch

    torch.manual_seed(seed)
    layer = torch.nn.Linear(vectors.shape[1], classes)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=rate)
    x, y = torch.from_numpy(vectors), torch.from_numpy(truth)
    for batch in torch.randperm(len(x)).split(BATCH):
        loss = torch.nn.functional.cross_entropy(layer(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def logits(features: Features) -> NDArray[np.float32]:
        with torch.inference_mode():
            return layer(torch.from_numpy(features)).numpy()

    return logits


def prediction_of(
    task: BenchTask, row: dict[str, Any], names: Sequence[str], logits: NDArray[np.float32]
) -> Prediction:
    """Return a layer's prediction in the form of `dfa_instruct.bench.tasks.questions.prediction`."""
    predicted = names[int(logits.argmax())]
    log_probabilities = (logits - np.logaddexp.reduce(logits)).tolist()
    words = {"bona_fide": "No", "forged": "Yes"}
    first = {words[name]: round(v, 4) for name, v in zip(names, log_probabilities, strict=True) if name in words}
    return {
        "task": task,
        **{key: row[key] for key in COLUMNS},
        "question": "",
        "reference": row["label"] if task == BenchTask.DF_D else CATEGORIES[row["category"]],
        "answer": predicted,
        "predicted": predicted,
        **({"first_token": first} if task == BenchTask.DF_D else {}),
    }
