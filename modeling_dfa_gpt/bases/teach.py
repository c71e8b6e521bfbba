"""Train a vision tower and a projector to recognize the forged patches of an image, and add a language model.

With one label per image, a small tower memorizes the faces; with one label per patch, it learns the traces. An image
that this package forged differs from its bona fide image (its `pair_id`) only where it was forged, and a synthesized
face is forged everywhere. The tower and the projector are first trained together to map each patch close to the
language model's embedding of the name of its technique. LLaVA-1.5 aligns its projector with captions instead.

A few forged patches are easily missed among many others. Therefore, two layers are then added to the tower, which learn
to pass the technique on to all patches, while the layers below are frozen. Only the train split is used.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, load_dataset
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.vlm.parts import parts_of
from modeling_dfa_gpt.bases.assemble import assemble
from modeling_dfa_gpt.bases.tower import Axis, Cosine, fit, mean_and_deviation, whiten_patch_embedding
from modeling_dfa_gpt.new_folder import new_folder

WIDTH = 128
LAYERS = 4
MORE_LAYERS = 2
CHANGED = 4
"""A pixel is changed if a channel differs by more than this value, out of 255, from the bona fide face."""
COVERED = 0.1
"""A patch is forged if more than this share of its pixels is changed."""
LOWEST = 3
"""The smallest sum of the vertical and horizontal frequency of a cosine in the patch embedding."""
SHIFT = 6
"""The maximum random shift of an image in pixels, so that the grid of patches varies."""
SHARPNESS = 10
"""The sharpness of the softmax over distances to the names, in units of their mean squared distance."""


def teach(data: Path, language: str, output: Path, *, patch: int, steps: int, more_steps: int) -> None:
    """Write a LLaVA model with a new vision tower, trained on a dataset, and a pretrained language model.

    Args:
        data: The dataset folder.
        language: The folder or Hub id of a causal language model with its tokenizer.
        output: A new folder for the LLaVA model. After an error, no folder is left.
        patch: The side of a patch in pixels. An image gives (side // patch)² image tokens.
        steps: The number of batches of 16 images for the tower and the projector.
        more_steps: The number of batches for the added layers and the projector.

    Raises:
        FileExistsError: The output folder is not empty.
        ValueError: The images cannot be divided into such patches.
    """
    with new_folder(output) as made:
        rows = load_dataset(DATASET_NAME, data_dir=str(data), split="train")
        side = rows[0]["image"].width
        if side % patch:
            raise ValueError(f"--patch: the side of the images, {side} pixels, is not a multiple of {patch}")
        patches = Patches(rows, patch, CLIPImageProcessor())
        model, processor = assemble_new_tower(patches, language)
        name_patches(model, patches, processor.tokenizer, steps, 1.5e-3)
        model = add_layers(model)
        patches.label_all = True
        name_patches(model, patches, processor.tokenizer, more_steps, 1e-3)
        model.save_pretrained(made)
        processor.save_pretrained(made)


def assemble_new_tower(patches: Patches, language: str) -> tuple[Any, Any]:
    """Return a LLaVA model with an untrained tower and a pretrained language model, and its processor."""
    with tempfile.TemporaryDirectory() as scratch:
        tower, llava = Path(scratch) / "tower", Path(scratch) / "llava"
        new_tower(patches).save_pretrained(tower)
        assemble(str(tower), language, llava, feature_layer=-1)
        return AutoModelForImageTextToText.from_pretrained(llava), AutoProcessor.from_pretrained(llava)


def add_layers(model: Any) -> Any:
    """Return the model with `MORE_LAYERS` untrained layers on top of its tower, and the layers below frozen."""
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        config = model.config
        config.vision_config.num_hidden_layers += MORE_LAYERS
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_pretrained(scratch, config=config)
    tower = parts_of(model).vision
    tower.requires_grad_(False)
    tower.get_submodule("encoder.layers")[LAYERS:].requires_grad_(True)
    return model


class Patches(torch.utils.data.Dataset[dict[str, Any]]):
    """The images of a split with a label for each patch, randomly mirrored, shifted and brightened or darkened.

    An item has `pixel_values` of shape (3, side, side), and `labels` of shape (patches,), which are indices of `names`.
    The first name is "bona fide". In a forged image, the changed patches have the label of its category and technique,
    and the others are bona fide. If `label_all` is true, all patches of the image have its label.
    """

    def __init__(self, rows: Dataset, patch: int, image_processor: Any) -> None:
        kinds = zip(rows["category"], rows["technique"], strict=True)
        kind_names = [
            f"{category} {technique}".replace("_", " ") if technique else "bona fide" for category, technique in kinds
        ]
        self.names = ["bona fide", *sorted({*kind_names} - {"bona fide"})]
        self.patch = patch
        self.label_all = False
        self.mean, self.std = mean_and_deviation(image_processor)
        pictures = {
            face: torch.tensor(np.array(picture.convert("RGB"))).permute(2, 0, 1)
            for face, picture in zip(rows["face_id"], rows["image"], strict=True)
        }
        self.items = []
        for face, pair, name in zip(rows["face_id"], rows["pair_id"], kind_names, strict=True):
            picture = pictures[face]
            if name != "bona fide" and pair in pictures:
                changed = (picture.int() - pictures[pair].int()).abs().amax(0) > CHANGED
            else:
                changed = torch.full(picture.shape[1:], name != "bona fide")
            self.items.append((picture, changed, self.names.index(name)))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        picture, changed, label = self.items[index]
        both = torch.cat([(picture / 255 - self.mean) / self.std, changed[None].float()])
        if torch.rand(()) < 0.5:
            both = both.flip(2)
        side = both.shape[-1]
        top, left = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
        both = torch.nn.functional.pad(both, [SHIFT] * 4, mode="reflect")[:, top : top + side, left : left + side]
        return {
            "pixel_values": both[:3] * (1 + 0.2 * torch.randn(())) + 0.3 * torch.randn(3, 1, 1),
            "labels": self.patch_labels(both[3], label),
        }

    def patch_labels(self, changed: torch.Tensor, label: int) -> torch.Tensor:
        """Return one label for each patch, shape (patches,): `label` where the patch is changed, else bona fide (0)."""
        share = torch.nn.functional.avg_pool2d(changed[None].float(), self.patch)[0]
        return torch.where((share > COVERED) | self.label_all, label, 0).flatten()

    def weights(self) -> torch.Tensor:
        """Return a weight for each name, proportional to the root of its rarity, because most patches are bona fide."""
        labels = torch.cat([self.patch_labels(changed, label) for _, changed, label in self.items])
        counts = torch.bincount(labels, minlength=len(self.names))
        weights = (len(labels) / counts.clamp(min=1)).sqrt()
        return weights / weights.mean()


class PatchNamer(torch.nn.Module):
    """The vision tower and projector of a LLaVA model, with a loss on the distance between patches and names.

    `words` are the language model's embeddings of the names, averaged over their tokens, of shape (names, width).
    """

    words: torch.Tensor
    weights: torch.Tensor

    def __init__(self, model: Any, words: torch.Tensor, weights: torch.Tensor) -> None:
        super().__init__()
        parts = parts_of(model)
        self.tower, self.projector = parts.vision, parts.projector
        self.register_buffer("words", words)
        self.register_buffer("weights", weights)
        self.sharpness = SHARPNESS / torch.pdist(words).square().mean()

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss of images of shape (batch, 3, side, side) with labels of shape (batch, patches)."""
        patches = self.projector(self.tower(pixel_values).last_hidden_state[:, 1:]).flatten(0, 1)
        scores = -self.sharpness * torch.cdist(patches, self.words).square()
        return {"loss": torch.nn.functional.cross_entropy(scores, labels.flatten(), self.weights)}


def name_patches(model: Any, patches: Patches, tokenizer: Any, steps: int, learning_rate: float) -> None:
    """Train the weights of a tower and projector that require a gradient, in place."""
    embed = model.get_input_embeddings()
    with torch.no_grad():
        names = [tokenizer(name, return_tensors="pt")["input_ids"][0] for name in patches.names]
        words = torch.stack([embed(name).mean(0) for name in names])
    fit(
        PatchNamer(model, words, patches.weights()),
        patches,
        max_steps=steps,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=100,
    )


def new_tower(patches: Patches) -> CLIPVisionModel:
    """Return a CLIP vision tower, untrained except for its patch embedding."""
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=WIDTH // 32,
        image_size=patches.items[0][0].shape[-1],
        patch_size=patches.patch,
    )
    torch.manual_seed(0)
    tower = CLIPVisionModel(config)
    sample = torch.stack([patches[i]["pixel_values"] for i in range(min(256, len(patches)))])
    whiten_patch_embedding(
        tower.get_submodule("embeddings.patch_embedding"), sample, fine_cosines(WIDTH, patches.patch)
    )
    return tower


def fine_cosines(channels: int, patch: int) -> list[Cosine]:
    """Return random cosines for the patch embedding without low frequencies, which distinguish faces, not forgeries."""
    rng = np.random.default_rng(0)
    frequencies = [f for f in np.ndindex(patch, patch) if sum(f) >= LOWEST]
    shares: list[tuple[Axis, int]] = [("lightness", 6), ("red to green", 1), ("yellow to blue", 1)]
    if 6 * channels // 8 > len(frequencies):
        raise ValueError(f"--patch: {patch} pixels are too few for a tower of width {channels}")
    return [
        (axis, frequencies[i])
        for axis, eighths in shares
        for i in rng.choice(len(frequencies), eighths * channels // 8, replace=False)
    ]
