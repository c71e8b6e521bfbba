"""The work folder beside the output: a new one, or the one that the same build left, with what of it can be kept."""

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
from dfa_instruct.construction.fingerprint import STEPS, fingerprints, keys_read_by
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.construction.work_folder import WorkFolder, whole
from dfa_instruct.plugins import plugin_versions
from dfa_instruct.sources.registry import ENTRY_POINTS as SOURCES
from dfa_instruct.techniques.registry import ENTRY_POINTS as TECHNIQUES


@contextmanager
def work_folder(folder: Path, recipe: Recipe) -> Iterator[WorkFolder]:
    """Open the work folder of an output, and lock it.

    If something that a step depends on has changed (see `dfa_instruct.construction.fingerprint`), that step and the
    steps after it run again. The results of earlier steps are kept.

    Raises:
        FileExistsError: it is another build's, whose recipe lists or aligns other faces; or another process is at work
            in it.
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
            raise FileExistsError(f"{work.root} holds something else; name another output")
        content = json.loads(TypeAdapter(Recipe).dump_json(recipe)) | {"output": str(folder)}
        after = {"steps": fingerprints(content | _named_by(content, recipe)), "recipe": content}
        if before is not None:
            _keep_what_holds(work, before, after)
        with whole(marks) as path:
            path.write_text(json.dumps(after), encoding="utf-8")
        (work.root / "recipe.json").write_bytes(TypeAdapter(Recipe).dump_json(recipe))
        yield work
    finally:
        lock.release()


def _named_by(content: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe says where it names what lies outside of this package, with what is found there now: the
    releases of plug-ins, and all that the annotator may say, where that may change.
    """
    described_by = annotator(recipe.annotator)
    words = described_by.digest() if isinstance(described_by, Changing) else ""
    groups = {"sources": SOURCES, "techniques": TECHNIQUES, "annotator": ANNOTATORS}
    named = {key: [content[key], plugin_versions(group, json.dumps(content[key]))] for key, group in groups.items()}
    return named | {"annotator": [*named["annotator"], words]}


def _keep_what_holds(work: WorkFolder, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Remove what the steps made whose fingerprints have changed; of another build's faces, remove nothing.

    Raises:
        FileExistsError: see `work_folder`.
    """
    of_faces = {"output"}.union(*(keys_read_by(STEPS[step]) for step in ("list", "margins", "faces")))
    recipes = before["recipe"], after["recipe"]
    differs = [key for key in after["recipe"] if key in of_faces and recipes[0].get(key) != recipes[1][key]]
    if differs:
        raise FileExistsError(
            f"{work.root} holds what another build has begun (the recipe differs in {', '.join(differs)}); "
            "remove it, or name another output"
        )
    changed = [step for step in STEPS if before["steps"].get(step) != after["steps"][step]]
    removed = [step for step in changed if (work.root / step).exists()]
    for step in changed:  # what says that a part is there goes first
        shutil.rmtree(work.logs(step), ignore_errors=True)
        shutil.rmtree(work.root / step, ignore_errors=True)
    if removed:
        print(f"done anew, for what they depend on has changed: {', '.join(removed)}", file=sys.stderr, flush=True)
