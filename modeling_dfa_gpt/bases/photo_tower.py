"""Train a vision tower for photographs to tell which patches are forged, and by which technique an image was forged.

The traces of a forgery in a photograph are as fine as a pixel. A small vision transformer with patches of 16 pixels
loses them. A FocalNet (Yang et al., 2022) begins with patches of 4 pixels and widens the context from layer to layer.

A training step sees 16 pairs of a bona fide face and a forgery, both degraded in the same way. The forgeries come from
the dataset, or are made during training from its bona fide faces. A forgery is paired with the face that it was made
from, so that the two differ only in the forgery. If the dataset lacks that face, any other bona fide face is used.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.evidence.paired import changed_pixels
from dfa_instruct.records import Face, Pixels
from dfa_instruct.techniques.registry import TECHNIQUES
from dfa_instruct.vlm.parts import parts_of
from modeling_dfa_gpt.bases import TINY_BASE
from modeling_dfa_gpt.bases.augment import augment
from modeling_dfa_gpt.bases.tower import broad_and_fine, fit, mean_and_deviation, whiten_patch_embedding

SIDE = 128
GRID = 8
"""The number of patches in a row, and in a column, of the last layer."""
WIDTH = 128
STEPS = 4000
OWN_STEPS = (100, 600)
"""The range of the number of steps on a dataset of one's own; see `steps_for`."""
PAIRS = 16
"""The number of pairs in a step."""
OWN_IN_PRETRAINING = 0.1
"""The share of the forgeries in pretraining that come from the dataset. Some techniques can only be seen there, because
they must be fitted to many faces before they can forge one."""
OWN_IN_TEACHING = 0.5
"""The share of the forgeries that come from the dataset when `teach_base` trains the tower further."""
SELF_BLENDED = 0.5
"""The share of the forgeries made during training that are self-blended. The other techniques share the rest."""
CHANGED = 4
"""A pixel of a forgery that this package made is changed if a channel differs from the bona fide face by more than this
value, out of 255."""
COVERED = 0.1
"""A patch is forged if more than this share of its pixels is changed."""
SMALLEST_CROP = 0.85
"""The smallest side of the random crop of an image, as a share of its side."""
MARGIN = 6
"""The width in pixels of the mirrored border that the crop may contain."""
MAX_DRAWS = 1000
"""The largest number of attempts to make one forgery. Each attempt draws two faces and a technique."""
BONA_FIDE: Final = "bona_fide"


