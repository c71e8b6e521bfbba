"""Open the work folder beside the output, and keep what an earlier run of the same build left there."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from dfa_instruct.annotate import Changing
from dfa_instruct.annotate.registry import ENTRY_POINTS as ANNOTATORS
from dfa_instruct.annotate.registry import annotator
from dfa_instruct.construction.fingerprint import STEPS, fingerprints
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.construction.work_folder import WorkFolder, atomic_path
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.plugins import plugin_versions
from dfa_instruct.sources.registry import ENTRY_POINTS as SOURCES
from dfa_instruct.techniques.registry import ENTRY_POINTS as TECHNIQUES


@contextmanager
def work_folder(folder: Path, recipe: Recipe) -> Iterator[WorkFolder]:
    """Open and lock the work folder of an output.

    The results of a step are removed if its fingerprint has changed, see `dfa_instruct.construction.fingerprint`. Then
    this step and the later ones run again.

    Raises:
        FileExistsError: The folder holds something else, or a build whose recipe lists or aligns other faces; or
            another process is building in it.
    """
    work = WorkFolder(folder.with_name(f"{folder.name}.build"))
    work.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work.root / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise FileExistsError(f"{work.root}: another process is building here") from error
    try:
        marks = work.root / "marks.json"
        before = json.loads(marks.read_text(encoding="utf-8")) if marks.is_file() else None
        if before is None and any(path.name != "lock" and path.name[0] != "." for path in work.root.iterdir()):
            raise FileExistsError(f"{work.root} contains something else; choose another output")
        content = json.loads(TypeAdapter(Recipe).dump_json(recipe)) | {"output": str(folder)}
        after = {"steps": fingerprints(content | _plug_ins(content, recipe)), "recipe": content}
        if before is not None:
            _remove_outdated(work, before, after)
        with atomic_path(marks) as path:
            path.write_text(json.dumps(after), encoding="utf-8")
        (work.root / "recipe.json").write_bytes(TypeAdapter(Recipe).dump_json(recipe))
        yield work
    finally:
        lock.release()


def _plug_ins(content: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's values that name plug-ins, templates or stored texts, with their versions or contents."""
    library = libraries(recipe.templates)
    described_by = annotator(recipe.annotator, library)
    texts = described_by.digest() if isinstance(described_by, Changing) else ""
    groups = {"sources": SOURCES, "techniques": TECHNIQUES, "annotator": ANNOTATORS}
    named = {key: [content[key], plugin_versions(group, json.dumps(content[key]))] for key, group in groups.items()}
    return named | {"annotator": [*named["annotator"], texts], "templates": repr(library)}


def _remove_outdated(work: WorkFolder, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Remove the results of the steps whose fingerprints have changed.

    Raises:
        FileExistsError: The recipe lists or aligns other faces. Then nothing is removed.
    """
    face_keys = {"output"}.union(*(step.recipe_keys for step in STEPS if step.folder in ("list", "margins", "faces")))
    old, new = before["recipe"], after["recipe"]
    if differs := [key for key in new if key in face_keys and old.get(key) != new[key]]:
        raise FileExistsError(
            f"{work.root} contains an unfinished build with another recipe (it differs in {', '.join(differs)}); "
            "remove the folder, or choose another output"
        )
    changed = [name for name, mark in after["steps"].items() if before["steps"].get(name) != mark]
    removed = [name for name in changed if (work.root / name).exists()]
    for name in changed:  # the marks of completed tasks go first
        shutil.rmtree(work.logs(name), ignore_errors=True)
        shutil.rmtree(work.root / name, ignore_errors=True)
    if removed:
        print(
            f"steps that run again, because their inputs or code changed: {', '.join(removed)}",
            file=sys.stderr,
            flush=True,
        )
