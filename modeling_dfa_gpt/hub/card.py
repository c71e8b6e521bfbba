"""The model card: how to load it, how often it errs beside what a constant answer would, how it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
"""Metric → what the Hub calls its kind, where it has a word for it."""
MOST_INVALID: Final = 10.0
"""Percent. Figures of a task of which more answers could not be read measure the reading, and not the model."""
RECIPE: Final = (
    *("dtype", "bf16", "load_in_", "learning_rate", "projector_learning_rate", "lr_scheduler_type", "warmup_"),
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "max_length"),
    *("weight_decay", "optim", "lora_", "seed", "shared_prefix", "freeze_vision_tower", "load_best_model_at_end"),
)
"""The settings that a card repeats, by how the key begins: what is learnt follows from them, and none is a path."""


@dataclass(frozen=True)
class Base:
    """What an adapter was trained on: its name in a card, its Hub id if it has one, its licence in the Hub's keys."""

    name: str
    hub_id: str | None = None
    licence: Mapping[str, str] = field(default_factory=dict)


def model_card(
    folder: Path, base: Base, results: dict[str, Any] | None = None, *, repo: str | None = None, merged: bool = False
) -> ModelCard:
    """Make the card of an adapter, or of what it was merged into.

    Args:
        folder: the adapter's; what it says of its training and calibration is repeated.
        base: what it was trained on.
        results: `results.json` of DFA-Bench; none: nothing was measured.
        repo: the Hub repository that the card is for; none: a folder.
        merged: the card is of the merged model.
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
        images=_bench_counts(results)["images"] if results else None,
        unread=unread(results) if results else {},
        most_invalid=MOST_INVALID,
        errors=error_rates(results) if results else {},
        conversation=conversation_table(results["conversation"]) if results and "conversation" in results else None,
        calibration=Calibration(**calibration) if calibration else Calibration(),
        run=run,
        recipe={key: value for key, value in run["settings"].items() if key.startswith(RECIPE)} if run else {},
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def card_of(adapter: Path, merged: bool = False) -> ModelCard:
    """Make the card of an adapter on this machine, or of what it was merged into, from what its folder holds."""
    named = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    local = Path(named).is_dir()
    base = Base(f"`{Path(named).name if local else named}`", None if local else named, licence_of(named))
    return model_card(adapter, base, _read(adapter / RESULTS_FILE), merged=merged)


def licence_of(model: str) -> dict[str, str]:
    """Return the licence that the card of a model's folder, or of its Hub repository, states, in the Hub's keys.

    Empty where there is no such card, or where the Hub cannot be asked.
    """
    from huggingface_hub import ModelCard

    try:
        card = ModelCard.load(Path(model) / CARD if Path(model).is_dir() else model).data.to_dict()
    except (OSError, ValueError):
        return {}
    return {key: str(card[key]) for key in LICENCE_KEYS if card.get(key)}


def base_card(run: dict[str, Any]) -> str:
    """Render the tiny base's card from the record of its training, `run.json`."""
    return _render("tiny_base", **run)


def space_card(model: str, gradio: str, ours: str) -> SpaceCard:
    """Make the card of a Space: which model its page opens, and which versions of Gradio and of this package run it."""
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
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_render('space', model=model, version=ours)}")


def _render(card: str, **values: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    template = files("modeling_dfa_gpt.model_card").joinpath(f"{card}.md.jinja").read_text(encoding="utf-8")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(template).render(**values)


def eval_results(results: Mapping[str, Any]) -> list[EvalResult]:
    """Lay the measured figures out for the Hub, each with the same figure of every baseline as its arguments.

    A task of which more than `MOST_INVALID` percent of the answers could not be read is left out.
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
                f"baseline_{name}": beside
                for name, figures in results.get("baselines", {}).items()
                if (beside := figures.get(task, {}).get(metric)) is not None
            }
            or None,
        )
        for task, figures in results["tasks"].items()
        if BenchTask(task).abbreviation not in unread(results)
        for metric, value in figures.items()
        if value is not None
    ]


def unread(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the tasks of which too many answers could not be read, each with their percentage."""
    shares = {BenchTask(task).abbreviation: figures.get("invalid") for task, figures in results["tasks"].items()}
    return {task: share for task, share in shares.items() if share is not None and share > MOST_INVALID}


def error_rates(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the percentage of faces whose label DF-D got wrong: of the bona fide, by category, by technique."""
    details = results["details"].get(BenchTask.DF_D, {})
    names = {"bpcer": CATEGORIES["bona_fide"]} | {f"apcer_{c}": CATEGORIES[c] for c in FORGERY_CATEGORIES}
    rates = {name: details.get(key) for key, name in names.items()} | results.get("scores", {}).get("techniques", {})
    return {name: rate for name, rate in rates.items() if rate is not None and name not in ("macro", "worst")}


def _bench_counts(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the counts of DFA-Bench; a quickstart's results have those of its dataset beside them."""
    counts: Mapping[str, Any] = results["counts"]
    return counts.get("bench", counts)


def _datasets(run: Mapping[str, Any]) -> list[str]:
    """Return the datasets that a run was trained on, by their names; a folder of somebody's disk is not one."""
    named = [str(dataset["path"]) for dataset in run["settings"].get("datasets", ())]
    return sorted({name for name in named if name.count("/") < 2 and name[:1] not in "./~" and not Path(name).exists()})


def _read(file: Path) -> dict[str, Any] | None:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
