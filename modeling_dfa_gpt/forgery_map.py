"""Map where a face was forged, from the patches of the vision tower.

Where a forgery has a bona fide face of the same frame, the pixels say which patches were changed. A logistic regression
learns this from the features of each patch, after the training of the model, whose answers it does not affect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit, logit

from dfa_instruct.bench.localisation import (
    Map,
    best_threshold,
    enlarged,
    image_blind_map,
    localisation_scores,
    localised_faces,
    patch_shares,
)
from dfa_instruct.face.regions import region_masks, region_outlines
from dfa_instruct.vlm.load import optional_file
from dfa_instruct.vocabulary import SPLITS, Region
from modeling_dfa_gpt.picture import OpenedFace

MAP_FILE: Final = "map.npz"
MAX_PATCHES: Final = 40_000
"""The largest number of training patches."""
LAYERS: Final = 4
STRENGTH: Final = 0.01
"""The inverse regularization strength."""
COVERED: Final = 0.25
"""A patch is forged if more than this share of its pixels is changed."""
NAMED: Final = 0.25
"""The smallest changed share of a region that is named."""
EXTRA_TOKENS: Final = 8
"""The most tokens, such as a class token, that come before the patches in a layer."""
BATCH: Final = 16


@dataclass(frozen=True)
class ChangedRegion:
    """A region of a face: the `share` of it that appears to have been changed, and its outlines as SVG polygons."""

    share: float
    polygons: list[str]


@dataclass(frozen=True)
class Changed:
    """Where a face appears to have been changed.

    Attributes:
        probabilities: The probability of each patch, row by row.
        threshold: The probability above which a pixel counts as changed.
        side: The side of the aligned face in pixels. The polygons have its pixel coordinates.
        regions: The regions of the face, if its landmarks are known.
    """

    probabilities: list[list[float]]
    threshold: float
    side: int
    regions: dict[Region, ChangedRegion]

    def named_regions(self) -> list[tuple[Region, float]]:
        """Return the regions of which at least `NAMED` appears to have been changed, each with its changed share."""
        shares = [(region, one.share) for region, one in self.regions.items() if one.share >= NAMED]
        return sorted(shares, key=lambda named: -named[1])


@dataclass(frozen=True)
class ForgeryMap:
    """A logistic regression on the features of a patch.

    Attributes:
        weights: One weight for each feature, shape (features,).
        bias: A bias for each patch, because some parts of a face are changed more often, shape (rows, columns).
        threshold: The probability above which a pixel of the enlarged map counts as changed, shape (). It has the
            highest mean intersection over union with the changed pixels of the validation split.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    threshold: NDArray[np.float32]

    @classmethod
    def learn(cls, model: Any, data: Path | None) -> Self | None:
        """Fit the weights on the train split of a dataset, and choose the threshold on its validation split.

        Args:
            model: A `DfaGpt`.
            data: The dataset folder, see `dfa_instruct.bench.runner.run_bench`.

        Returns:
            The map, or None if the splits have no changed and unchanged patches to learn from, or if the vision tower's
            features are not a grid of patches.

        Raises:
            ValueError: A split is missing or empty.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        train, validation = (list(localised_faces(data, split)) for split in ("train", "validation"))
        forged = [(image, mask) for image, mask in validation if mask.any()]
        if not train or not forged or not has_patches(model):
            return None
        grid = patch_features(model, [train[0][0]]).shape[1:3]
        changed = np.stack([patch_shares(mask, grid) for _, mask in train])
        labels = changed > COVERED
        if labels.all() or not labels.any():
            return None
        odds = logit(changed[[mask.any() for _, mask in train]].mean(0).clip(0.01, 0.99))
        rng = np.random.default_rng(0)
        per_face = max(1, min(odds.size, MAX_PATCHES // len(train)))
        inputs, targets = [], []
        for begin in range(0, len(train), BATCH):
            features = patch_features(model, [image for image, _ in train[begin : begin + BATCH]])
            for of_face, of_patches in zip(features, labels[begin : begin + BATCH], strict=True):
                chosen = rng.choice(odds.size, per_face, replace=False)
                with_odds = np.concatenate([of_face, odds[..., None]], axis=-1).reshape(odds.size, -1)
                inputs.append(with_odds[chosen])
                targets.append(of_patches.ravel()[chosen])
        scaler, regression = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500)).fit(
            np.concatenate(inputs), np.concatenate(targets)
        )
        *weights, of_odds = regression.coef_[0] / scaler.scale_
        bias = regression.intercept_[0] - np.dot([*weights, of_odds], scaler.mean_) + of_odds * odds
        found = cls(*(np.asarray(value, np.float32) for value in (weights, bias, 0.5)))
        maps = found.of(model, [image for image, _ in forged])
        threshold = best_threshold(maps, [mask for _, mask in forged])
        return cls(found.weights, found.bias, np.asarray(threshold, np.float32))

    def of(self, model: Any, faces: Sequence[Image.Image]) -> list[Map]:
        """Return the map of each aligned face.

        Raises:
            ValueError: The map was learned with another vision tower.
        """
        maps: list[Map] = []
        for begin in range(0, len(faces), BATCH):
            features = patch_features(model, faces[begin : begin + BATCH])
            if features.shape[1:] != (*self.bias.shape, len(self.weights)):
                raise ValueError(f"{MAP_FILE} is of another vision tower; remove it and run dfa-gpt calibrate")
            maps += list(expit(features @ self.weights + self.bias))
        return maps

    def measure(self, model: Any, data: Path | None) -> dict[str, dict[str, float]]:
        """Measure the map on the test split, see `localisation_scores`. All thresholds are from the validation split.

        Returns:
            The figures of the `map`; of the mean of the training masks (`image_blind`); and of the `attention` of the
            vision tower, if it has one.
        """
        from modeling_dfa_gpt.app.attention import attention_received

        train, validation, test = ([face for face in localised_faces(data, split) if face[1].any()] for split in SPLITS)
        blind = image_blind_map([mask for _, mask in train])
        ways: dict[str, Callable[[Image.Image], Map | None]] = {
            "map": lambda face: self.of(model, [face])[0],
            "image_blind": lambda face: blind,
            "attention": lambda face: attention_received(model, face),
        }
        found = {}
        for name, way in ways.items():
            learned, made = ([way(face) for face, _ in faces] for faces in (validation, test))
            maps, limits = ([one for one in found_maps if one is not None] for found_maps in (made, learned))
            if maps:
                threshold = best_threshold(limits, [mask for _, mask in validation])
                found[name] = localisation_scores(maps, [mask for _, mask in test], threshold)
        return found

    def changed(self, model: Any, face: OpenedFace) -> Changed:
        """Return where an aligned face appears to have been changed."""
        made, side = self.of(model, [face.image])[0], face.image.width
        regions: dict[Region, ChangedRegion] = {}
        if face.landmarks is not None:
            named = enlarged(made, side) > self.threshold
            outlines = region_outlines(face.landmarks, side)
            for region, mask in region_masks(face.landmarks, side).items():
                if mask.any():
                    regions[region] = ChangedRegion(round(float(named[mask].mean()), 3), outlines[region])
        return Changed(made.round(3).tolist(), float(self.threshold), side, regions)

    def write(self, folder: Path) -> None:
        """Write the map into a model's folder."""
        np.savez(folder / MAP_FILE, weights=self.weights, bias=self.bias, threshold=self.threshold)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file that `write` has written.

        Raises:
            ValueError: The file is not in the format of `write`.
        """
        try:
            with np.load(file, allow_pickle=False) as stored:
                found = cls(*(stored[name].astype(np.float32) for name in ("weights", "bias", "threshold")))
            if (found.weights.ndim, found.bias.ndim, found.threshold.ndim) != (1, 2, 0):
                raise ValueError("the shapes of the arrays do not match")
        except (OSError, KeyError, ValueError, TypeError, BadZipFile, EOFError) as error:
            raise ValueError(f"{file}: cannot be read as a file that dfa-gpt calibrate writes: {error}") from error
        return found


def read_forgery_map(name: str | Path) -> ForgeryMap | None:
    """Read the map of a model from its folder or Hub repository. Return None if it was not learned."""
    file = optional_file(name, MAP_FILE)
    return ForgeryMap.read(file) if file else None


def has_patches(model: Any) -> bool:
    """Return whether a `DfaGpt` is a LLaVA-1.5. The towers of other families read several crops, or windows."""
    return bool(model.model.config.model_type == "llava")


def patch_features(model: Any, faces: Sequence[Image.Image]) -> NDArray[np.float32]:
    """Return the features of the patches of aligned faces, shape (faces, rows, columns, features).

    They are the hidden states of `LAYERS` layers of the vision tower, evenly spread over those that have as many
    patches as the last one.

    Args:
        model: A `DfaGpt` that has patches, see `has_patches`.
        faces: The aligned faces.
    """
    import torch

    from dfa_instruct.vlm.inputs import encode_images, on
    from dfa_instruct.vlm.parts import parts_of, patch_grid

    llava = model.model
    pixels = on(llava, encode_images(model.processor, list(faces)).features)["pixel_values"]
    rows, columns = patch_grid(llava.config, pixels)
    with torch.inference_mode():
        states = parts_of(llava).vision(pixels, output_hidden_states=True).hidden_states
    patches = rows * columns
    fitting = [state[:, -patches:] for state in states if 0 <= state.shape[1] - patches <= EXTRA_TOKENS]
    first = max(0, min(1, len(fitting) - LAYERS))  # the embedding is left out if there are enough layers
    kept = [fitting[i] for i in sorted({*np.linspace(first, len(fitting) - 1, LAYERS).round().astype(int).tolist()})]
    return np.asarray(torch.cat(kept, -1).unflatten(1, (rows, columns)).float().cpu().numpy())
