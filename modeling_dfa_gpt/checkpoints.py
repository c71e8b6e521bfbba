"""Record what produced a training run, and find the checkpoint from which to resume it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dfa_instruct.dataset import DIRECTORY_ENV
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.recipe import Recipe

RUN_FILE = "run.json"
CHANGEABLE = ("dataloader_", "dataset_num_proc", "disable_tqdm", "include_num", "logging_", "output_dir", "report_to")
"""Prefixes of the recipe keys that may change when a run is resumed, because they do not affect the weights."""
STATES = ("optimizer", "scheduler", "scaler", "rng_state", "trainer_state", "training_args", "latest", "zero_to_fp32")
"""Prefixes of the checkpoint files that are needed only to resume."""


def describe_run(recipe: Recipe, rows: Any, model: Any) -> dict[str, Any]:
    """Return the settings, data, base, package versions and commit of a run.

    The SHA-256 of the data covers every column except the images, which the `face_id`s identify.
    """
    is_streamed = not hasattr(rows, "__len__")
    digest = hashlib.sha256()
    if not is_streamed:
        for row in rows.select_columns([name for name in rows.column_names if name not in ("image", "images")]):
            digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
    packages = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "dfa-instruct")
    return {
        "settings": json.loads(json.dumps(recipe.settings, default=str)),
        "data": {
            "directory": os.environ.get(DIRECTORY_ENV),
            "rows": None if is_streamed else len(rows),
            "sha256": None if is_streamed else digest.hexdigest(),
        },
        "base": {"name": recipe.model.model_name_or_path, "commit": getattr(model.config, "_commit_hash", None)},
        "versions": {package: version(package) for package in packages},
        "commit": source_commit(),
    }


def source_commit() -> str | None:
    """Return the commit of this package with `-dirty` if it was changed, or None outside its repository."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    describe = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True)
        return subprocess.run(describe, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def check_same_run(folder: Path, run: dict[str, Any]) -> None:
    """Raise RecipeError if the checkpoints in a folder belong to a run with other settings or other data."""
    if not (folder / RUN_FILE).is_file():
        raise RecipeError(f"output_dir: {folder} contains checkpoints but no {RUN_FILE}; use another folder")
    previous = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    old, new = previous["settings"], run["settings"]
    changed = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k) and not k.startswith(CHANGEABLE)]
    if previous["data"]["sha256"] != run["data"]["sha256"]:
        changed.append("data")
    if changed:
        raise RecipeError(
            f"output_dir: {folder} contains checkpoints of a run with different settings ({', '.join(changed)}); "
            "use another folder, or remove them"
        )


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in the folder of a run, or None.

    Trainer writes `trainer_state.json` last, so a run that was killed may leave a newer checkpoint without a readable
    one. Transformers' `get_last_checkpoint` would return that checkpoint.
    """
    from transformers.trainer_utils import sort_checkpoints

    for checkpoint in reversed(sort_checkpoints(os.fspath(folder))):
        try:
            json.loads(Path(checkpoint, "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return Path(checkpoint)
    return None


def finished_checkpoint(checkpoint: Path, best: bool) -> Path | None:
    """Return the checkpoint with the last (or `best`) model if `checkpoint` completes its training, else None.

    If Trainer resumed a complete training, it would take another step.
    """
    from transformers import TrainerState

    state = TrainerState.load_from_json(os.fspath(checkpoint / "trainer_state.json"))
    if state.global_step < state.max_steps:
        return None
    return Path(state.best_model_checkpoint) if best and state.best_model_checkpoint else checkpoint


def publish_checkpoint(checkpoint: Path, last: Path, folder: Path) -> None:
    """Copy the model and processor of a checkpoint, and the training history of the last one, to a folder."""
    for file in checkpoint.iterdir():
        if file.is_file() and not file.name.startswith((*STATES, "README")):
            shutil.copyfile(file, folder / file.name)
    shutil.copyfile(last / "trainer_state.json", folder / "trainer_state.json")
