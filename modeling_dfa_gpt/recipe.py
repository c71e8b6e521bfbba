"""A training recipe: TRL's own keys and ours, read from YAML and checked before any work starts.

A recipe's keys are the fields of TRL's `SFTConfig`, `ModelConfig` and `DatasetMixtureConfig`, and those of
`DfaArguments`; any of them can be overridden on the command line.
"""

from __future__ import annotations

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
from modeling_dfa_gpt.lora import check_targets


@dataclass
class DfaArguments:
    """What a recipe may say beyond TRL's own keys."""

    abilities: list[str] | None = field(
        default=None,
        metadata={
            "help": "Learn the questions of these abilities only, of dfa-instruct's conversations: df_d; df_d df_c; "
            "df_d df_c ad; df_d df_c ad fc (Table II of the paper)."
        },
    )
    shared_prefix: bool | None = field(
        default=None,
        metadata={
            "help": "Pack the questions of a `conversations` row behind one copy of its image. Default: wherever the "
            "attention implementation takes a mask that branches (sdpa)."
        },
    )
    projector_learning_rate: float | None = field(
        default=None, metadata={"help": "The projector's own learning rate; default: that of the rest."}
    )
    freeze_vision_tower: bool = field(
        default=False, metadata={"help": "Without an adapter: train all but the vision tower."}
    )
    chat_template: Literal["vicuna_v1"] | None = field(
        default=None, metadata={"help": "Train with this conversation instead of the base's own chat template."}
    )
    validation_split: str | None = field(
        default=None, metadata={"help": "The split of the same datasets whose loss is validated."}
    )


def config_of(path: str, name: str | None, abilities: Any) -> str | None:
    """Return the config of a dataset that holds the questions of some abilities; `name` where none are chosen.

    Raises:
        RecipeError: an ability is unknown, or no config holds just these, or it is another dataset.
    """
    if abilities is None:
        return name
    known = ", ".join(ABILITIES)
    if not isinstance(abilities, list):
        raise RecipeError(f"abilities: expected a list of {known}, not {abilities!r}")
    for ability in abilities:
        if ability not in ABILITIES:
            raise RecipeError(f"abilities: unknown ability {ability!r}{nearest(str(ability), list(ABILITIES))}")
    if path != DATASET_NAME or name not in CONVERSATIONS:
        raise RecipeError(f"abilities: expected the dataset {DATASET_NAME}, conversations, not {path}, {name}")
    config = next((config for config, held in CONVERSATIONS.items() if set(held) == set(abilities)), None)
    if config is None:
        held = "; ".join(" ".join(held) for held in CONVERSATIONS.values())
        raise RecipeError(f"abilities: expected one of: {held}; not: {' '.join(abilities)}")
    return config


