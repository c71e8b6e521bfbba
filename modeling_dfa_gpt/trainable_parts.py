"""Choose and check the trained parts of a model: LoRA on the language model, and the whole projector.

The original weights of the language model and of the vision tower stay frozen. If `lora_vision_tower` is set, LoRA
adapts the vision tower, too. LoRA's targets and the projector's module are those of the base's family
(`dfa_instruct.vlm.parts`), unless the recipe sets PEFT's own keys `lora_target_modules` and `lora_modules_to_save`. TRL
and PEFT build the adapter; this module checks that nothing else is trained.
"""

from __future__ import annotations

from typing import Any, get_args

from dfa_instruct.vlm.parts import Part, family_of, vision_lora_targets
from modeling_dfa_gpt.errors import RecipeError


def lora_and_projector_config(arguments: Any, config: Any, vision_tower: bool) -> Any:
    """Return PEFT's configuration of an adapter that trains LoRA and the projector.

    Args:
        arguments: TRL's `ModelConfig`. Where it names no targets, those of the family are written into it.
        config: The configuration of the base.
        vision_tower: Whether LoRA adapts the vision tower, too.

    Returns:
        A `PeftConfig`, or None if `use_peft` is not set.
    """
    from trl import get_peft_config

    if arguments.use_peft:
        family = family_of(config)
        targets = f"{family.lora_targets}|{vision_lora_targets(config)}" if vision_tower else family.lora_targets
        arguments.lora_target_modules = arguments.lora_target_modules or targets
        arguments.lora_modules_to_save = arguments.lora_modules_to_save or family.projector_modules(config)
    return get_peft_config(arguments)


def projector_parameters(model: Any) -> list[Any]:
    """Return the parameters of the projector, which maps the vision tower's features to the language model's width."""
    family = family_of(model.config)
    return [parameter for name, parameter in model.named_parameters() if family.part_of(name) == "projector"]


def check_trainable(model: Any, vision_tower: bool) -> None:
    """Check that a model with an adapter trains LoRA and the projector, and nothing else.

    Args:
        model: The model with the adapter.
        vision_tower: Whether LoRA adapts the vision tower, and not only the language model.

    Raises:
        RecipeError: Another weight is trainable, or LoRA or the projector is not.
    """
    family = family_of(model.config)
    trained_parts: set[Part] = set()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part, is_lora = family.part_of(name), ".lora_" in name
        is_language_lora = is_lora and part == "language model" and f".{family.language}." in name
        is_vision_lora = is_lora and part == "vision tower" and vision_tower
        is_projector = not is_lora and part == "projector"
        if not (is_language_lora or is_vision_lora or is_projector):
            raise RecipeError(f"lora_target_modules or lora_modules_to_save would train {name}")
        trained_parts.add(part)
    if "projector" not in trained_parts:
        raise RecipeError(f"lora_modules_to_save does not contain the projector ({', '.join(family.projector)})")
    if "language model" not in trained_parts:
        raise RecipeError("lora_target_modules matches no layer of the language model")
    if vision_tower and "vision tower" not in trained_parts:
        raise RecipeError("lora_vision_tower: the layers of this vision tower have unknown names")


def count_parameters(model: Any) -> dict[str, tuple[int, int]]:
    """Return the number of frozen and of trained parameters by part, without PEFT's copy of the original projector."""
    family = family_of(model.config)
    counts: dict[str, tuple[int, int]] = dict.fromkeys(get_args(Part), (0, 0))
    for name, parameter in model.named_parameters():
        if ".original_module." in name:
            continue
        part = family.part_of(name)
        frozen, trained = counts[part]
        size = getattr(parameter, "ds_numel", None) or parameter.numel()  # ZeRO-3 partitions the weights
        counts[part] = (frozen, trained + size) if parameter.requires_grad else (frozen + size, trained)
    return counts
