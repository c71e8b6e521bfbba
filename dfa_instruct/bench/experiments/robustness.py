"""Robustness: the same questions about images that were compressed, blurred, resized or made noisy.

A perturbation is a function of the image alone: noise is drawn with the image's digest as its seed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import PIL.Image

from dfa_instruct.bench.metrics import Prediction
from dfa_instruct.bench.results import Results, Rows, TaskFigures, task_figures
from dfa_instruct.bench.runner import Answering, ask
from dfa_instruct.bench.scores import probability_scores
from dfa_instruct.errors import nearest
from dfa_instruct.records import Pixels
from dfa_instruct.vlm.chat import decoded, digest, picture_of, png
from dfa_instruct.vocabulary import BenchTask

CLEAN: Final = "none"


def _jpeg(pixels: Pixels, quality: float, seed: int) -> Pixels:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, format="JPEG", quality=round(quality))
    return np.asarray(PIL.Image.open(file).convert("RGB"))


def _blur(pixels: Pixels, sigma: float, seed: int) -> Pixels:
    return cv2.GaussianBlur(pixels, (0, 0), sigma).astype(np.uint8)


def _resize(pixels: Pixels, factor: float, seed: int) -> Pixels:
    image = PIL.Image.fromarray(pixels)
    small = image.resize([max(1, round(side * factor)) for side in image.size], PIL.Image.Resampling.BICUBIC)
    return np.asarray(small.resize(image.size, PIL.Image.Resampling.BICUBIC))


def _noise(pixels: Pixels, deviation: float, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, deviation, pixels.shape)
    return (pixels + noise).round().clip(0, 255).astype(np.uint8)


KINDS: Final[dict[str, tuple[Callable[[Pixels, float, int], Pixels], float, float, str]]] = {
    "jpeg": (_jpeg, 1, 100, "quality"),
    "blur": (_blur, 0.1, 50, "standard deviation of a Gaussian, in pixels"),
    "resize": (_resize, 0.05, 1, "factor by which the sides are reduced and enlarged again"),
    "noise": (_noise, 0.1, 255, "standard deviation of Gaussian noise, in levels of 255"),
}
"""Kind → its function, its smallest and its largest amount, and what the amount means."""


@dataclass(frozen=True)
class Perturbation:
    """A kind of perturbation and its amount."""

    kind: str
    amount: float

    @property
    def name(self) -> str:
        """The perturbation as it is written in a list, for example "jpeg:30"."""
        return f"{self.kind}:{self.amount:g}"

    def apply(self, image: Any) -> dict[str, Any]:
        """Return the perturbed image as a PNG file that is not decoded, in the form of a dataset's image."""
        picture = picture_of(image)
        seed = int(digest(picture)[:16], 16)
        perturbed = KINDS[self.kind][0](np.asarray(decoded(picture)), self.amount, seed)
        return {"bytes": png(PIL.Image.fromarray(perturbed)), "path": None}


def parse_perturbations(text: str) -> list[Perturbation]:
    """Parse a list such as `jpeg:30,blur:2,resize:0.5,noise:8`; repeated entries are dropped.

    Raises:
        ValueError: A kind is unknown, or its amount is not a number or out of range.
    """
    found = []
    for entry in text.split(","):
        kind, _, given = entry.strip().partition(":")
        if kind not in KINDS:
            raise ValueError(f"--perturb: unknown perturbation {kind!r}{nearest(kind, KINDS)}")
        _, least, most, meaning = KINDS[kind]
        try:
            amount = float(given)
        except ValueError:
            amount = np.nan
        if not least <= amount <= most:
            raise ValueError(f"--perturb: {entry.strip()}: expected {kind}:{least:g} to {kind}:{most:g} ({meaning})")
        found.append(Perturbation(kind, amount))
    return list(dict.fromkeys(found))


def robustness(
    model: Answering, rows: Rows, perturbations: Sequence[Perturbation], results: Results
) -> dict[str, TaskFigures]:
    """Repeat the tasks of `results` for perturbed images.

    Returns:
        Perturbation → figures. The figures of the unperturbed images come first, as "none".
    """
    tasks = list(results["tasks"])
    figures = {CLEAN: _with_auc(results["predictions"])}
    for perturbation in perturbations:
        perturbed = [{**row, "image": perturbation.apply(row["image"])} for row in rows]
        figures[perturbation.name] = _with_auc(ask(model, perturbed, tasks))
    return figures


def _with_auc(predictions: Sequence[Prediction]) -> TaskFigures:
    """Return the figures of each task, with DF-D's AUC if it is known."""
    figures = task_figures(predictions)
    auc = probability_scores(predictions).get("auc")
    if auc is not None and not np.isnan(auc):
        figures[BenchTask.DF_D]["auc"] = round(auc, 2)
    return figures
