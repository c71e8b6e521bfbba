"""Compute a fingerprint for each step of a build.

A build that continues after an interruption keeps the results of every step whose fingerprint is unchanged. What a step
depends on is declared beside its code, see `Step.recipe_keys` and `Step.depends_on`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from dfa_instruct.construction.steps.align_faces import AlignFaces
from dfa_instruct.construction.steps.find_margins import FindMargins
from dfa_instruct.construction.steps.list_items import ListItems
from dfa_instruct.construction.steps.make_rows import MakeRows
from dfa_instruct.construction.steps.plan import Plan
from dfa_instruct.construction.work_folder import Step

PACKAGE: Final = Path(__file__).parents[1]
STEPS: Final[tuple[type[Step], ...]] = (ListItems, FindMargins, AlignFaces, Plan, MakeRows)
"""The steps in the order in which they run. Each step reads what the earlier steps wrote."""


def digest_of(paths: Iterable[str | Path]) -> str:
    """Hash the contents of files and folders.

    Args:
        paths: Files or folders, absolute or relative to the package. Hidden files and byte code are ignored.
    """
    digest = hashlib.sha256()
    for path in paths:
        root = PACKAGE / path
        for file in sorted(root.rglob("[!.]*")) if root.is_dir() else [root]:
            if file.is_file() and file.suffix != ".pyc":
                digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def fingerprints(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Return the fingerprint of each step, by the name of its folder.

    A fingerprint covers the files that the step depends on, the values of its recipe keys, and the fingerprint of the
    step before it.

    Args:
        recipe: The recipe's keys and values in JSON form.
    """
    found: dict[str, str] = {}
    previous = ""
    for step in STEPS:
        values = {key: recipe[key] for key in step.recipe_keys if key in recipe}
        content = json.dumps([previous, digest_of(step.depends_on), values], sort_keys=True)
        found[step.folder] = previous = hashlib.sha256(content.encode()).hexdigest()
    return found
