"""The plain detector: a vision model and one linear layer, all trained on the rows that DFA-GPT is trained on.

It is the baseline for what a vision-language model adds to an image classifier of about the same cost. The classes are
the five categories. The probability of DF-D is that of the four categories of forgery together, corrected for the share
of forged faces in the training split.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from datasets import Dataset, Image, load_dataset
from numpy.typing import NDArray
from transformers import Trainer, TrainingArguments

from dfa_instruct.bench.experiments.backbones import Pretrained, load_backbone, vectors_of
from dfa_instruct.bench.experiments.probe import CLASSES, COLUMNS, LABELS, prediction_of
from dfa_instruct.bench.experiments.robustness import KINDS
from dfa_instruct.bench.results import Results, make_results, model_name
from dfa_instruct.bench.rows import stream
from dfa_instruct.bench.scores import all_metrics
from dfa_instruct.construction.embedded_sample import default_directory
from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.sources.pictures import read_image
from dfa_instruct.vocabulary import SPLITS, BenchTask, Split

EPOCHS: Final = 10
BATCH: Final = 16
RATE: Final = 1e-4
CHANGED: Final = 0.5
"""The share of training images that are resized, and the share that are compressed."""
FACTORS: Final = (0.7, 1.0)
"""The range of the factors by which the sides are reduced and enlarged again."""
QUALITIES: Final = (40, 95)
"""The range of JPEG qualities."""


class Detector(torch.nn.Module):
    """A vision model with one linear layer.

    Args:
        backbone: The vision model.
        channels: The length of its feature vectors.
    """

    def __init__(self, backbone: Pretrained, channels: int) -> None:
        super().__init__()
        self.model = backbone.model
        self.pooled = backbone.pooled
        self.layer = torch.nn.Linear(channels, len(CLASSES))

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss and the logits (images, classes) of images (images, 3, height, width) and their classes."""
        logits = self.layer(vectors_of(self.model, pixel_values, self.pooled))
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def run_plain_detector(
    model: str, data: Path | None, *, image_size: int | None = None, epochs: int = EPOCHS, seed: int = 0
) -> Results:
    """Tune a detector on the training split, and measure it on the test split.

    The weights of the epoch with the lowest loss on the validation split are kept.

    Args:
        model: The vision model: a folder or a Hub id. Of a LLaVA or a CLIP, the vision tower is tuned.
        data: The dataset folder, see `dfa_instruct.bench.runner.run_bench`.
        image_size: The side to which images are resized, in pixels. None: the size that the model's folder gives.
        epochs: The number of epochs.
        seed: The seed for the layer's initial weights, the order of the faces and their changes.

    Raises:
        FileNotFoundError: The model or the dataset does not exist.
        ValueError: A split is missing, the model takes no images, or it is a plug-in.
    """
    metrics = all_metrics()
    faces = {split: faces_of(data, split) for split in SPLITS}
    backbone = load_backbone(model, image_size)
    if not isinstance(backbone, Pretrained):
        raise ValueError(f"probe {model}: a plug-in cannot be tuned; expected a model of Transformers")
    logits, best_epoch = tune(backbone, faces, epochs, seed)
    counts = Counter(faces["train"]["label"])
    odds = counts["forged"] / counts["bona_fide"]
    rows = list(faces["test"].select_columns(list(COLUMNS)))
    predictions = [
        prediction_of(task, row, names, of_row)
        for task, names, of_task in (
            (BenchTask.DF_D, LABELS, label_logits(logits, odds)),
            (BenchTask.DF_C, CLASSES, logits),
        )
        for row, of_row in zip(rows, of_task, strict=True)
    ]
    settings = {"tuned": True, "epochs": epochs, "best_epoch": best_epoch, "seed": seed, "image_size": image_size}
    weights = sum(parameter.numel() for parameter in backbone.model.parameters())
    results = make_results(predictions, rows, metrics)
    return {"model": model_name(model), "weights": weights, "probe": settings, **results}


