"""Train DFA-GPT: LoRA on the language model and the whole projector, by TRL's SFTTrainer.

    accelerate launch --config_file recipes/accelerate_configs/cpu.yaml \
        -m modeling_dfa_gpt.sft --config recipes/dfa-gpt-tiny/sft.yaml

A recipe's keys are the fields of TRL's `SFTConfig`, `ModelConfig` and `DatasetMixtureConfig`; any of them can be
overridden on the command line (`--output_dir runs/mine`).
"""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import dfa_instruct  # noqa: F401 (registers "dfa-instruct" with datasets)
from dfa_instruct.errors import one_line_errors
from modeling_dfa_gpt.modeling import is_model
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator

PROJECTOR = "multi_modal_projector"


@dataclass
class DfaArguments:
    """What a recipe may say beyond TRL's own keys."""

    shared_prefix: bool = field(
        default=False, metadata={"help": "Pack the questions of a `conversations` row behind one copy of its image."}
    )


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the file and the key."""


def read_recipe(path: Path, known: set[str]) -> dict[str, Any]:
    """Read a YAML recipe and refuse keys that nothing knows, naming the nearest one that is known.

    Raises:
        RecipeError: the file is missing, is no mapping, or has an unknown key.
    """
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe")
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(recipe, dict):
        raise RecipeError(f"{path}: expected a mapping of keys to values")
    for key in recipe:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise RecipeError(f"{path}: unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    return recipe


def check_trainable(model: Any) -> None:
    """Refuse a model with an adapter where anything but the language model's LoRA and the projector would be trained.

    Raises:
        RecipeError: a vision tower's or a base weight is trainable, or the projector or LoRA is not.
    """
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    strays = [n for n in trainable if f".{PROJECTOR}." not in n and not (".language_model." in n and ".lora_" in n)]
    if strays:
        raise RecipeError(f"lora_target_modules or lora_modules_to_save would train {strays[0]}")
    for part, missing in ((f".{PROJECTOR}.", "lora_modules_to_save"), (".lora_", "lora_target_modules")):
        if not any(part in name for name in trainable):
            raise RecipeError(f"{missing} leaves no {part.strip('._')} to train")


def print_parts(model: Any) -> None:
    """Print how many parameters each part has and how many of them are trained."""
    from rich import print as rich_print
    from rich.table import Table

    table = Table("part", "parameters", "trained", title="DFA-GPT")
    parts = {"vision tower": "vision_tower.", "projector": PROJECTOR, "language model": ""}
    counts = {part: [0, 0] for part in parts}
    for name, parameter in model.named_parameters():
        part = next(p for p, key in parts.items() if key in name)
        counts[part][0] += parameter.numel()
        counts[part][1] += parameter.numel() * parameter.requires_grad
    for part, (total, trained) in counts.items():
        table.add_row(part, f"{total:,}", f"{trained:,}")
    rich_print(table)


def train(arguments: list[str]) -> None:
    """Train as a recipe says, and save the model (an adapter where `use_peft` is set) with its processor."""
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import DatasetMixtureConfig, ModelConfig, SFTConfig, SFTTrainer, TrlParser, get_dataset, get_peft_config

    kinds: Any = (DatasetMixtureConfig, SFTConfig, ModelConfig, DfaArguments)
    parser = TrlParser(kinds)
    if "--config" in arguments[:-1]:
        known = {action.dest for action in parser._actions} | {"env"}
        read_recipe(Path(arguments[arguments.index("--config") + 1]), known)
    mixture, config, model_arguments, ours = parser.parse_args_and_config(arguments)
    base = model_arguments.model_name_or_path
    if base is None:
        raise RecipeError("model_name_or_path is missing: expected a LLaVA's folder or Hub id")
    if not is_model(base):
        raise RecipeError(f"model_name_or_path: {base}: no such model (expected a LLaVA's folder or Hub id)")
    if not mixture.datasets:
        raise RecipeError("datasets is missing: expected a list of {path, name, split}")

    dataset = get_dataset(mixture)
    model = AutoModelForImageTextToText.from_pretrained(
        base, dtype=model_arguments.dtype, attn_implementation=model_arguments.attn_implementation
    )
    processor = AutoProcessor.from_pretrained(base)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=dataset["train"],
        processing_class=processor,
        data_collator=SharedPrefixCollator(processor) if ours.shared_prefix else None,
        peft_config=get_peft_config(model_arguments),
    )
    if model_arguments.use_peft:
        check_trainable(trainer.model)
    if trainer.accelerator.is_main_process:
        print_parts(trainer.model)
    trainer.train()
    trainer.save_model()
    Path(config.output_dir, "training_args.bin").unlink(missing_ok=True)  # a pickle; the recipe says the same
    if trainer.accelerator.is_main_process:
        trainer.state.save_to_json(os.fspath(Path(config.output_dir) / "trainer_state.json"))


if __name__ == "__main__":
    with one_line_errors(RecipeError, OSError, ValueError):
        train(sys.argv[1:])
