"""Families of vision-language models: which modules are the vision tower, the projector and the language model.

A family is added by one entry in `FAMILIES`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from dfa_instruct.vlm.messages import chatml_template

Part = Literal["vision tower", "projector", "language model"]


@dataclass(frozen=True)
class Family:
    """The common properties of the models of one family.

    Attributes:
        vision: The name of the vision tower's module.
        projector: The names of the modules that map the vision tower's features to the language model's width. A name
            that ends with `_list` denotes a list of modules.
        language: The name of the language model's module.
        lora_targets: A regular expression of the language model's linear layers, which LoRA adapts.
        vision_linear: A regular expression for the last component of a module's name. It matches the linear layers in
            the blocks of the vision tower.
        shared_prefix: Whether all questions about an image can share one copy of it in a training sequence. This
            requires that each token attends to previous tokens only.
        prefix_cache: Whether the keys and values of the text before a question can be kept for all questions. This
            also requires that the position of a token is its index in the sequence.
        training_template: The chat template to train with, if neither the model's own nor TRL's version of it marks
            whole answers.
    """

    vision: str
    projector: tuple[str, ...]
    language: str
    lora_targets: str
    vision_linear: str
    shared_prefix: bool
    prefix_cache: bool
    training_template: str | None = None

    def part_of(self, parameter: str) -> Part:
        """Return the part that contains a parameter, given the parameter's full name.

        Parameters outside the vision tower and the projector belong to the language model.
        """
        if any(f".{name}." in f".{parameter}" for name in self.projector):
            return "projector"
        return "vision tower" if f".{self.vision}." in f".{parameter}" else "language model"

    def projector_modules(self, config: Any) -> list[str]:
        """Return the names of the projector's modules in a model, for PEFT, which does not save a list of modules."""
        members = range(len(getattr(config.vision_config, "deepstack_visual_indexes", [])))
        return [
            module
            for name in self.projector
            for module in ([f"{name}.{number}" for number in members] if name.endswith("_list") else [name])
        ]


_LINEAR: Final = r"(q|k|v|o|gate|up|down)_proj"
"""The linear layers of the language models: all but `lm_head`."""
_LLAVA: Final = Family(
    vision="vision_tower",
    projector=("multi_modal_projector",),
    language="language_model",
    lora_targets=rf"model\.language_model\..*\.{_LINEAR}",
    vision_linear=r"((q|k|v|o|out|gate|up|down)_proj|fc1|fc2|projection_(in|out))",  # CLIP, SigLIP, DINOv2, FocalNet
    shared_prefix=True,
    prefix_cache=True,
)
_QWEN: Final = Family(
    vision="visual",
    projector=("merger", "deepstack_merger_list"),  # Qwen2.5-VL has only the first
    language="language_model",
    lora_targets=_LLAVA.lora_targets,
    vision_linear=r"(qkv|proj|gate_proj|up_proj|down_proj|linear_fc1|linear_fc2)",
    shared_prefix=True,
    prefix_cache=False,  # positions have three dimensions
)
_IDEFICS: Final = Family(
    vision="vision_model",
    projector=("connector",),
    language="text_model",
    lora_targets=rf"model\.text_model\..*\.{_LINEAR}",
    vision_linear=_LLAVA.vision_linear,
    shared_prefix=True,
    prefix_cache=True,
)
FAMILIES: Final = {
    "llava": _LLAVA,
    "llava_next": _LLAVA,
    "llava_onevision": replace(_LLAVA, training_template=chatml_template("<image>")),
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "internvl": replace(
        _LLAVA,
        vision_linear=r"([qkv]_proj|projection_layer|fc1|fc2)",
        training_template=chatml_template("<IMG_CONTEXT>"),
    ),
    "idefics3": _IDEFICS,
    "smolvlm": _IDEFICS,
    # The tokens of an image attend to each other in both directions.
    "gemma3": replace(_LLAVA, shared_prefix=False, prefix_cache=False),
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
        raise ValueError(f"model type {config.model_type}: expected one of {', '.join(FAMILIES)}")
    return FAMILIES[config.model_type]


def vision_lora_targets(config: Any) -> str:
    """Return a regular expression that matches the linear layers of the vision tower that affect the language model.

    In some families, the language model reads the hidden states of the block `vision_feature_layer` (or of several).
    Later blocks do not affect the loss, so they cannot be trained.

    Raises:
        ValueError: The family is unknown.
    """
    family = family_of(config)
    numbers = r"\d+"
    chosen = getattr(config, "vision_feature_layer", None)
    blocks = getattr(config.vision_config, "num_hidden_layers", None)  # FocalNet has stages instead
    if chosen is not None and blocks is not None:
        layers = [chosen] if isinstance(chosen, int) else chosen
        read = max(layer if layer >= 0 else layer + blocks + 1 for layer in layers)
        numbers = "|".join(map(str, range(read)))
    return rf"model\.{family.vision}\.(.*\.)?(layers?|blocks)\.({numbers})\..*\.{family.vision_linear}"


def parts_of(model: Any) -> Parts:
    """Return the parts of a loaded model, with or without an adapter.

    Raises:
        ValueError: The model's family is unknown.
    """
    family = family_of(model.config)

    def module(name: str) -> Any:
        return next(module for path, module in model.named_modules() if f".{path}".endswith(f".{name}"))

    return Parts(module(family.vision), module(family.projector[0]), module(family.language))


def patch_grid(config: Any, pixel_values: Any) -> tuple[int, int]:
    """Return the number of rows and columns of patches of a processed image, shape (…, height, width)."""
    height, width = pixel_values.shape[-2:]
    vision = config.vision_config
    stages = len(getattr(vision, "depths", [1]))
    patch = vision.patch_size * 2 ** (stages - 1)  # every stage but the last halves the grid
    return height // patch, width // patch
