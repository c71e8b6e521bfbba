"""What goes out with a model: its card, and of a checkpoint only what others load."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

from dfa_instruct.bench.report import metrics_table

STATES = ("optimizer", "scheduler", "scaler", "rng_state", "trainer_state", "training_args", "latest", "zero_to_fp32")
"""How the names of a checkpoint's files begin that only serve to go on."""


def model_card(base: str, results: dict[str, Any] | None = None) -> str:
    """Render an adapter's card, with its figures beside the baselines' where it was measured.

    Args:
        base: what the adapter was trained on, in words.
        results: those of the quickstart, see `modeling_dfa_gpt.quickstart`.
    """
    measured = {"images": results["counts"]["bench"]["images"], "table": metrics_table(results)} if results else {}
    return _render("model_card", base=base, **{"table": None, **measured})


def base_card(run: dict[str, Any]) -> str:
    """Render the tiny base's card from the record of its training, `run.json`."""
    return _render("tiny_base", **run)


def _render(card: str, **values: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    template = files("modeling_dfa_gpt.model_card").joinpath(f"{card}.md.jinja").read_text(encoding="utf-8")
    return Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(template).render(**values)


def publish_checkpoint(checkpoint: Path, last: Path, folder: Path) -> None:
    """Copy the model and the processor of a checkpoint, the best perhaps, and the last one's history, to a folder."""
    for file in checkpoint.iterdir():
        if file.is_file() and not file.name.startswith((*STATES, "README")):
            shutil.copyfile(file, folder / file.name)
    shutil.copyfile(last / "trainer_state.json", folder / "trainer_state.json")
