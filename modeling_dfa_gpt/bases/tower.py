"""Train a small vision tower to recognize how a face was forged, and where.

If a tower is trained on one label per image, predicted from the mean of its patch features, it learns whether a face is
forged, but its patches do not tell a language model where. Here every patch learns to predict all annotations of the
face: the technique, the artifacts of every region, and the region with the strongest artifact.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

from dfa_instruct.vocabulary import ARTIFACTS, REGIONS

Axis = Literal["lightness", "red to green", "yellow to blue"]
AXES: dict[Axis, tuple[int, int, int]] = {
    "lightness": (1, 1, 1),
    "red to green": (1, -1, 0),
    "yellow to blue": (1, 1, -2),
}
Cosine = tuple[Axis, tuple[int, ...]]
"""A colour axis, and the vertical and horizontal frequency within the patch."""
LIGHT = 0.1
"""The standard deviation of the random gain of an image, and of the random offset of each channel."""
SAVE_STEPS = 50
"""The number of steps between two checkpoints."""
RESAMPLED = 0.5
"""The share of images, bona fide and forged, that are slightly shifted, rotated and scaled."""


class Faces(torch.utils.data.Dataset[dict[str, Any]]):
    """The faces of a split with their annotations, randomly mirrored, resampled and brightened or darkened.

    An item has `pixel_values` of shape (3, side, side), `technique` (an index of `names`), `artifacts` (0 or 1 for each
    pair of region and kind of artifact) and `strongest` (the index of a region, or the number of regions if there is no
    artifact).
    """

    def __init__(self, split: Dataset, image_processor: Any) -> None:
        techniques = [technique or "bona_fide" for technique in split["technique"]]
        self.names = sorted(set(techniques))
        self.techniques = [self.names.index(technique) for technique in techniques]
        self.images = [torch.from_numpy(np.array(image.convert("RGB"))) for image in split["image"]]
        self.mean, self.std = mean_and_deviation(image_processor)
        regions, kinds = list(REGIONS), list(ARTIFACTS)
        self.artifacts = torch.zeros(len(split), len(regions), len(kinds))
        self.strongest = [len(regions)] * len(split)
        for number, artifacts in enumerate(split["artifacts"]):
            for artifact in artifacts:
                self.artifacts[number, regions.index(artifact["region"]), kinds.index(artifact["artifact"])] = 1
            if artifacts:
                self.strongest[number] = regions.index(artifacts[0]["region"])

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, index: int) -> torch.Tensor:
        """Return one image as the image processor would, in shape (3, side, side)."""
        return (self.images[index].permute(2, 0, 1) / 255 - self.mean) / self.std

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = self.pixels(index)
        if torch.rand(()) < 0.5:
            pixels = pixels.flip(2)
        if torch.rand(()) < RESAMPLED:
            pixels = resampled(pixels)
        return {
            "pixel_values": pixels * (1 + LIGHT * torch.randn(())) + LIGHT * torch.randn(3, 1, 1),
            "technique": self.techniques[index],
            "artifacts": self.artifacts[index].flatten(),
            "strongest": self.strongest[index],
        }


def mean_and_deviation(image_processor: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and standard deviation of an image processor's normalization, each of shape (3, 1, 1)."""
    values = (image_processor.image_mean, image_processor.image_std)
    mean, deviation = (torch.tensor(channels).view(3, 1, 1) for channels in values)
    return mean, deviation


def resampled(pixels: torch.Tensor) -> torch.Tensor:
    """Randomly shift an image by up to 1 pixel, rotate it by up to 2 degrees and scale it by up to 3 %.

    Forging interpolates pixels, but so does every resizing. A tower that has seen no resampled bona fide faces would
    consider all of them forged. The shape is (3, side, side); the interpolation is bilinear or bicubic.
    """
    from torch.nn.functional import affine_grid, grid_sample

    right, down, angle, growth = (2 * torch.rand(4) - 1) * torch.tensor([2 / pixels.shape[-1]] * 2 + [0.035, 0.03])
    cosine, sine = (1 + growth) * angle.cos(), (1 + growth) * angle.sin()
    affine = torch.stack([cosine, -sine, right, sine, cosine, down]).view(1, 2, 3)
    grid = affine_grid(affine, [1, *pixels.shape], align_corners=False)
    mode = "bilinear" if torch.rand(()) < 0.5 else "bicubic"
    return grid_sample(pixels[None], grid, mode=mode, padding_mode="reflection", align_corners=False)[0]