class Pairs(torch.utils.data.Dataset[dict[str, Any]]):
    """Pairs of a bona fide face and a forgery, drawn anew for each item.

    An item has `pixel_values` of shape (2, 3, side, side), the bona fide face first; `forged`, whether each patch of
    the forgery is forged, of shape (patches,); and `technique`, the index of the forgery's technique in `names`.

    Args:
        rows: A split of the dataset.
        image_processor: The processor whose normalization is applied.
        count: The number of items.
        own: The share of the forgeries that come from the dataset. The others are made during training.
        seed: The seed of all random choices.
    """

    def __init__(self, rows: Dataset, image_processor: Any, count: int, own: float, seed: int) -> None:
        self.rows, self.count, self.own, self.seed = rows, count, own, seed
        self.mean, self.std = mean_and_deviation(image_processor)
        labels, landmarks = rows["label"], rows["landmarks"]
        self.index = {face: number for number, face in enumerate(rows["face_id"])}
        self.bona_fide = [n for n, label in enumerate(labels) if label == "bona_fide"]
        self.forgeable = [n for n in self.bona_fide if landmarks[n] is not None]
        self.forged = [n for n, label in enumerate(labels) if label == "forged"]
        self.names = [BONA_FIDE, *sorted({*TECHNIQUES, *filter(None, rows["technique"])})]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, item])
        bona_fide, forged, changed, technique = self.draw(rng)
        both = degrade(bona_fide, forged, changed, rng)
        pixels = torch.tensor(np.stack(both[:2])).permute(0, 3, 1, 2) / 255
        share = torch.nn.functional.avg_pool2d(torch.tensor(both[2])[None], SIDE // GRID)[0]
        return {
            "pixel_values": (pixels - self.mean) / self.std,
            "forged": (share > COVERED).float().flatten(),
            "technique": self.names.index(technique),
        }

    def draw(self, rng: np.random.Generator) -> tuple[Pixels, Pixels, NDArray[np.bool_], str]:
        """Return a bona fide face, a forged face, a mask of the forged pixels, and the technique.

        The mask is all True if the two faces are not the same frame.
        """
        if (rng.random() < self.own or not self.forgeable) and self.forged:
            row = self.rows[int(rng.choice(self.forged))]
            forged, technique = pixels_of(row), row["technique"]
            pair = self.index.get(row["pair_id"] or "")
            bona_fide = pixels_of(self.rows[int(rng.choice(self.bona_fide)) if pair is None else pair])
            if pair is None or row["pairing"] != "same_frame":
                return bona_fide, forged, np.ones(forged.shape[:2], bool), technique
            if technique not in TECHNIQUES:  # the two were compressed separately
                return bona_fide, forged, changed_pixels(forged, bona_fide), technique
        else:
            bona_fide, forged, technique = self.forge(rng)
        return bona_fide, forged, cv2.absdiff(forged, bona_fide).max(-1) > CHANGED, technique

    def forge(self, rng: np.random.Generator) -> tuple[Pixels, Pixels, str]:
        """Forge a random face by a random technique. Return the face, the forgery and the technique's name.

        Raises:
            ValueError: No technique can use the faces.
        """
        others = [name for name in TECHNIQUES if name != "self_blended"]
        for _ in range(MAX_DRAWS if self.forgeable else 0):
            technique = TECHNIQUES["self_blended" if rng.random() < SELF_BLENDED else str(rng.choice(others))]
            target, other = (self.face(int(number)) for number in rng.choice(self.forgeable, 2))
            if target.identities == other.identities and technique.name != "self_blended":
                continue
            try:
                return target.image, technique.forge(target, other, rng).image, technique.name
            except ValueError:
                continue  # the technique cannot use these faces
        raise ValueError(f"no face of the train split could be forged in {MAX_DRAWS} attempts")

    def face(self, number: int) -> Face:
        """Return a row of the dataset as a face."""
        row = self.rows[number]
        return Face(
            image=pixels_of(row),
            label=row["label"],
            category=row["category"],
            source=row["source"],
            identities=tuple(row["identities"]),
            source_path=row["source_path"],
            source_sha256=row["source_sha256"],
            landmarks=np.array(row["landmarks"], np.float32),
        )


def pixels_of(row: dict[str, Any]) -> Pixels:
    """Return the image of a row of the dataset."""
    return np.asarray(row["image"].convert("RGB"))


def degrade(
    bona_fide: Pixels, forged: Pixels, changed: NDArray[Any], rng: np.random.Generator
) -> tuple[Pixels, Pixels, NDArray[np.float32]]:
    """Crop, mirror, scale and degrade two faces alike.

    Returns:
        Both faces, shape (SIDE, SIDE, 3), and the share of each pixel that is changed, shape (SIDE, SIDE).
    """
    if len(bona_fide) < SIDE:
        enlarged = (cv2.resize(i, (SIDE, SIDE)) for i in (bona_fide, forged, changed.astype(np.uint8)))
        bona_fide, forged, changed = (np.asarray(image, np.uint8) for image in enlarged)
    side = len(bona_fide)
    crop = max(SIDE, int(rng.uniform(SMALLEST_CROP, 1) * side))
    top, left = rng.integers(0, side + 2 * MARGIN - crop + 1, 2)
    step = int(rng.choice([-1, 1]))
    border = [(MARGIN, MARGIN)] * 2
    images = [
        np.pad(image, border + [(0, 0)] * (image.ndim - 2), "reflect")[top:, left:][:crop, :crop][:, ::step]
        for image in (bona_fide, forged, changed.astype(np.uint8))
    ]
    interpolation = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(3)]
    size = (SIDE, SIDE)
    first, second = (cv2.resize(np.ascontiguousarray(i), size, interpolation=interpolation) for i in images[:2])
    area = cv2.resize(np.ascontiguousarray(images[2]).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    state = rng.bit_generator.state
    first = augment(np.asarray(first, np.uint8), rng)
    rng.bit_generator.state = state
    return first, augment(np.asarray(second, np.uint8), rng), np.asarray(area, np.float32)


class ForgeryReader(torch.nn.Module):
    """A vision tower with a linear layer that predicts which patches are forged, whether the image is, and how.

    Args:
        tower: The vision tower.
        techniques: The number of techniques, bona fide included.
    """

    def __init__(self, tower: Any, techniques: int) -> None:
        super().__init__()
        self.tower = tower
        self.head = torch.nn.Linear(tower.config.hidden_size, 2 + techniques)

    def forward(self, pixel_values: torch.Tensor, forged: torch.Tensor, technique: torch.Tensor) -> dict[str, Any]:
        """Return the loss of a batch of `Pairs`."""
        from torch.nn.functional import binary_cross_entropy_with_logits as bce
        from torch.nn.functional import cross_entropy

        patches = self.tower(pixel_values.flatten(0, 1)).last_hidden_state
        of_patch = self.head(patches)[..., 0].unflatten(0, (-1, 2))
        of_image = self.head(patches.mean(1)).unflatten(0, (-1, 2))
        labels = torch.stack([torch.zeros_like(forged), forged], 1)
        is_forged = torch.tensor([0.0, 1.0]).to(of_image).expand(len(of_image), 2)
        techniques = torch.stack([torch.zeros_like(technique), technique], 1)
        loss = (
            bce(of_patch, labels)
            + bce(of_image[..., 1], is_forged)
            + 0.2 * cross_entropy(of_image[..., 2:].flatten(0, 1), techniques.flatten())
        )
        return {"loss": loss}


def new_tower(pairs: Pairs) -> Any:
    """Return an untrained FocalNet whose last layer has 64 patches. Its first layer is whitened."""
    from transformers import FocalNetConfig, FocalNetModel

    config: Any = FocalNetConfig(
        image_size=SIDE,
        patch_size=4,
        embed_dim=WIDTH // 4,
        use_conv_embed=True,
        depths=[2, 2, 4],
        focal_levels=[2, 2, 2],
        focal_windows=[3, 3, 3],
        mlp_ratio=2.0,
    )
    config.hidden_size = WIDTH  # LLaVA's projector reads it
    torch.manual_seed(pairs.seed)
    tower: Any = FocalNetModel(config, add_pooling_layer=False)
    sample = torch.stack([pairs[number]["pixel_values"][0] for number in range(256)])
    embedding = tower.embeddings.patch_embeddings.projection
    whiten_patch_embedding(
        embedding, sample, broad_and_fine(embedding.out_channels, embedding.kernel_size[0], pairs.seed)
    )
    return tower


def teach_tower(tower: Any, pairs: Pairs, steps: int, learning_rate: float, work: Path) -> None:
    """Train a tower in place. If the process is killed, the same call resumes from the checkpoints.

    Args:
        tower: The vision tower.
        pairs: What it is trained on.
        steps: The number of steps of 16 pairs.
        learning_rate: The highest learning rate.
        work: A folder for checkpoints. Checkpoints of other faces, or with another seed, are not used.
    """
    faces = hashlib.sha256("".join(pairs.index).encode()).hexdigest()[:16]
    fit(
        ForgeryReader(tower, len(pairs.names)),
        pairs,
        work / f"tower-{faces}-{pairs.seed}",
        max_steps=steps,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        seed=pairs.seed,
        label_names=["forged", "technique"],
    )


def make_photo_base(train: Dataset, output: Path, *, seed: int = 0, tower_steps: int = STEPS) -> None:
    """Write a LLaVA model with a trained tower for photographs, a new projector and the tiny base's language model.

    An image of 128 pixels gives 64 image tokens.

    Args:
        train: The train split, config `default`.
        output: The folder to write. The checkpoints are written to its parent folder.
        seed: The seed of all random choices.
        tower_steps: The number of steps of 16 pairs to train the tower on.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaConfig, LlavaForConditionalGeneration

    processor = AutoProcessor.from_pretrained(TINY_BASE)
    pairs = Pairs(train, processor.image_processor, tower_steps * PAIRS, OWN_IN_PRETRAINING, seed)
    tower = new_tower(pairs)
    teach_tower(tower, pairs, tower_steps, 1e-3, output.parent)
    tiny = AutoModelForImageTextToText.from_pretrained(TINY_BASE, dtype=torch.float32)
    config = LlavaConfig(
        **{name: getattr(tiny.config, name) for name in ("text_config", "image_token_index", "tie_word_embeddings")},
        vision_config=tower.config,
        image_seq_length=GRID**2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",  # there is no class token
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    parts_of(model).vision.load_state_dict(tower.state_dict())
    parts_of(model).language.load_state_dict(parts_of(tiny).language.state_dict())
    model.generation_config = tiny.generation_config
    processor.vision_feature_select_strategy, processor.num_additional_image_tokens = "full", 0
    model.save_pretrained(output)
    processor.save_pretrained(output)


def steps_for(rows: Dataset, fewest: int, most: int) -> int:
    """Return the number of steps to train on a train split: one for each bona fide person, within a range.

    With more steps, a tower memorizes the people. With 20 people of FaceForensics++, the AUC on other people was
    highest after 50 to 100 of 150 steps; with 394 people of FFHQ, after 300 to 400 of 400.
    """
    of_rows = zip(rows["identities"], rows["label"], strict=True)
    people = {identity for identities, label in of_rows if label == "bona_fide" for identity in identities}
    return min(max(len(people), fewest), most)


def teach_base(base: Path, data: Path, output: Path, *, seed: int = 0, steps: int | None = None) -> None:
    """Train the vision tower of a base further on the user's own dataset, and write the new model.

    Half of the forgeries come from the dataset, and the others are made from its bona fide faces, because the tower
    would soon memorize the forgeries of a small dataset. If the process is killed, the same call resumes from the
    checkpoints in `<output>.work`.

    Args:
        base: The folder of a base that `make_photo_base` has made.
        data: The dataset folder.
        output: The folder to write. Files in it are replaced.
        seed: The seed of all random choices.
        steps: The number of steps of 16 pairs. None: see `steps_for`.
    """
    from datasets import load_dataset
    from transformers import AutoModelForImageTextToText, AutoProcessor

    train = load_dataset(DATASET_NAME, data_dir=str(data), split="train")
    steps = steps or steps_for(train, *OWN_STEPS)
    model, processor = AutoModelForImageTextToText.from_pretrained(base), AutoProcessor.from_pretrained(base)
    pairs = Pairs(train, processor.image_processor, steps * PAIRS, OWN_IN_TEACHING, seed)
    work = output.with_name(f"{output.name}.work")
    teach_tower(parts_of(model).vision, pairs, steps, 5e-4, work)
    model.save_pretrained(output)
    processor.save_pretrained(output)
    shutil.rmtree(work)
