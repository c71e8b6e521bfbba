"""Families of vision-language models: which modules are the vision tower, the projector and the language model.

A family is added by one entry in `FAMILIES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

Part = Literal["vision tower", "projector", "language model"]


@dataclass(frozen=True)
class Family:
    """The common properties of the models of one family.

    Attributes:
        vision: The name of the vision tower's module.
        projector: The name of the module that maps the vision tower's features to the language model's width.
        language: The name of the language model's module.
        lora_targets: A regular expression of the language model's linear layers, which LoRA adapts.
        vision_linear: A regular expression of the last part of the names of the linear layers in the vision tower's
            blocks.
        prefix_cache: Whether the text before a question can be processed once for all questions. This requires that
            positions count the tokens, and that each token attends to previous tokens only.
    """

    vision: str
    projector: str
    language: str
    lora_targets: str
    vision_linear: str
    prefix_cache: bool

    def part_of(self, parameter: str) -> Part:
        """Return the part that a parameter belongs to by its full name; the language model if it is no other part."""
        if f".{self.projector}." in f".{parameter}":
            return "projector"
        return "vision tower" if f".{self.vision}." in f".{parameter}" else "language model"


FAMILIES: Final = {
    "llava": Family(
        vision="vision_tower",
        projector="multi_modal_projector",
        language="language_model",
        lora_targets=r"model\.language_model\..*\.(q|k|v|o|gate|up|down)_proj",  # LLaVA: every one but lm_head
        vision_linear=r"((q|k|v|o|out|gate|up|down)_proj|fc1|fc2)",  # of CLIP and DINOv2
        prefix_cache=True,
    )
}
"""Transformers' `model_type` → family."""


@dataclass(frozen=True)
class Parts:
    """The modules of a loaded model."""

    vision: Any
    projector: Any
    language: Any


def family_of(config: Any) -> Family:
    """Return the family of a model by its configuration.

    Raises:
        ValueError: The family is unknown.
    """
    if config.model_type not in FAMILIES:
        raise ValueError(f"model type {config.model_type}: expected a model of type {' or '.join(FAMILIES)}")
    return FAMILIES[config.model_type]


def vision_lora_targets(config: Any) -> str:
    """Return a regular expression of the linear layers in the vision tower's blocks up to the one that is read.

    The language model reads the hidden states of the block `vision_feature_layer` (or of several). Later blocks do not
    affect the loss, so they cannot be trained.

    Raises:
        ValueError: The family is unknown.
    """
    family = family_of(config)
    chosen, blocks = config.vision_feature_layer, config.vision_config.num_hidden_layers
    layers = [chosen] if isinstance(chosen, int) else chosen
    read = max(layer if layer >= 0 else layer + blocks + 1 for layer in layers)
    numbers = "|".join(map(str, range(read)))
    return rf"model\.{family.vision}\..*\.layers?\.({numbers})\..*\.{family.vision_linear}"


def parts_of(model: Any) -> Parts:
    """Return the parts of a loaded model, with or without an adapter.

    Raises:
        ValueError: Its family is unknown.
    """
    family = family_of(model.config)

    def module(name: str) -> Any:
        return next(module for path, module in model.named_modules() if f".{path}".endswith(f".{name}"))

    return Parts(module(family.vision), module(family.projector), module(family.language))


def patch_grid(config: Any, pixel_values: Any) -> tuple[int, int]:
    """Return the number of rows and columns of patches of a processed image, shape (…, height, width)."""
    height, width = pixel_values.shape[-2:]
    patch = config.vision_config.patch_size
    return height // patch, width // patch