class FaceReader(torch.nn.Module):
    """A vision tower with a linear layer that predicts the annotations from each patch, and from their mean."""

    def __init__(self, tower: Any, techniques: int) -> None:
        super().__init__()
        self.tower = tower
        self.sizes = [techniques, len(REGIONS) * len(ARTIFACTS), len(REGIONS) + 1]
        self.head = torch.nn.Linear(tower.config.hidden_size, sum(self.sizes))

    def forward(
        self, pixel_values: torch.Tensor, technique: torch.Tensor, artifacts: torch.Tensor, strongest: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the loss of a batch of `Faces`."""
        patches = self.tower(pixel_values).last_hidden_state[:, 1:]
        image_loss = self.loss(patches.mean(1, keepdim=True), technique, artifacts, strongest)
        return {"loss": image_loss + 0.5 * self.loss(patches, technique, artifacts, strongest)}

    def loss(
        self, features: torch.Tensor, technique: torch.Tensor, artifacts: torch.Tensor, strongest: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of features of shape (batch, count, width); each predicts the annotations of its face."""
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        count = features.shape[1]
        technique_logits, artifact_logits, strongest_logits = self.head(features).split(self.sizes, dim=-1)
        return (
            cross_entropy(technique_logits.flatten(0, 1), technique.repeat_interleave(count))
            + len(REGIONS)
            * binary_cross_entropy_with_logits(artifact_logits, artifacts[:, None].expand_as(artifact_logits))
            + 0.5 * cross_entropy(strongest_logits.flatten(0, 1), strongest.repeat_interleave(count))
        )


def new_tower(config: Any, faces: Faces, seed: int) -> Any:
    """Return an untrained CLIP vision tower whose patch embedding is whitened. `config` is a `CLIPVisionConfig`."""
    from transformers import CLIPVisionModel

    torch.manual_seed(seed)
    tower = CLIPVisionModel(config)
    sample = torch.stack([faces.pixels(index) for index in range(min(512, len(faces)))])
    embedding = tower.get_submodule("embeddings.patch_embedding")
    whiten_patch_embedding(embedding, sample, broad_and_fine(config.hidden_size, config.patch_size, seed))
    return tower


def teach_tower(tower: Any, faces: Faces, steps: int, seed: int) -> None:
    """Train a CLIP vision tower in place for a number of batches of 16 faces."""
    fit(
        FaceReader(tower, len(faces.names)),
        faces,
        max_steps=steps,
        learning_rate=1e-3,
        lr_scheduler_type="linear",
        warmup_steps=0.08,
        seed=seed,
        label_names=["technique", "artifacts", "strongest"],
    )


def fit(
    module: torch.nn.Module,
    items: torch.utils.data.Dataset[dict[str, Any]],
    checkpoints: Path | None = None,
    **arguments: Any,
) -> None:
    """Train a module that returns its loss, in place, on 16 items per step.

    Args:
        module: The module.
        items: What it is trained on.
        checkpoints: A folder for checkpoints, from which the same call resumes if it was killed. None: it cannot.
        arguments: More arguments for `TrainingArguments`.
    """
    from transformers import Trainer, TrainingArguments

    from modeling_dfa_gpt.checkpoints import last_checkpoint

    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as scratch:
        settings = TrainingArguments(
            output_dir=str(checkpoints or scratch),
            per_device_train_batch_size=16,
            weight_decay=0.05,
            use_cpu=not gpu,
            dataloader_pin_memory=gpu,
            save_strategy="steps" if checkpoints else "no",
            save_steps=SAVE_STEPS,
            save_total_limit=1,
            logging_steps=100,
            report_to="none",
            **arguments,
        )
        last = last_checkpoint(checkpoints) if checkpoints else None
        Trainer(module, settings, train_dataset=items).train(resume_from_checkpoint=str(last) if last else None)


def broad_and_fine(channels: int, side: int, seed: int) -> list[Cosine]:
    """Return the cosines of a patch embedding, one for each channel.

    A third of them have the lowest frequencies in lightness, and a twelfth the lowest frequencies on each of the two
    colour axes. The others have random higher frequencies in lightness.
    """
    frequencies = sorted(np.ndindex(side, side), key=lambda f: (sum(f), f))
    low, in_colour = channels // 3, channels // 12
    high = np.random.default_rng(seed).permutation(np.arange(low, len(frequencies)))[: channels - low - 2 * in_colour]
    chosen: list[Cosine] = [("lightness", frequencies[i]) for i in (*range(low), *high)]
    return chosen + [(axis, f) for axis in ("red to green", "yellow to blue") for f in frequencies[:in_colour]]


def whiten_patch_embedding(embedding: Any, pixels: torch.Tensor, cosines: list[Cosine]) -> None:
    """Initialize a tower's patch embedding with cosines whose responses all have unit variance.

    Traces of a forgery are in the high frequencies, which are much weaker in photographs than the low ones. A tower
    with random weights learns to use them only after many thousand images. Here, every channel starts as one cosine of
    the patch, divided by the standard deviation of its response to `pixels`.

    Args:
        embedding: The tower's first layer, a `Conv2d`, changed in place.
        pixels: Preprocessed images of shape (count, 3, height, width).
        cosines: One cosine for each channel.
    """
    from scipy.fft import idctn

    _, _, side, _ = embedding.weight.shape

    def cosine(axis: Axis, frequency: tuple[int, ...]) -> NDArray[np.float64]:
        spectrum = np.zeros((side, side))
        spectrum[frequency] = 1
        return np.multiply.outer(np.array(AXES[axis]), idctn(spectrum, norm="ortho"))

    weights = torch.tensor(np.stack([cosine(*chosen) for chosen in cosines]), dtype=embedding.weight.dtype)
    responses = torch.nn.functional.conv2d(pixels, weights, stride=embedding.stride)
    with torch.no_grad():
        embedding.weight.copy_(weights / responses.std((0, 2, 3))[:, None, None, None].clamp(min=1e-6))
