"""Teaching a small vision tower what was done to a face, and where.

A tower that learns one label a picture, read off its mean patch, learns *whether* a face is forged, and a language
model cannot tell *where* from what it passes on. So each patch here is taught all that the annotations say of the face:
the technique, the artifacts of every region, and the region that shows the strongest one.
"""

from __future__ import annotations

import tempfile
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
"""An axis of colour, and a frequency down and across the patch."""
LIGHT = 0.1
"""Standard deviation of the random gain, and of each channel's offset, in which pictures are shown."""
RESAMPLED = 0.5
"""Share of the pictures that are shown shifted, turned and scaled a little, bona fide and forged alike."""


class Faces(torch.utils.data.Dataset[dict[str, Any]]):
    """The faces of a split, mirrored, resampled and lit at random, with what is known of each.

    An item has `pixel_values` (3, side, side), `technique` (an index of `names`), `artifacts` (a 0 or 1 for each of the
    regions' kinds of artifact) and `strongest` (a region's index; the number of regions where none shows any).
    """

    def __init__(self, split: Dataset, image_processor: Any) -> None:
        techniques = [technique or "bona_fide" for technique in split["technique"]]
        self.names = sorted(set(techniques))
        self.techniques = [self.names.index(technique) for technique in techniques]
        self.pictures = [torch.from_numpy(np.array(picture.convert("RGB"))) for picture in split["image"]]
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
        return len(self.pictures)

    def pixels(self, index: int) -> torch.Tensor:
        """Return one picture as the image processor would: shape (3, side, side)."""
        return (self.pictures[index].permute(2, 0, 1) / 255 - self.mean) / self.std

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
    """Return what an image processor normalises the channels by, each of shape (3, 1, 1)."""
    values = (image_processor.image_mean, image_processor.image_std)
    mean, deviation = (torch.tensor(channels).view(3, 1, 1) for channels in values)
    return mean, deviation


def resampled(pixels: torch.Tensor) -> torch.Tensor:
    """Shift a picture by up to a pixel, turn it by up to two degrees and scale it by up to 3 %, all at random.

    Forging moves pixels between the places of the grid, but so does every resizing: a tower that was shown no
    resampled bona fide face takes each for a forgery.

    Args:
        pixels: shape (3, side, side).

    Returns:
        A picture of the same shape, interpolated bilinearly or bicubically.
    """
    from torch.nn.functional import affine_grid, grid_sample

    across, down, turn, grow = (2 * torch.rand(4) - 1) * torch.tensor([2 / pixels.shape[-1]] * 2 + [0.035, 0.03])
    cosine, sine = (1 + grow) * turn.cos(), (1 + grow) * turn.sin()
    affine = torch.stack([cosine, -sine, across, sine, cosine, down]).view(1, 2, 3)
    grid = affine_grid(affine, [1, *pixels.shape], align_corners=False)
    mode = "bilinear" if torch.rand(()) < 0.5 else "bicubic"
    return grid_sample(pixels[None], grid, mode=mode, padding_mode="reflection", align_corners=False)[0]


class FaceReader(torch.nn.Module):
    """A vision tower under one linear layer that reads the annotations off its patches, and off their mean."""

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
        whole = self.loss(patches.mean(1, keepdim=True), technique, artifacts, strongest)
        return {"loss": whole + 0.5 * self.loss(patches, technique, artifacts, strongest)}

    def loss(
        self, features: torch.Tensor, technique: torch.Tensor, artifacts: torch.Tensor, strongest: torch.Tensor
    ) -> torch.Tensor:
        """Hold each of the features, shape (batch, count, width), to all that is known of its face."""
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        count = features.shape[1]
        named, shown, first = self.head(features).split(self.sizes, dim=-1)
        return (
            cross_entropy(named.flatten(0, 1), technique.repeat_interleave(count))
            + len(REGIONS) * binary_cross_entropy_with_logits(shown, artifacts[:, None].expand_as(shown))
            + 0.5 * cross_entropy(first.flatten(0, 1), strongest.repeat_interleave(count))
        )


def new_tower(config: Any, faces: Faces, seed: int) -> Any:
    """Make a CLIP vision tower, untrained but for its patch embedding; `config` is a `CLIPVisionConfig`."""
    from transformers import CLIPVisionModel

    torch.manual_seed(seed)
    tower = CLIPVisionModel(config)
    some = torch.stack([faces.pixels(index) for index in range(min(512, len(faces)))])
    whiten_patch_embedding(tower, some, broad_and_fine(config.hidden_size, config.patch_size, seed))
    return tower


def teach_tower(tower: Any, faces: Faces, steps: int, seed: int) -> None:
    """Train a CLIP vision tower in place on the faces of a split.

    Args:
        tower: a `CLIPVisionModel` for pictures of the faces' size.
        faces: to read.
        steps: batches of 16 faces.
        seed: of the order.
    """
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


def fit(module: torch.nn.Module, items: torch.utils.data.Dataset[dict[str, Any]], **arguments: Any) -> None:
    """Train a module that returns its loss, in place, on 16 items a step; `arguments` are `TrainingArguments`' own."""
    from transformers import Trainer, TrainingArguments

    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as scratch:
        settings = TrainingArguments(
            output_dir=scratch,
            per_device_train_batch_size=16,
            weight_decay=0.05,
            use_cpu=not gpu,
            dataloader_pin_memory=gpu,
            save_strategy="no",
            logging_steps=100,
            report_to="none",
            **arguments,
        )
        Trainer(module, settings, train_dataset=items).train()


def broad_and_fine(channels: int, side: int, seed: int) -> list[Cosine]:
    """Choose cosines for a patch embedding: the low frequencies, a random choice of high ones, the lowest in colour."""
    frequencies = sorted(np.ndindex(side, side), key=lambda f: (sum(f), f))
    low, in_colour = channels // 3, channels // 12
    high = np.random.default_rng(seed).permutation(np.arange(low, len(frequencies)))[: channels - low - 2 * in_colour]
    chosen: list[Cosine] = [("lightness", frequencies[i]) for i in (*range(low), *high)]
    return chosen + [(axis, f) for axis in ("red to green", "yellow to blue") for f in frequencies[:in_colour]]


def whiten_patch_embedding(tower: Any, pixels: torch.Tensor, cosines: list[Cosine]) -> None:
    """Set a tower's patch embedding to cosines, so that fine grain is as loud as broad light and shade.

    In photographs the low frequencies outweigh the high ones by far, and traces of a forgery are in the high ones: a
    vision tower that starts from noise hears none of them for many thousand images. Here every channel starts as one
    cosine of the patch, scaled so that its response over `pixels` has unit variance.

    Args:
        tower: a `CLIPVisionModel`, changed in place.
        pixels: preprocessed images, shape (count, 3, height, width).
        cosines: one for each channel.
    """
    from scipy.fft import idctn

    embedding = tower.get_submodule("embeddings.patch_embedding")
    _, _, side, _ = embedding.weight.shape

    def cosine(axis: Axis, frequency: tuple[int, ...]) -> NDArray[np.float64]:
        spectrum = np.zeros((side, side))
        spectrum[frequency] = 1
        return np.multiply.outer(np.array(AXES[axis]), idctn(spectrum, norm="ortho"))

    weights = torch.tensor(np.stack([cosine(*chosen) for chosen in cosines]), dtype=embedding.weight.dtype)
    responses = torch.nn.functional.conv2d(pixels, weights, stride=side)
    with torch.no_grad():
        embedding.weight.copy_(weights / responses.std((0, 2, 3))[:, None, None, None].clamp(min=1e-6))
