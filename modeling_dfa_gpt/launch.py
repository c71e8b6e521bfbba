"""Run a training recipe of this package in its own process with `accelerate launch`, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

from dfa_instruct.dataset import DIRECTORY_ENV

RECIPES = files("modeling_dfa_gpt.recipes")
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""Settings for glibc that keep the memory of large tensors instead of requesting it again in every step."""


def launch_training(
    recipe: str, model: Path, output: Path, data: Path, seed: int, max_steps: int | None = None
) -> None:
    """Train with a recipe of this package.

    Args:
        recipe: The recipe's path below `recipes`, without its ending.
        model: Folder of the base model.
        output: Folder for the result.
        data: The dataset folder.
        seed: Seed of the training.
        max_steps: Number of steps, or None for those of the recipe.

    Raises:
        subprocess.CalledProcessError: The training failed. It has printed the reason.
    """
    with as_file(RECIPES) as recipes:
        subprocess.run(
            [sys.executable, "-m", "accelerate.commands.launch", "--quiet"]
            + ["--config_file", str(recipes / "accelerate_configs" / "cpu.yaml"), "-m", "modeling_dfa_gpt.sft"]
            + ["--config", str(recipes / f"{recipe}.yaml")]
            + ["--model_name_or_path", str(model.resolve()), "--output_dir", str(output), "--seed", str(seed)]
            + ([] if max_steps is None else ["--max_steps", str(max_steps)]),
            env={**os.environ, **KEEP_MEMORY, DIRECTORY_ENV: str(data)},
            check=True,
        )
