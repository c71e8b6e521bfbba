"""Teach a vision tower and a projector what was done to a picture, and join them to a language model.

One label a picture teaches a small tower whose faces it has seen; one label a patch teaches it the traces. A forged
image of our own differs from its bona fide one, its `pair_id`, where it was forged; a synthesised face is forged all
over. So tower and projector are first trained together to bring each patch near the language model's own embedding of
the words for its technique: LLaVA-1.5's projector comes aligned from captions, this one from such words.

What was done to a few patches is easily overlooked among the many. So the tower then gets two layers more, which carry
it to all patches; those below stay as they are. All of it sees the train split only.
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
"""A pixel is changed where a channel differs by more than so many of 255 from the bona fide face."""
COVERED = 0.1
"""A patch is changed where more than this share of its pixels is."""
LOWEST = 3
"""Sum of a cosine's frequencies, down and across the patch, from which on the tower sees it."""
SHIFT = 6
"""Pixels that a picture is shifted by at most, so that the grid of patches falls anywhere."""
SHARPNESS = 10
"""Of the softmax over distances to the names, in units of their mean squared distance to each other."""


def teach(data: Path, language: str, output: Path, *, patch: int, steps: int, more_steps: int) -> None:
    """Write a LLaVA of a new vision tower for a dataset's pictures and a pretrained language model.

    Args:
        data: the dataset folder.
        language: a causal language model with its tokenizer, a folder or Hub id.
        output: a new folder for the LLaVA, written whole or not at all.
        patch: side of the patches in pixels; a picture makes (side // patch)² image tokens.
        steps: batches of 16 pictures for the tower and the projector.
        more_steps: likewise for the layers that are added, and the projector.

    Raises:
        FileExistsError: the output folder holds something.
        ValueError: the pictures cannot be cut into such patches.
    """
    with new_folder(output) as made:
        rows = load_dataset(DATASET_NAME, data_dir=str(data), split="train")
        side = rows[0]["image"].width
        if side % patch:
            raise ValueError(f"--patch: the pictures' side, {side} pixels, is not a multiple of {patch}")
        patches = Patches(rows, patch, CLIPImageProcessor())
        model, processor = join_new_tower(patches, language)
        name_patches(model, patches, processor.tokenizer, steps, 1.5e-3)
        model = with_more_layers(model)
        patches.whole = True
        name_patches(model, patches, processor.tokenizer, more_steps, 1e-3)
        model.save_pretrained(made)
        processor.save_pretrained(made)


def join_new_tower(patches: Patches, language: str) -> tuple[Any, Any]:
    """Return a LLaVA of an untaught tower for these pictures and a pretrained language model, and its processor."""
    with tempfile.TemporaryDirectory() as scratch:
        tower, joined = Path(scratch) / "tower", Path(scratch) / "joined"
        new_tower(patches).save_pretrained(tower)
        assemble(str(tower), language, joined, feature_layer=-1)
        return AutoModelForImageTextToText.from_pretrained(joined), AutoProcessor.from_pretrained(joined)


def with_more_layers(model: Any) -> Any:
    """Return a LLaVA whose tower has `MORE_LAYERS` on top, untaught; the layers below ask for no gradient any more."""
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
    """The pictures of a split, mirrored, shifted and lit at random, with what was done to each patch.

    An item has `pixel_values` of shape (3, side, side), and `labels` of shape (patches,): indices of `names`, of which
    the first is bona fide. With `whole` set, every patch has its picture's label.
    """

    def __init__(self, rows: Dataset, patch: int, image_processor: Any) -> None:
        kinds = zip(rows["category"], rows["technique"], strict=True)
        done = [
            f"{category} {technique}".replace("_", " ") if technique else "bona fide" for category, technique in kinds
        ]
        self.names = ["bona fide", *sorted({*done} - {"bona fide"})]
        self.patch = patch
        self.whole = False
        self.mean, self.std = mean_and_deviation(image_processor)
        pictures = {
            face: torch.tensor(np.array(picture.convert("RGB"))).permute(2, 0, 1)
            for face, picture in zip(rows["face_id"], rows["image"], strict=True)
        }
        self.items = []
        for face, pair, name in zip(rows["face_id"], rows["pair_id"], done, strict=True):
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
        """Give the changed patches the picture's label, and the others that of bona fide ones."""
        share = torch.nn.functional.avg_pool2d(changed[None].float(), self.patch)[0]
        return torch.where((share > COVERED) | self.whole, label, 0).flatten()

    def weights(self) -> torch.Tensor:
        """Weigh the names by the root of their rarity: most patches are bona fide."""
        labels = torch.cat([self.patch_labels(changed, label) for _, changed, label in self.items])
        counts = torch.bincount(labels, minlength=len(self.names))
        weights = (len(labels) / counts.clamp(min=1)).sqrt()
        return weights / weights.mean()


class PatchNamer(torch.nn.Module):
    """The vision tower and the projector of a LLaVA, scored by how near each patch comes to the right words.

    `words` are the language model's embeddings of the names, the mean over their tokens, shape (names, width).
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
        """Return the loss of pictures, shape (batch, 3, side, side), by their patches' labels, (batch, patches)."""
        patches = self.projector(self.tower(pixel_values).last_hidden_state[:, 1:]).flatten(0, 1)
        scores = -self.sharpness * torch.cdist(patches, self.words).square()
        return {"loss": torch.nn.functional.cross_entropy(scores, labels.flatten(), self.weights)}


def name_patches(model: Any, patches: Patches, tokenizer: Any, steps: int, learning_rate: float) -> None:
    """Train a LLaVA's tower and projector in place, those of their weights that ask for a gradient."""
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
    """Make a CLIP vision tower for these pictures, untrained but for its patch embedding."""
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
    some = torch.stack([patches[i]["pixel_values"] for i in range(min(256, len(patches)))])
    whiten_patch_embedding(tower, some, fine_cosines(WIDTH, patches.patch))
    return tower


def fine_cosines(channels: int, patch: int) -> list[Cosine]:
    """Choose cosines for the patch embedding at random, none of the lowest: broad light and shade tell faces apart."""
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
