"""Table I: a vision-only model, frozen, with one linear layer for DF-D and one for DF-C, each trained for one epoch.

The vectors of a split are computed once and kept under the fingerprints of the model and of the faces. The learning
rate, which the paper does not give, is the one of `RATES` that is best on the validation split, for each layer.
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
from dfa_instruct.bench.rows import stream
from dfa_instruct.bench.runner import Rows, name_of, scored, summed_up
from dfa_instruct.bench.scores import all_metrics
from dfa_instruct.bench.tasks.questions import TASKS
from dfa_instruct.sources.pictures import read_image
from dfa_instruct.vocabulary import CATEGORIES, SPLITS, BenchTask, Category, Label, Split

LABELS: Final[tuple[Label, ...]] = ("bona_fide", "forged")
CLASSES: Final[tuple[Category, ...]] = tuple(CATEGORIES)
KEPT: Final = ("face_id", "video", "identities", "label", "category", "technique")
IMAGES_AT_ONCE: Final = 32
BATCH: Final = 32
RATES: Final = (1e-4, 1e-3, 1e-2, 1e-1)


def run_probe(
    model: str, data: Path | None, *, image_size: int | None = None, seed: int = 0, cache: Path | None = None
) -> dict[str, Any]:
    """Train both layers on the train split and measure them on the test split.

    Args:
        model: see `dfa_instruct.bench.experiments.backbones.load_backbone`.
        data: the dataset folder, see `dfa_instruct.bench.runner.run_bench`.
        image_size: side of the square that pictures are brought to, in pixels; None: as the model's folder says.
        seed: of the layers' first weights and of the order of the faces.
        cache: where vectors are kept; None: in the cache of `datasets`.

    Returns:
        What `run_bench` returns, of DF-D and DF-C; `model`, and `probe`: the rates that were chosen and the seed.

    Raises:
        FileNotFoundError: the model or the dataset is not there.
        ValueError: a split is missing, or it is no model of images.
    """
    metrics = all_metrics()
    backbone = load_backbone(model, image_size)
    rows: dict[Split, Rows] = {split: list(stream(data, split, KEPT)) for split in SPLITS}
    if empty := [split for split, of_split in rows.items() if not of_split]:
        raise ValueError(f"{data or 'the dataset folder'}: the {empty[0]} split has no rows")
    known = {s: features_of(backbone, data, s, of_split, cache or default_cache()) for s, of_split in rows.items()}
    predictions: list[Prediction] = []
    rates: dict[str, float] = {}
    for task, column, names in ((BenchTask.DF_D, "label", LABELS), (BenchTask.DF_C, "category", CLASSES)):
        truth = {s: np.array([names.index(row[column]) for row in of_split]) for s, of_split in rows.items()}
        logits, rates[task] = classify(known, truth, len(names), seed)
        predictions += [_prediction(task, row, names, of_row) for row, of_row in zip(rows["test"], logits, strict=True)]
    chosen = {"rates": rates, "seed": seed, "image_size": image_size}
    return {"model": name_of(model), "probe": chosen, **scored(summed_up(predictions, rows["test"]), metrics)}


def default_cache() -> Path:
    """Name the folder in which vectors are kept."""
    return Path(datasets.config.HF_DATASETS_CACHE).expanduser() / "dfa-instruct-features"


def features_of(backbone: Backbone, data: Path | None, split: Split, rows: Rows, cache: Path) -> Features:
    """Return the vectors of a split's faces: read, where they were computed before, else computed and kept."""
    faces = hashlib.sha256(" ".join(row["face_id"] for row in rows).encode()).hexdigest()[:16]
    path = cache / f"{backbone.fingerprint}-{faces}.npy"
    if path.is_file():
        return np.load(path)
    batches = []
    with tqdm(total=len(rows), desc=f"look at {split} faces", unit="face") as progress:
        for batch in stream(data, split, ["image"]).iter(IMAGES_AT_ONCE):
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
    known: dict[Split, Features], truth: dict[Split, NDArray[np.int64]], classes: int, seed: int
) -> tuple[NDArray[np.float32], float]:
    """Train a linear layer at each rate; return the test faces' logits of the best on validation, and its rate.

    Channels are brought to mean 0 and deviation 1 of the train split, which a linear layer could do itself, so that one
    rate suits backbones of any scale.
    """
    mean, deviation = known["train"].mean(0), known["train"].std(0) + 1e-6
    faces = {split: (vectors - mean) / deviation for split, vectors in known.items()}
    layers = {rate: linear_layer(faces["train"], truth["train"], classes, rate, seed) for rate in RATES}

    def right(rate: float) -> float:
        return float((layers[rate](faces["validation"]).argmax(1) == truth["validation"]).mean())

    best = max(RATES, key=right)
    return layers[best](faces["test"]), best


def linear_layer(vectors: Features, truth: NDArray[np.int64], classes: int, rate: float, seed: int) -> Any:
    """Train one linear layer for one epoch by AdamW and cross-entropy; return the function that it is."""
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

    def logits(of: Features) -> NDArray[np.float32]:
        with torch.inference_mode():
            return layer(torch.from_numpy(of)).numpy()

    return logits


def _prediction(task: BenchTask, row: dict[str, Any], names: Sequence[str], logits: NDArray[np.float32]) -> Prediction:
    """Say of a test face what a layer calls it, in the form of `dfa_instruct.bench.tasks.questions.prediction`."""
    called = names[int(logits.argmax())]
    sure = logits - np.logaddexp.reduce(logits)
    said = {"bona_fide": "No", "forged": "Yes"}
    first = {said[name]: round(float(value), 4) for name, value in zip(names, sure, strict=True) if name in said}
    return {
        "task": task,
        **{key: row[key] for key in KEPT},
        "question": "",
        "reference": row["label"] if task == BenchTask.DF_D else CATEGORIES[row["category"]],
        "answer": called,
        TASKS[task].column: called,
        **({"first_token": first} if task == BenchTask.DF_D else {}),
    }
