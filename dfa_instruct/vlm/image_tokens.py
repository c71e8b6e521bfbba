"""Count the tokens of an image from the configuration files of a model, without weights and without the image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ImageTokens:
    """The size of one image in a model.

    Attributes:
        tokens: The number of tokens in the language model, with those that mark the image and its crops.
        crops: The number of images that the vision tower sees.
        patches: The number of the vision tower's patches in each of them.
    """

    tokens: int
    crops: int
    patches: int


def image_tokens(config: Any, folder: Path, height: int, width: int) -> ImageTokens:
    """Count the tokens of an image.

    Args:
        config: The configuration of the model.
        folder: The model's folder. Some families need the settings of its image processor.
        height: The image's height in pixels.
        width: The image's width in pixels.

    Raises:
        ValueError: The family's tokens cannot be counted in this way, or the folder has no image processor.
    """
    family = config.model_type
    if family in ("qwen2_5_vl", "qwen3_vl"):
        patches = _image_processor(folder).get_number_of_image_patches(height, width)
        return ImageTokens(patches // config.vision_config.spatial_merge_size**2, 1, patches)
    patches = _patches(config.vision_config)
    if family == "llava":
        return ImageTokens(config.image_seq_length or patches, 1, patches)
    if family == "gemma3":
        return ImageTokens(config.mm_tokens_per_image + 4, 1, patches)  # the marks and blank lines on both sides
    if family == "internvl":
        crops = _image_processor(folder).get_number_of_image_patches(height, width, {"crop_to_patches": True})
        return ImageTokens(crops * config.image_seq_length + 2, crops, patches)
    if family in ("idefics3", "smolvlm"):
        crops, rows, columns = _image_processor(folder).get_number_of_image_patches(height, width)
        tokens = patches // config.scale_factor**2
        # Each crop starts with two marks, the whole image with two and a blank line, and its end with one.
        return ImageTokens(rows * (columns * (tokens + 2) + 1) + tokens + 3, max(crops, 1), patches)
    raise ValueError(f"the tokens of an image cannot be estimated for {family}, which joins its crops")


def _image_processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        raise ValueError(f"{folder}: expected a preprocessor_config.json, which says how images are resized")
    return AutoImageProcessor.from_pretrained(folder, backend="pil")


def _patches(vision: Any) -> int:
    sides = [
        side if isinstance(side, list | tuple) else (side, side) for side in (vision.image_size, vision.patch_size)
    ]
    (height, width), (patch_height, patch_width) = sides
    return int((height // patch_height) * (width // patch_width))
