"""Teach a vision tower and a projector what was done to a picture, and join them to a language model.

    python recipes/dfa-gpt-small/teach.py DATASET HuggingFaceTB/SmolLM2-135M-Instruct BASE

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
import typer
from datasets import load_dataset
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    Trainer,
    TrainingArguments,
)

import dfa_instruct  # noqa: F401 (registers "dfa-instruct" with datasets)
from dfa_instruct.errors import one_line_errors
from modeling_dfa_gpt.base.assemble import assemble
from modeling_dfa_gpt.base.tower import Axis, Cosine, whitened_cosines

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


def fine(channels: int, patch: int) -> list[Cosine]:
    """Choose cosines for the patch embedding at random, none of the lowest: broad light and shade tell faces apart."""
    rng = np.random.default_rng(0)
    frequencies = [f for f in np.ndindex(patch, patch) if sum(f) >= LOWEST]
    shares: list[tuple[Axis, int]] = [("lightness", 6), ("red to green", 1), ("yellow to blue", 1)]
    if 6 * channels // 8 > len(frequencies):
        raise ValueError(f"--width {channels}: at most {8 * len(frequencies) // 6} for patches of {patch} pixels")
    return [
        (axis, frequencies[i])
        for axis, eighths in shares
        for i in rng.choice(len(frequencies), eighths * channels // 8, replace=False)
    ]


class Patches(torch.utils.data.Dataset[dict[str, Any]]):
    """The train split's pictures, mirrored, shifted and lit at random, with what was done to each patch.

    An item has `pixel_values` of shape (3, side, side), and `labels` of shape (patches,): indices of `names`, of which
    the first is bona fide. With `whole` set, every patch has its picture's label.
    """

    def __init__(self, dataset: Path, patch: int, image_processor: Any) -> None:
        rows = load_dataset("dfa-instruct", data_dir=str(dataset), split="train")
        kinds = zip(rows["category"], rows["technique"], strict=True)
        done = [
            f"{category} {technique}".replace("_", " ") if technique else "bona fide" for category, technique in kinds
        ]
        self.names = ["bona fide", *sorted({*done} - {"bona fide"})]
        self.patch = patch
        self.whole = False
        self.mean, self.std = (
            torch.tensor(values).view(3, 1, 1) for values in (image_processor.image_mean, image_processor.image_std)
        )
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

    def __init__(self, model: Any, words: torch.Tensor, weights: torch.Tensor) -> None:
        super().__init__()
        self.tower, self.projector = model.model.vision_tower, model.model.multi_modal_projector
        self.register_buffer("words", words)
        self.register_buffer("weights", weights)
        self.sharpness = SHARPNESS / torch.pdist(words).square().mean()

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss of pictures, shape (batch, 3, side, side), by their patches' labels, (batch, patches)."""
        patches = self.projector(self.tower(pixel_values).last_hidden_state[:, 1:]).flatten(0, 1)
        scores = -self.sharpness * torch.cdist(patches, self.words).square()
        return {"loss": torch.nn.functional.cross_entropy(scores, labels.flatten(), self.weights)}


def fit(model: Any, patches: Patches, tokenizer: Any, steps: int, learning_rate: float, scratch: str) -> None:
    """Train a LLaVA's tower and projector in place, those of their weights that ask for a gradient."""
    embed = model.get_input_embeddings()
    with torch.no_grad():
        names = [tokenizer(name, return_tensors="pt")["input_ids"][0] for name in patches.names]
        words = torch.stack([embed(name).mean(0) for name in names])
    arguments = TrainingArguments(
        output_dir=scratch,
        max_steps=steps,
        per_device_train_batch_size=16,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=100,
        weight_decay=0.05,
        logging_steps=100,
        save_strategy="no",
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
    )
    Trainer(PatchNamer(model, words, patches.weights()), arguments, train_dataset=patches).train()


def new_tower(patches: Patches, width: int, layers: int) -> CLIPVisionModel:
    """Make a CLIP vision tower for these pictures, untrained but for its patch embedding."""
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        image_size=patches.items[0][0].shape[-1],
        patch_size=patches.patch,
    )
    torch.manual_seed(0)
    tower = CLIPVisionModel(config)
    embedding = tower.get_submodule("embeddings.patch_embedding")
    some = torch.stack([patches[i]["pixel_values"] for i in range(min(256, len(patches)))])
    with torch.no_grad():
        embedding.weight.copy_(whitened_cosines(embedding, some, fine(width, patches.patch)))
    return tower


def main(
    dataset: Path,
    language: str,
    base: Path,
    width: int = 128,
    layers: int = 4,
    more_layers: int = 2,
    patch: int = 14,
    steps: int = 10000,
    more_steps: int = 2000,
) -> None:
    """Write a LLaVA of a new vision tower for DATASET's pictures and the language model LANGUAGE to BASE."""
    with one_line_errors(OSError, ValueError):
        if base.exists():
            raise FileExistsError(f"{base} is there already; name a new folder")
        patches = Patches(dataset, patch, CLIPImageProcessor())
        with tempfile.TemporaryDirectory() as scratch:
            joined = Path(scratch) / "joined"
            new_tower(patches, width, layers).save_pretrained(scratch)
            assemble(scratch, language, joined, feature_layer=-1)
            processor = AutoProcessor.from_pretrained(joined)
            model = AutoModelForImageTextToText.from_pretrained(joined)
            fit(model, patches, processor.tokenizer, steps, 1.5e-3, scratch)
            model.save_pretrained(joined)

            patches.whole = True
            config = model.config
            config.vision_config.num_hidden_layers += more_layers
            torch.manual_seed(0)
            model = AutoModelForImageTextToText.from_pretrained(joined, config=config)
            tower = model.model.vision_tower
            tower.requires_grad_(False)
            tower.get_submodule("encoder.layers")[layers:].requires_grad_(True)
            fit(model, patches, processor.tokenizer, more_steps, 1e-3, scratch)
        model.save_pretrained(base)
        processor.save_pretrained(base)


if __name__ == "__main__":
    typer.run(main)
