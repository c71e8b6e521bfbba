"""Robustness: the same questions about pictures that were compressed, blurred, resized or made noisy on their way.

A perturbation is a function of the picture alone: noise is drawn with the picture's digest as its seed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import PIL.Image

from dfa_instruct.bench.runner import Answering, Rows, evaluate
from dfa_instruct.bench.scores import of_probabilities
from dfa_instruct.errors import nearest
from dfa_instruct.records import Pixels
from dfa_instruct.vlm.chat import decoded, digest, picture_of, png
from dfa_instruct.vocabulary import BenchTask

CLEAN: Final = "none"
FIGURES: Final[dict[str, tuple[BenchTask, str]]] = {
    "DF-D ACC": (BenchTask.DF_D, "acc"),
    "DF-D ACER": (BenchTask.DF_D, "acer"),
    "DF-D AUC": (BenchTask.DF_D, "auc"),
    "DF-C ACC": (BenchTask.DF_C, "acc"),
    "AD ROUGE-L": (BenchTask.AD, "rouge_l"),
}
"""Heading → task and figure of the table's columns."""
Grid = dict[str, dict[str, dict[str, float | None]]]
"""Perturbation, `none` first → task → figures."""


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
    "blur": (_blur, 0.1, 50, "Gaussian, standard deviation in pixels"),
    "resize": (_resize, 0.05, 1, "factor of the sides, and back"),
    "noise": (_noise, 0.1, 255, "Gaussian, standard deviation in levels of 255"),
}
"""Kind → what it does, the least and the most of it, and in what it is given."""


@dataclass(frozen=True)
class Perturbation:
    """So much of one kind."""

    kind: str
    amount: float

    @property
    def name(self) -> str:
        """As it is written in a list of perturbations."""
        return f"{self.kind}:{self.amount:g}"

    def apply(self, image: Any) -> dict[str, Any]:
        """Perturb a dataset's image; return it as one, a PNG file that is not decoded."""
        picture = picture_of(image)
        seed = int(digest(picture)[:16], 16)
        perturbed = KINDS[self.kind][0](np.asarray(decoded(picture)), self.amount, seed)
        return {"bytes": png(PIL.Image.fromarray(perturbed)), "path": None}


def parse_perturbations(text: str) -> list[Perturbation]:
    """Read a list such as `jpeg:30,blur:2,resize:0.5,noise:8`.

    Raises:
        ValueError: one line: a kind is unknown, or its amount no number or out of its range.
    """
    found = []
    for entry in text.split(","):
        kind, _, given = entry.strip().partition(":")
        if kind not in KINDS:
            raise ValueError(f"--perturb: unknown perturbation {kind!r}{nearest(kind, KINDS)}")
        _, least, most, unit = KINDS[kind]
        try:
            amount = float(given)
        except ValueError:
            amount = np.nan
        if not least <= amount <= most:
            raise ValueError(f"--perturb: {entry.strip()}: expected {kind}:{least:g} to {kind}:{most:g} ({unit})")
        found.append(Perturbation(kind, amount))
    return list(dict.fromkeys(found))


def robustness(model: Answering, rows: Rows, perturbations: Sequence[Perturbation], results: Mapping[str, Any]) -> Grid:
    """Ask the tasks of `results` about the perturbed pictures; the pictures as they are stand first."""
    grid: Grid = {CLEAN: _figures(results)}
    for perturbation in perturbations:
        perturbed = [{**row, "image": perturbation.apply(row["image"])} for row in rows]
        grid[perturbation.name] = _figures(evaluate(model, perturbed, list(results["tasks"])))
    return grid


def _figures(results: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    figures = {task: dict(of_task) for task, of_task in results["tasks"].items()}
    auc = of_probabilities(results["predictions"]).get("auc")
    if auc is not None and not np.isnan(auc):
        figures[BenchTask.DF_D]["auc"] = round(auc, 2)
    return figures


def columns_of(grid: Grid) -> dict[str, list[float | None]]:
    """Return heading → figures, one a perturbation, of those that the grid has."""
    columns = {
        heading: [figures.get(task, {}).get(name) for figures in grid.values()]
        for heading, (task, name) in FIGURES.items()
    }
    return {heading: values for heading, values in columns.items() if any(v is not None for v in values)}


def robustness_table(grid: Grid) -> str:
    """Lay the grid out as a Markdown table, in percent."""
    columns = columns_of(grid)
    lines = ["| perturbation | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name, values in zip(grid, zip(*columns.values(), strict=True), strict=True):
        lines.append(f"| {name} | " + " | ".join("" if v is None else f"{v:.2f}" for v in values) + " |")
    return "\n".join(lines)


def plot_robustness(grid: Grid, target: Path) -> None:
    """Draw the grid: one line a figure, one place a perturbation; dotted, where the pictures are as they are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.5, 0.8 * len(grid) + 2), 3.4), layout="constrained")
    axes = figure.subplots()
    for heading, values in columns_of(grid).items():
        (line,) = axes.plot(range(len(grid)), [np.nan if v is None else v for v in values], "o-", label=heading)
        if values[0] is not None:
            axes.axhline(values[0], color=line.get_color(), linestyle=":", linewidth=0.8)
    axes.set_xticks(range(len(grid)), list(grid), rotation=30, ha="right")
    axes.set(ylabel="percent", ylim=(0, 100), title="Robustness (ACER: lower is better)")
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(target, dpi=110, metadata={"Software": None})
