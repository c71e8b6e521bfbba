"""Pairs of a bona fide face and a forgery, from which a vision tower learns to see forgeries.

The forgeries come from a dataset, or are made during training from its bona fide faces. A forgery is paired with the
face that it was made from, and both are degraded in the same way, so that the two differ only in the forgery. If the
dataset lacks that face, any other bona fide face is used.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

from dfa_instruct.evidence.paired import changed_pixels
from dfa_instruct.records import Face, Pixels
from dfa_instruct.techniques.registry import TECHNIQUES
from modeling_dfa_gpt.bases.augment import augment
from modeling_dfa_gpt.bases.tower import mean_and_deviation

SIDE = 128
"""The side of the images in pixels."""
GRID = 8
"""The number of patches in a row, and in a column."""
SELF_BLENDED = 0.5
"""The share of the forgeries made during training that are self-blended. The other techniques share the rest."""
CHANGED = 4
"""A pixel of a forgery that this package made is changed if a channel differs from the bona fide face by more than this
value, out of 255."""
COVERED = 0.1
"""A patch is forged if more than this share of its pixels is changed."""
SMALLEST_CROP = 0.85
"""The smallest side of the random crop of an image, as a share of the side of the image."""
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

        The mask is all True if the faces do not come from the same frame.
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
            ValueError: No bona fide face has landmarks, or `MAX_DRAWS` attempts failed.
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
