"""The recipe of the tiny model with changes, for tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

RECIPE = Path(__file__).parents[1] / "recipes" / "dfa-gpt-tiny" / "sft.yaml"


def tiny_recipe(folder: Path, base: Path, **changes: Any) -> Path:
    """Write a recipe that trains into `run` in the folder, and return its path."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    recipe |= {"model_name_or_path": str(base), "output_dir": str(folder / "run"), **changes}
    folder.mkdir(exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path
