"""What is trained: LoRA on the language model, and the whole projector; the vision tower and the base stay.

LoRA's targets are those of the base's family (`dfa_instruct.vlm.parts`), unless the recipe names others by PEFT's keys
`lora_target_modules` and `lora_modules_to_save`. TRL and PEFT make the adapter. Here it is made sure that LoRA and the
projector are trained, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from dfa_instruct.vlm.parts import Family, Part, family_of
from modeling_dfa_gpt.errors import RecipeError


def check_targets(targets: str | Sequence[str] | None) -> None:
    """Raise RecipeError where one of `lora_target_modules` is not a regular expression."""
    for pattern in [targets] if isinstance(targets, str) else targets or ():
        try:
            re.compile(pattern)
        except re.error as error:
            raise RecipeError(f"lora_target_modules: {pattern} is not a regular expression: {error}") from error


def adapter_of(arguments: Any, family: Family) -> Any:
    """Return PEFT's configuration of the adapter.

    Args:
        arguments: TRL's `ModelConfig`; the targets of the family are written into it where it names none.
        family: the base's.

    Returns:
        None where `use_peft` is not set.
    """
    from trl import get_peft_config

    if arguments.use_peft:
        arguments.lora_target_modules = arguments.lora_target_modules or family.lora_targets
        arguments.lora_modules_to_save = arguments.lora_modules_to_save or [family.projector]
    return get_peft_config(arguments)


def check_trainable(model: Any) -> None:
    """Refuse a model with an adapter where anything but the language model's LoRA and the projector would be trained.

    Raises:
        RecipeError: a vision tower's or a base weight is trainable, or the projector or LoRA is not.
    """
    family = family_of(model.config)
    trained = [(name, family.part_of(name)) for name, weights in model.named_parameters() if weights.requires_grad]
    wanted = {("projector", False), ("language model", True)}  # part, and whether it is trained by LoRA
    for name, part in trained:
        if (part, ".lora_" in name) not in wanted or (part == "language model" and f".{family.language}." not in name):
            raise RecipeError(f"lora_target_modules or lora_modules_to_save would train {name}")
    if not any(part == "projector" for _, part in trained):
        raise RecipeError(f"lora_modules_to_save leaves no {family.projector} to train")
    if not any(part == "language model" for _, part in trained):
        raise RecipeError("lora_target_modules leaves no lora to train")


def count_parameters(model: Any) -> dict[str, tuple[int, int]]:
    """Count each part's frozen and trained parameters.

    A copy that PEFT keeps of the untrained projector is not counted.
    """
    family = family_of(model.config)
    counts: dict[str, tuple[int, int]] = dict.fromkeys(get_args(Part), (0, 0))
    for name, parameter in model.named_parameters():
        if ".original_module." in name:
            continue
        part = family.part_of(name)
        frozen, trained = counts[part]
        size = getattr(parameter, "ds_numel", None) or parameter.numel()  # ZeRO-3 keeps the weights elsewhere
        counts[part] = (frozen, trained + size) if parameter.requires_grad else (frozen + size, trained)
    return counts