def faces_of(data: Path | None, split: Split) -> Dataset:
    """Open a split; images are not decoded.

    Raises:
        FileNotFoundError: The dataset does not exist.
        ValueError: The split is missing, has no rows, or, for training, lacks a label.
    """
    folder = data or default_directory()
    stream(folder, split, ["image", *COLUMNS])  # reports what is missing in one line
    faces = load_dataset(DATASET_NAME, data_dir=str(folder), split=split)
    if not len(faces):
        raise ValueError(f"{folder}: the {split} split has no rows")
    if split == "train" and (lacking := set(LABELS) - set(faces["label"])):
        raise ValueError(f"{folder}: the train split has no {lacking.pop()} face")
    return faces.cast_column("image", Image(decode=False))


def tune(backbone: Pretrained, faces: dict[Split, Dataset], epochs: int, seed: int) -> tuple[NDArray[np.float32], int]:
    """Train a `Detector`; return the logits of the test faces, shape (faces, classes), and the chosen epoch."""
    torch.manual_seed(seed)
    prepared = {
        split: of_split.with_transform(preparation(backbone.prepare, varied if split == "train" else None))
        for split, of_split in faces.items()
    }
    detector = Detector(backbone, backbone.features([picture_of(faces["train"][0]["image"])]).shape[1])
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as scratch:
        settings = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=epochs,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=BATCH,
            learning_rate=RATE,
            lr_scheduler_type="linear",
            warmup_steps=0.1,
            weight_decay=0.05,
            seed=seed,
            use_cpu=not gpu,
            dataloader_pin_memory=gpu,
            remove_unused_columns=False,
            label_names=["labels"],
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            save_only_model=True,
            load_best_model_at_end=True,
            logging_strategy="epoch",
            report_to="none",
        )
        trainer = Trainer(detector, settings, train_dataset=prepared["train"], eval_dataset=prepared["validation"])
        trainer.train()
        best_epoch = epochs * (trainer.state.best_global_step or 0) // trainer.state.max_steps
        return np.asarray(trainer.predict(prepared["test"]).predictions), best_epoch


def preparation(prepare: Any, change: Callable[[PIL.Image.Image], PIL.Image.Image] | None) -> Callable[..., Any]:
    """Return the function from a batch of rows to the arguments of a `Detector`."""

    def prepared(batch: dict[str, list[Any]]) -> dict[str, Any]:
        pictures = [picture_of(image) for image in batch["image"]]
        if change:
            pictures = [change(picture) for picture in pictures]
        pixels = prepare(pictures, return_tensors="pt")["pixel_values"]
        return {"pixel_values": pixels, "labels": [CLASSES.index(category) for category in batch["category"]]}

    return prepared


def picture_of(image: dict[str, Any]) -> PIL.Image.Image:
    """Decode the image of a row."""
    return PIL.Image.fromarray(read_image(image["bytes"], smallest=1))


def varied(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Randomly mirror, resize and compress an image. The label is not known here, so both labels are treated alike."""
    mirrored, resized, factor, compressed, quality = torch.rand(5).tolist()
    if mirrored < 0.5:
        picture = PIL.ImageOps.mirror(picture)
    pixels = np.asarray(picture)
    if resized < CHANGED:
        pixels = KINDS["resize"][0](pixels, FACTORS[0] + factor * (FACTORS[1] - FACTORS[0]), 0)
    if compressed < CHANGED:
        pixels = KINDS["jpeg"][0](pixels, QUALITIES[0] + quality * (QUALITIES[1] - QUALITIES[0]), 0)
    return PIL.Image.fromarray(pixels)


def label_logits(logits: NDArray[np.float32], odds: float) -> NDArray[np.float32]:
    """Return the logits of bona fide and forged for equal numbers of both, shape (images, 2).

    The odds of the training split are divided out. Otherwise a detector that is in doubt would always say the more
    frequent label, and its balanced accuracy would be that of the majority.

    Args:
        logits: The logits of the categories, shape (images, classes).
        odds: The number of forged training images for each bona fide one.
    """
    place = CLASSES.index("bona_fide")
    forged = np.logaddexp.reduce(np.delete(logits, place, axis=1), axis=1) - np.log(odds)
    return np.stack([logits[:, place], forged], axis=1)
