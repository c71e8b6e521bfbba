"""What is trained: LoRA on the language model, and the whole projector; the vision tower and the base stay.

LoRA's targets stand in the recipes (`recipes/dfa-gpt-*/sft.yaml`: `lora_target_modules`, `lora_modules_to_save`), and
TRL and PEFT make the adapter from them. Here it is seen to that they train what LLaVA trains, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from modeling_dfa_gpt.errors import RecipeError

PROJECTOR = "multi_modal_projector"


def check_targets(targets: str | Sequence[str] | None) -> None:
    """Raise RecipeError where one of `lora_target_modules` is not a regular expression."""
    for pattern in [targets] if isinstance(targets, str) else targets or ():
        try:
            re.compile(pattern)
        except re.error as error:
            raise RecipeError(f"lora_target_modules: {pattern} is not a regular expression: {error}") from error


def check_trainable(model: Any) -> None:
    """Refuse a model with an adapter where anything but the language model's LoRA and the projector would be trained.

    Raises:
        RecipeError: a vision tower's or a base weight is trainable, or the projector or LoRA is not.
    """
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    strays = [n for n in trainable if f".{PROJECTOR}." not in n and not (".language_model." in n and ".lora_" in n)]
    adapted = [n for n in trainable if f".{PROJECTOR}." in n and ".lora_" in n]
    if strays or adapted:
        raise RecipeError(f"lora_target_modules or lora_modules_to_save would train {(strays + adapted)[0]}")
    for part, missing in ((f".{PROJECTOR}.", "lora_modules_to_save"), (".lora_", "lora_target_modules")):
        if not any(part in name for name in trainable):
            raise RecipeError(f"{missing} leaves no {part.strip('._')} to train")


def count_parameters(model: Any) -> dict[str, tuple[int, int]]:
    """Count each part's frozen and trained parameters: vision tower, projector, language model.

    A copy that PEFT keeps of the untrained projector is not counted.
    """
    parts = {"vision tower": "vision_tower.", "projector": f"{PROJECTOR}.", "language model": ""}
    counts = dict.fromkeys(parts, (0, 0))
    for name, parameter in model.named_parameters():
        if ".original_module." in name:
            continue
        part = next(part for part, key in parts.items() if key in name)
        frozen, trained = counts[part]
        size = getattr(parameter, "ds_numel", None) or parameter.numel()  # ZeRO-3 keeps the weights elsewhere
        counts[part] = (frozen, trained + size) if parameter.requires_grad else (frozen + size, trained)
    return counts
