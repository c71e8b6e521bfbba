"""What a run is resumed from: `run.json`, which says what made it, and its checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.recipe import Recipe

RUN_FILE = "run.json"
CHANGEABLE = ("dataloader_", "dataset_num_proc", "disable_tqdm", "include_num", "logging_", "output_dir", "report_to")
"""How the keys begin that may change when a run is resumed: they change nothing that is learnt."""
STATES = ("optimizer", "scheduler", "scaler", "rng_state", "trainer_state", "training_args", "latest", "zero_to_fp32")
"""How the names of those files of a checkpoint begin that only serve to resume."""


def describe_run(recipe: Recipe, rows: Any, model: Any) -> dict[str, Any]:
    """Say what makes this run: settings, data, base, versions and commit.

    The data's fingerprint is the SHA-256 of every row but its pictures, whose hashes are the `face_id`s.
    """
    digest = hashlib.sha256()
    if hasattr(rows, "__len__"):
        for row in rows.remove_columns(["images"]):
            digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
    packages = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "dfa-instruct")
    return {
        "settings": json.loads(json.dumps(recipe.settings, default=str)),
        "data": {
            "directory": os.environ.get("DFA_INSTRUCT_DIR"),
            "rows": len(rows) if hasattr(rows, "__len__") else None,
            "sha256": digest.hexdigest() if hasattr(rows, "__len__") else None,
        },
        "base": {"name": recipe.model.model_name_or_path, "commit": getattr(model.config, "_commit_hash", None)},
        "versions": {package: version(package) for package in packages},
        "commit": source_commit(),
    }


def source_commit() -> str | None:
    """Return the commit of this file, `-dirty` where it was changed since; None outside of its repository."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True)
        named = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(named, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def refuse_other_run(folder: Path, run: dict[str, Any]) -> None:
    """Raise RecipeError where the folder's checkpoints are of a run with other settings or data."""
    if not (folder / RUN_FILE).is_file():
        raise RecipeError(f"output_dir: {folder} holds checkpoints of an unknown run; name another folder")
    before = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    old, new = before["settings"], run["settings"]
    changed = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k) and not k.startswith(CHANGEABLE)]
    if before["data"]["sha256"] != run["data"]["sha256"]:
        changed.append("the data")
    if changed:
        raise RecipeError(
            f"output_dir: {folder} holds checkpoints of a run with another {', another '.join(changed)}; "
            "name another folder, or remove them"
        )


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in a run's folder that was written to its end, if there is one.

    Trainer writes `trainer_state.json` last; a run that was killed may have left a checkpoint without it or half of it.
    """
    found = {int(path.name.split("-")[-1]): path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*[0-9]")}
    for _, path in sorted(found.items(), reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return path
    return None


def end_of_training(checkpoint: Path, best: bool) -> Path | None:
    """Return the checkpoint of the model where a training is at its end: `checkpoint`, or the `best`; else None.

    Trainer, resumed at the last step, would make one step more.
    """
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    if state["global_step"] < state["max_steps"]:
        return None
    return Path(state["best_model_checkpoint"]) if best and state["best_model_checkpoint"] else checkpoint


def publish_checkpoint(checkpoint: Path, last: Path, folder: Path) -> None:
    """Copy the model and the processor of a checkpoint, the best perhaps, and the last one's history, to a folder."""
    for file in checkpoint.iterdir():
        if file.is_file() and not file.name.startswith((*STATES, "README")):
            shutil.copyfile(file, folder / file.name)
    shutil.copyfile(last / "trainer_state.json", folder / "trainer_state.json")
