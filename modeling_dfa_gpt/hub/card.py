"""Model cards: how to load a model, its error rates beside those of the baselines, and how it was trained."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfa_instruct.bench.report.markdown import conversation_table, metrics_table
from dfa_instruct.hub import CARD
from dfa_instruct.vlm.load import ADAPTER_CONFIG
from dfa_instruct.vocabulary import CATEGORIES, FORGERY_CATEGORIES, BenchTask
from modeling_dfa_gpt.calibration import CALIBRATION_FILE, Calibration
from modeling_dfa_gpt.checkpoints import RUN_FILE

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard, SpaceCard

RESULTS_FILE: Final = "results.json"
LICENCE_KEYS: Final = ("license", "license_name", "license_link")
METRIC_TYPES: Final = {"acc": "accuracy", "rouge_l": "rouge", "rouge_l_forged": "rouge"}
"""The Hub's name of a metric, where it has another one."""
MAX_INVALID: Final = 10.0
"""Percent. If more answers of a task could not be parsed, its metrics measure the parser and not the model."""
STATE_FILE: Final = "trainer_state.json"
REWARD: Final = re.compile(r"rewards/(\w+)/mean")
"""The names of the logged rewards."""
STAGES: Final = 5
"""The number of parts of a training by rewards that a card shows."""
RECIPE: Final = (
    *("dtype", "bf16", "load_in_", "learning_rate", "projector_learning_rate", "lr_scheduler_type", "warmup_"),
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "max_length"),
    *("weight_decay", "optim", "lora_", "seed", "shared_prefix", "freeze_vision_tower", "load_best_model_at_end"),
)
"""Prefixes of the training settings that a card lists. They determine the result, and none of them is a path."""


@dataclass(frozen=True)
class Base:
    """The base model of an adapter.

    Attributes:
        name: Its name in a card.
        hub_id: Its Hub id, if it has one.
        licence: Its licence, as the Hub's metadata keys.
    """

    name: str
    hub_id: str | None = None
    licence: Mapping[str, str] = field(default_factory=dict)


