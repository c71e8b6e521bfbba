"""Running one of the tiny recipes as a user would: by `accelerate launch`, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

from dfa_instruct.dataset import DIRECTORY_ENV

RECIPES = files("modeling_dfa_gpt.recipes")
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""For glibc: large tensors are not given back to the system and faulted in anew at every step."""


def launch_training(
    recipe: str, model: Path, output: Path, data: Path, seed: int, max_steps: int | None = None
) -> None:
    """Run `recipes/dfa-gpt-tiny/<recipe>.yaml` on a base and a dataset folder, for its own steps or for so many.

    Raises:
        subprocess.CalledProcessError: the training failed; it has said why.
    """
    with as_file(RECIPES) as recipes:
        subprocess.run(
            [sys.executable, "-m", "accelerate.commands.launch", "--quiet"]
            + ["--config_file", str(recipes / "accelerate_configs" / "cpu.yaml"), "-m", "modeling_dfa_gpt.sft"]
            + ["--config", str(recipes / "dfa-gpt-tiny" / f"{recipe}.yaml")]
            + ["--model_name_or_path", str(model.resolve()), "--output_dir", str(output), "--seed", str(seed)]
            + ([] if max_steps is None else ["--max_steps", str(max_steps)]),
            env={**os.environ, **KEEP_MEMORY, DIRECTORY_ENV: str(data)},
            check=True,
        )
