"""Read a training recipe from YAML and check it before any work starts.

The keys of a recipe are the fields of TRL's `SFTConfig`, `ModelConfig` and `DatasetMixtureConfig`, and those of
`DfaArguments`. The command line can override each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NoReturn

from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.dataset.features import CONVERSATIONS
from dfa_instruct.errors import nearest
from dfa_instruct.vlm.load import is_model
from dfa_instruct.vocabulary import ABILITIES
from dfa_instruct.yaml_file import read_mapping
from modeling_dfa_gpt.errors import RecipeError


@dataclass
class DfaArguments:
    """The keys of a recipe that TRL does not have."""

    abilities: list[str] | None = field(
        default=None,
        metadata={
            "help": "Train only on the questions of these abilities, from the conversations of dfa-instruct: df_d; "
            "df_d df_c; df_d df_c ad; df_d df_c ad fc (Table II of the paper)."
        },
    )
    shared_prefix: bool | None = field(
        default=None,
        metadata={
            "help": "Pack the questions of a `conversations` row behind one copy of its image. Default: true if the "
            "base's family and its attention implementation (sdpa) allow it."
        },
    )
    projector_learning_rate: float | None = field(
        default=None, metadata={"help": "The learning rate of the projector. Default: learning_rate."}
    )
    freeze_vision_tower: bool = field(
        default=False, metadata={"help": "Without an adapter, train everything except the vision tower."}
    )
    lora_vision_tower: bool = field(
        default=False, metadata={"help": "LoRA also adapts the vision tower. The paper's vision tower is frozen."}
    )
    chat_template: Literal["vicuna_v1"] | None = field(
        default=None, metadata={"help": "Use this chat template instead of the base's own."}
    )
    validation_split: str | None = field(
        default=None, metadata={"help": "The split of the same datasets on which the validation loss is computed."}
    )


def config_for_abilities(path: str, name: str | None, abilities: Any) -> str | None:
    """Return the config of the dataset `path` with the questions of these abilities only, or `name` if they are None.

    Raises:
        RecipeError: An ability is unknown, no config matches, or the dataset is not dfa-instruct.
    """
    if abilities is None:
        return name
    if not isinstance(abilities, list):
        raise RecipeError(f"abilities: expected a list of {', '.join(ABILITIES)}, not {abilities!r}")
    for ability in abilities:
        if ability not in ABILITIES:
            raise RecipeError(f"abilities: unknown ability {ability!r}{nearest(str(ability), list(ABILITIES))}")
    if path != DATASET_NAME or name not in CONVERSATIONS:
        raise RecipeError(f"abilities: expected the dataset {DATASET_NAME}, conversations, not {path}, {name}")
    for config, config_abilities in CONVERSATIONS.items():
        if set(config_abilities) == set(abilities):
            return config
    choices = " or ".join(f"[{', '.join(config_abilities)}]" for config_abilities in CONVERSATIONS.values())
    raise RecipeError(f"abilities: expected {choices}, not [{', '.join(abilities)}]")


def recipe_parser(rewarded: bool = False) -> Any:
    """Return TRL's parser for all keys of a recipe, which raises RecipeError instead of exiting.

    Args:
        rewarded: Whether the recipe is one of `modeling_dfa_gpt.grpo`, with the fields of TRL's `GRPOConfig` instead of
            those of `SFTConfig` and `DfaArguments`.
    """
    from trl import DatasetMixtureConfig, GRPOConfig, ModelConfig, SFTConfig, TrlParser

    class OneLineParser(TrlParser):
        def error(self, message: str) -> NoReturn:  # argparse would print every option
            raise RecipeError(message)

    dataclasses: Any = [DatasetMixtureConfig, ModelConfig, *([GRPOConfig] if rewarded else [SFTConfig, DfaArguments])]
    return OneLineParser(dataclasses)


def read_recipe(path: Path, rewarded: bool = False) -> dict[str, Any]:
    """Read a YAML recipe and check its keys; for `rewarded`, see `recipe_parser`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a mapping, or a key is unknown (RecipeError, which suggests the nearest known key).
    """
    from trl.scripts.utils import DatasetConfig

    recipe = read_mapping(path)
    check_keys(recipe, {action.dest for action in recipe_parser(rewarded)._actions} | {"env"}, f"{path}:")
    datasets = recipe.get("datasets", [])
    if not isinstance(datasets, list) or not all(isinstance(dataset, dict) for dataset in datasets):
        raise RecipeError(f"{path}: datasets: expected a list of {{path, name, split}}")
    for dataset in datasets:
        check_keys(dataset, {f.name for f in fields(DatasetConfig)}, f"{path}: datasets:")
        if "path" not in dataset:
            raise RecipeError(
                f"{path}: datasets: path is missing: expected the name of a dataset, such as dfa-instruct"
            )
    return recipe


def check_keys(keys: Iterable[str], known: set[str], where: str) -> None:
    """Raise RecipeError if a key is unknown."""
    for key in keys:
        if key not in known:
            raise RecipeError(f"{where} unknown key {key!r}{nearest(str(key), sorted(known))}")


@dataclass
class Recipe:
    """A recipe with the overrides of the command line.

    Attributes:
        data: TRL's `DatasetMixtureConfig`.
        training: TRL's `SFTConfig` or `GRPOConfig`.
        model: TRL's `ModelConfig`.
        dfa: The keys that TRL does not have.
        settings: The keys that were given, with their values.
    """

    data: Any
    training: Any
    model: Any
    dfa: DfaArguments
    settings: dict[str, Any]


def parse_recipe(arguments: list[str]) -> Recipe:
    """Parse `--config RECIPE` and the options that override it. bf16 is the default on a GPU.

    Raises:
        RecipeError: See `read_recipe`; or the recipe, its model or its datasets are missing, or a value is invalid.
    """
    recipe = parse_arguments(arguments)
    recipe.data.datasets = [
        replace(dataset, name=config_for_abilities(dataset.path, dataset.name, recipe.dfa.abilities))
        for dataset in recipe.data.datasets
    ]
    recipe.settings["datasets"] = [asdict(dataset) for dataset in recipe.data.datasets]
    check_values(recipe.data, recipe.training, recipe.model, recipe.dfa)
    return recipe


def parse_arguments(arguments: list[str], rewarded: bool = False) -> Recipe:
    """Parse the arguments of a training without checking the values; for `rewarded`, see `recipe_parser`.

    Raises:
        RecipeError: See `read_recipe`; or the recipe, its model or its datasets are missing.
    """
    import torch

    parser = recipe_parser(rewarded)
    if {"-h", "--help"} & set(arguments):
        parser.print_help()
        raise SystemExit(0)
    if "--config" not in arguments[:-1]:
        raise RecipeError("--config RECIPE is missing")
    path = Path(arguments[arguments.index("--config") + 1])

    recipe = read_recipe(path, rewarded)
    known = {action.dest for action in parser._actions}
    given = [a.removeprefix("--").split("=")[0].replace("-", "_") for a in arguments if a.startswith("--")]
    check_keys(given, known | {"config"}, "command line:")
    gpu = torch.cuda.is_available()
    # Without use_cpu, processes on a CPU would not communicate, and each would train its own model.
    use_cpu = not torch.accelerator.is_available()
    parser.set_defaults(bf16=gpu, dataloader_pin_memory=gpu, use_cpu=use_cpu)
    parts = parser.parse_args_and_config(arguments)
    data, model, training, dfa = (*parts, DfaArguments())[:4]
    if model.model_name_or_path is None:
        raise RecipeError(f"{path}: model_name_or_path is missing: expected the folder or Hub id of a model")
    if not data.datasets:
        raise RecipeError(f"{path}: datasets is missing: expected a list of {{path, name, split}}")
    parsed = {f.name: getattr(part, f.name) for part in parts for f in fields(part)}
    settings = {key: parsed[key] for key in sorted({*recipe, *given} - {"config", "env"})}
    settings["datasets"] = [asdict(dataset) for dataset in data.datasets]
    return Recipe(data, training, model, dfa, settings)


def check_values(data: Any, training: Any, model: Any, dfa: DfaArguments) -> None:
    """Check the values that would otherwise fail after minutes, or silently train something else.

    Raises:
        RecipeError: A value is invalid.
    """
    import torch

    base, folder = model.model_name_or_path, Path(training.output_dir)
    if not is_model(base):
        raise RecipeError(f"model_name_or_path: {base}: no such model (expected the folder or Hub id of a LLaVA model)")
    if model.use_peft and folder.resolve() == Path(base).resolve():
        raise RecipeError(f"output_dir: {folder} is the folder of the base; use another folder")
    if dfa.lora_vision_tower:
        if not model.use_peft:
            raise RecipeError("lora_vision_tower: expected use_peft: true; without it, there is no LoRA")
        for key, value in (
            ("freeze_vision_tower", dfa.freeze_vision_tower),
            ("lora_target_modules", model.lora_target_modules),
        ):
            if value:
                raise RecipeError(f"lora_vision_tower and {key} contradict each other; remove one of them")
    if not training.assistant_only_loss:
        raise RecipeError("assistant_only_loss: expected true: the loss covers only the answers")
    for dataset in data.datasets:
        share = dataset.fraction
        if share is not None and not (isinstance(share, int | float) and 0 < share <= 1):
            raise RecipeError(f"datasets: fraction: expected a number above 0 and up to 1, not {share!r}")
    for key in ("per_device_train_batch_size", "gradient_accumulation_steps", "max_length"):
        if (value := getattr(training, key)) is not None and value < 1:
            raise RecipeError(f"{key}: expected 1 or more, not {value}")
    if training.learning_rate < 0:
        raise RecipeError(f"learning_rate: expected 0 or more, not {training.learning_rate}")
    if model.dtype not in (None, "auto") and not isinstance(getattr(torch, model.dtype, None), torch.dtype):
        raise RecipeError(f"dtype: expected auto, float32, bfloat16 or float16, not {model.dtype}")
    targets = model.lora_target_modules or []
    for pattern in [targets] if isinstance(targets, str) else targets:
        try:
            re.compile(pattern)
        except re.error as error:
            raise RecipeError(f"lora_target_modules: {pattern} is not a regular expression: {error}") from error
    if training.load_best_model_at_end and training.metric_for_best_model not in ("loss", "eval_loss"):
        raise RecipeError(f"metric_for_best_model: expected eval_loss, not {training.metric_for_best_model}")
    for reporter in training.report_to:
        if reporter in ("tensorboard", "trackio") and find_spec(reporter) is None:
            raise RecipeError(f"report_to: {reporter} is not installed (pip install {reporter})")