def model_card(
    folder: Path, base: Base, results: dict[str, Any] | None = None, *, repo: str | None = None, merged: bool = False
) -> ModelCard:
    """Create the card of an adapter, or of the merged model.

    Args:
        folder: Folder of the adapter, with the records of its training and calibration.
        base: The base model.
        results: The `results.json` of DFA-Bench, or None if it was not measured.
        repo: The Hub repository of the card, or None for a local folder.
        merged: Whether the card is for the merged model.
    """
    from huggingface_hub import ModelCard, ModelCardData

    licence: dict[str, Any] = {"license": "unknown", **base.licence}
    run, calibration = _read(folder / RUN_FILE), _read(folder / CALIBRATION_FILE)
    measured = eval_results(results) if results else []
    data = ModelCardData(
        **licence,
        language=["en"],
        datasets=_datasets(run) if run else None,
        library_name="transformers" if merged else "peft",
        pipeline_tag="image-text-to-text",
        tags=["deepfake-detection", "face-forgery", "llava", *([] if merged else ["lora"])],
        base_model=base.hub_id,
        model_name=(repo.partition("/")[2] if repo else "DFA-GPT") if measured else None,
        eval_results=measured or None,
    )
    body = _render(
        "model_card",
        base=base,
        repo=repo,
        merged=merged,
        table=metrics_table(results) if results else None,
        baselines=bool(results and results.get("baselines")),
        images=results["counts"].get("bench", results["counts"])["images"] if results else None,
        unreadable=unreadable_tasks(results) if results else {},
        max_invalid=MAX_INVALID,
        errors=error_rates(results) if results else {},
        conversation=conversation_table(results["conversation"]) if results and "conversation" in results else None,
        calibration=Calibration(**calibration) if calibration else Calibration(),
        run=run,
        rewards=reward_curves(folder),
        recipe={key: value for key, value in run["settings"].items() if key.startswith(RECIPE)} if run else {},
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def reward_curves(folder: Path) -> dict[str, list[float]]:
    """Return the mean of each reward of `modeling_dfa_gpt.grpo` in `STAGES` equal parts of the training, in order.

    It is empty if the adapter was not trained by rewards.
    """
    history = (_read(folder / STATE_FILE) or {}).get("log_history", [])
    logged = [entry for entry in history if any(REWARD.fullmatch(key) for key in entry)]
    if not logged:
        return {}
    names = [match[1] for key in logged[0] if (match := REWARD.fullmatch(key))]
    parts = [part for part in np.array_split(np.arange(len(logged)), STAGES) if len(part)]
    return {name: [fmean(logged[place][f"rewards/{name}/mean"] for place in part) for part in parts] for name in names}


def card_of(adapter: Path, merged: bool = False) -> ModelCard:
    """Create the card of a local adapter, or of the merged model, from the files in the adapter's folder."""
    name = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    local = Path(name).is_dir()
    base = Base(f"`{Path(name).name if local else name}`", None if local else name, licence_of(name))
    return model_card(adapter, base, _read(adapter / RESULTS_FILE), merged=merged)


def licence_of(model: str) -> dict[str, str]:
    """Return the licence in a model's card, as the Hub's metadata keys.

    Args:
        model: The model's folder or Hub id.

    Returns:
        The licence. It is empty if there is no card or the Hub cannot be reached.
    """
    from huggingface_hub import ModelCard

    try:
        card = ModelCard.load(Path(model) / CARD if Path(model).is_dir() else model).data.to_dict()
    except (OSError, ValueError):
        return {}
    return {key: str(card[key]) for key in LICENCE_KEYS if card.get(key)}


def base_card(name: str, run: dict[str, Any]) -> str:
    """Render the card of a base of this package, `dfa-gpt-tiny` or `dfa-gpt-photo`, from its `run.json`."""
    return _render(name, **run)


def space_card(model: str, gradio: str, package: str) -> SpaceCard:
    """Create the card of a Space that opens a model.

    Args:
        model: Hub id of the model.
        gradio: Version of Gradio.
        package: Version of this package.
    """
    from huggingface_hub import SpaceCard, SpaceCardData

    data = SpaceCardData(
        title="Interactive deepfake analysis",
        emoji="🔎",
        colorFrom="gray",
        colorTo="indigo",
        sdk="gradio",
        sdk_version=gradio,
        python_version="3.11",
        app_file="app.py",
        license="apache-2.0",
        models=[model],
        short_description="Is this face forged, how, what gives it away?",
        tags=["deepfake-detection", "face-forgery"],
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_render('space', model=model, version=package)}")


def _render(card: str, **values: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    template = files("modeling_dfa_gpt.model_card").joinpath(f"{card}.md.jinja").read_text(encoding="utf-8")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(template).render(**values)


def eval_results(results: Mapping[str, Any]) -> list[EvalResult]:
    """Return the metrics in the Hub's form. The arguments of each one are the values of the baselines.

    Tasks of which more than `MAX_INVALID` percent of the answers could not be parsed are left out.
    """
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="image-text-to-text",
            task_name=BenchTask(task).abbreviation,
            dataset_type="dfa-instruct",
            dataset_name=f"DFA-Bench ({BenchTask(task).abbreviation})",
            dataset_split="test",
            metric_type=METRIC_TYPES.get(metric, metric),
            metric_name=f"{BenchTask(task).abbreviation} {metric.upper().replace('_', '-')} (percent)",
            metric_value=value,
            metric_args={
                f"baseline_{name}": baseline
                for name, figures in results.get("baselines", {}).items()
                if (baseline := figures.get(task, {}).get(metric)) is not None
            }
            or None,
        )
        for task, figures in results["tasks"].items()
        if BenchTask(task).abbreviation not in unreadable_tasks(results)
        for metric, value in figures.items()
        if value is not None
    ]


def unreadable_tasks(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the tasks of which too many answers could not be parsed, with the percentage of these answers."""
    shares = {BenchTask(task).abbreviation: figures.get("invalid") for task, figures in results["tasks"].items()}
    return {task: share for task, share in shares.items() if share is not None and share > MAX_INVALID}


def error_rates(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the percentage of wrong DF-D labels: for bona fide faces, for each category and for each technique."""
    details = results["details"].get(BenchTask.DF_D, {})
    names = {"bpcer": CATEGORIES["bona_fide"]} | {f"apcer_{c}": CATEGORIES[c] for c in FORGERY_CATEGORIES}
    rates = {name: details.get(key) for key, name in names.items()} | results.get("scores", {}).get("techniques", {})
    return {name: rate for name, rate in rates.items() if rate is not None and name not in ("macro", "worst")}


def _datasets(run: Mapping[str, Any]) -> list[str]:
    """Return the names of the datasets that a run was trained on, without local folders."""
    names = [str(dataset["path"]) for dataset in run["settings"].get("datasets", ())]
    return sorted({name for name in names if name.count("/") < 2 and name[:1] not in "./~" and not Path(name).exists()})


def _read(file: Path) -> dict[str, Any] | None:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