def recipe_parser() -> Any:
    """Make TRL's parser for all that a recipe may say; it raises RecipeError where argparse would exit."""
    from trl import DatasetMixtureConfig, ModelConfig, SFTConfig, TrlParser

    class OneLineParser(TrlParser):
        def error(self, message: str) -> NoReturn:  # argparse would print every option there is
            raise RecipeError(message)

    kinds: Any = (DatasetMixtureConfig, SFTConfig, ModelConfig, DfaArguments)
    return OneLineParser(kinds)


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a YAML recipe and refuse an unknown key, naming the nearest one that is known.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a mapping of keys to values, or a RecipeError where a key is unknown.
    """
    from trl.scripts.utils import DatasetConfig

    recipe = read_mapping(path)
    refuse_unknown(recipe, {action.dest for action in recipe_parser()._actions} | {"env"}, f"{path}:")
    datasets = recipe.get("datasets", [])
    if not isinstance(datasets, list) or not all(isinstance(dataset, dict) for dataset in datasets):
        raise RecipeError(f"{path}: datasets: expected a list of {{path, name, split}}")
    for dataset in datasets:
        refuse_unknown(dataset, {f.name for f in fields(DatasetConfig)}, f"{path}: datasets:")
        if "path" not in dataset:
            raise RecipeError(f"{path}: datasets: path is missing: expected the name of a dataset, as in dfa-instruct")
    return recipe


def refuse_unknown(keys: Iterable[str], known: set[str], where: str) -> None:
    """Raise RecipeError at the first key that is not known."""
    for key in keys:
        if key not in known:
            raise RecipeError(f"{where} unknown key {key!r}{nearest(str(key), sorted(known))}")


@dataclass
class Recipe:
    """A recipe with what the command line changed.

    Attributes:
        data: TRL's `DatasetMixtureConfig`.
        training: TRL's `SFTConfig`.
        model: TRL's `ModelConfig`.
        dfa: ours.
        settings: the keys that were given, with their values.
    """

    data: Any
    training: Any
    model: Any
    dfa: DfaArguments
    settings: dict[str, Any]


def parse_recipe(arguments: list[str]) -> Recipe:
    """Parse `--config RECIPE` and overriding options; bf16 is on by default where there is a GPU.

    Raises:
        RecipeError: see `read_recipe`; or no recipe is named, or it names no model or dataset.
    """
    import torch

    parser = recipe_parser()
    if {"-h", "--help"} & set(arguments):
        parser.print_help()
        raise SystemExit(0)
    if "--config" not in arguments[:-1]:
        raise RecipeError("--config RECIPE is missing")
    path = Path(arguments[arguments.index("--config") + 1])

    recipe = read_recipe(path)
    known = {action.dest for action in parser._actions}
    given = [a.removeprefix("--").split("=")[0].replace("-", "_") for a in arguments if a.startswith("--")]
    refuse_unknown(given, known | {"config"}, "command line:")
    gpu = torch.cuda.is_available()
    # without use_cpu, processes on a CPU would not find each other and each train a model of its own
    use_cpu = not torch.accelerator.is_available()
    parser.set_defaults(bf16=gpu, dataloader_pin_memory=gpu, use_cpu=use_cpu)
    data, training, model, dfa = parser.parse_args_and_config(arguments)
    if model.model_name_or_path is None:
        raise RecipeError(f"{path}: model_name_or_path is missing: expected a LLaVA's folder or Hub id")
    if not data.datasets:
        raise RecipeError(f"{path}: datasets is missing: expected a list of {{path, name, split}}")
    data.datasets = [
        replace(dataset, name=config_of(dataset.path, dataset.name, dfa.abilities)) for dataset in data.datasets
    ]
    check_values(data, training, model)
    parsed = {f.name: getattr(part, f.name) for part in (data, training, model, dfa) for f in fields(part)}
    settings = {key: parsed[key] for key in sorted({*recipe, *given} - {"config", "env", "datasets"})}
    settings["datasets"] = [asdict(dataset) for dataset in data.datasets]
    return Recipe(data, training, model, dfa, settings)


def check_values(data: Any, training: Any, model: Any) -> None:
    """Refuse values that would fail only after minutes, or train something else than they say.

    Raises:
        RecipeError: naming the key and what was expected.
    """
    import torch

    base, folder = model.model_name_or_path, Path(training.output_dir)
    if not is_model(base):
        raise RecipeError(f"model_name_or_path: {base}: no such model (expected a LLaVA's folder or Hub id)")
    if model.use_peft and folder.resolve() == Path(base).resolve():
        raise RecipeError(f"output_dir: {folder} is the base itself; name another folder")
    if not training.assistant_only_loss:
        raise RecipeError("assistant_only_loss: expected true: the loss is taken on answers only")
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
    check_targets(model.lora_target_modules)
    if training.load_best_model_at_end and training.metric_for_best_model not in ("loss", "eval_loss"):
        raise RecipeError(f"metric_for_best_model: expected eval_loss, not {training.metric_for_best_model}")
    for reporter in training.report_to:
        if reporter in ("tensorboard", "trackio") and find_spec(reporter) is None:
            raise RecipeError(f"report_to: {reporter} is not installed (pip install {reporter})")
