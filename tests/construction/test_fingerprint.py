"""What a continued build keeps: an edit to a step repeats it and the later steps, an edit elsewhere nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import portraits
from PIL import Image
from test_layout import MODULES, PACKAGE, graph, parsed

from dfa_instruct.annotate.decisions import Decision, Decisions
from dfa_instruct.annotate.store import Outcome, Request, Store
from dfa_instruct.construction.fingerprint import STEPS, fingerprints
from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.construction.resume import work_folder
from dfa_instruct.construction.work_folder import Step
from dfa_instruct.instruct import templates

NAMES = [step.folder for step in STEPS]
FEW = Recipe([{"kind": "sample", "identities": 4, "pictures": 2}], size=64)
EDITS = {
    "verify/verify.py": [],
    "bench/metrics.py": [],
    "cli.py": [],
    "construction/closing_table.py": [],
    "construction/executors.py": [],
    "construction/resume.py": [],
    "dataset/writer.py": [],
    "review/reviewer.py": [],
    "evidence/paired.py": ["rows"],
    "annotate/measured.py": ["rows"],
    "instruct/templates/fc.yaml": ["rows"],
    "splits.py": ["plan", "rows"],
    "techniques/face_swapping.py": ["plan", "rows"],
    "pairs.py": ["faces", "plan", "rows"],
    "construction/steps/align_faces.py": ["faces", "plan", "rows"],
    "construction/steps/find_margins.py": ["margins", "faces", "plan", "rows"],
    "sources/df40.py": NAMES,
    "vocabulary.py": NAMES,
}
"""File → the steps that are repeated after an edit to it."""
BUILD = """
import sys
from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe

build(Recipe([{"kind": "sample", "identities": 4, "pictures": 2}], size=64, output=sys.argv[1]), workers=1)
"""


def run(program: str, package: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=package, capture_output=True, text=True)


def edit(package: Path, file: str) -> None:
    with (package / "dfa_instruct" / file).open("a", encoding="utf-8") as text:
        text.write("\n# an edit\n")


def test_every_module_that_a_step_imports_is_declared() -> None:
    arrows, declared = graph(), []
    for step in STEPS:
        declared += step.depends_on
        found: set[str] = set()
        waiting = {step.__module__}
        while waiting:
            found.add(name := waiting.pop())
            waiting |= arrows[name] - found
        files = [MODULES[name] for name in found if len(parsed(MODULES[name]).body) > 1]  # more than a docstring
        names = [file.relative_to(PACKAGE) for file in files]
        assert [str(name) for name in names if not any(name.is_relative_to(room) for room in declared)] == [], step
    assert [room for room in declared if not (PACKAGE / room).exists()] == []


@pytest.fixture
def undeclared(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recipe], dict[str, set[str]]]:
    """A function that runs a build and returns, for each step that reads recipe keys, those that are not declared."""
    keys = {field.name for field in fields(Recipe)}
    read: dict[type[Step], set[str]] = defaultdict(set)
    running: list[type[Step]] = []

    def record(recipe: Recipe, name: str) -> Any:
        if running and name in keys:
            read[running[-1]].add(name)
        return object.__getattribute__(recipe, name)

    def recorded(run: Callable[..., None]) -> Callable[..., None]:
        def run_recorded(step: Step, *arguments: Any, **named: Any) -> None:
            running.append(type(step))
            run(step, *arguments, **named)
            running.pop()

        return run_recorded

    def build_recorded(recipe: Recipe) -> dict[str, set[str]]:
        monkeypatch.setattr(Recipe, "__getattribute__", record)
        for step in STEPS:
            monkeypatch.setattr(step, "run", recorded(step.run))
        build(recipe, workers=1)
        return {step.folder: found - {*step.recipe_keys} for step, found in read.items()}

    return build_recorded


def test_the_recipe_keys_that_the_steps_read_of_drawn_faces_are_declared(undeclared: Any, tmp_path: Path) -> None:
    sources = [{"kind": "sample", "identities": 12, "pictures": 2}]
    recipe = Recipe(sources, size=64, forgeries_per_face=1.0, output=str(tmp_path / "dfa-instruct"))
    assert undeclared(recipe) == {
        name: set() for name in NAMES if name != "margins"
    }  # that step reads photographs only


@pytest.mark.usefixtures("landmarker")
def test_the_recipe_keys_that_the_steps_read_of_photographs_are_declared(undeclared: Any, tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    shown = portraits(16, 256)
    for number, picture in enumerate([np.hstack(shown[:2]), *shown[2:]]):  # the first picture shows two people
        Image.fromarray(picture).save(tmp_path / "people" / f"{number}.png")
    sources = [{"kind": "folder", "root": str(tmp_path / "people")}]
    recipe = Recipe(sources, size=64, near_duplicates=-1, output=str(tmp_path / "dfa-instruct"))
    assert undeclared(recipe) == {name: set() for name in NAMES}


def test_an_edit_concerns_the_steps_that_declare_the_file_and_those_after_them(copied_package: Path) -> None:
    program = f"""
import json, pathlib
import dfa_instruct.construction.fingerprint as f
found = {{}}
assert f.PACKAGE.parent == pathlib.Path.cwd()
for file in {["", *EDITS]!r}:
    path = f.PACKAGE / file
    before = path.read_bytes() if file else b""
    if file:
        path.write_bytes(before + b"\\n# an edit\\n")
    found[file] = f.fingerprints({{"size": 128}})
    if file:
        path.write_bytes(before)
print(json.dumps(found))
"""
    done = run(program, copied_package)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    before = printed.pop("")
    assert {file: [step for step in NAMES if after[step] != before[step]] for file, after in printed.items()} == EDITS


@pytest.mark.parametrize(
    ("key", "steps"),
    [
        ("sources", NAMES),
        ("seed", NAMES),
        ("margin", NAMES[1:]),
        ("size", NAMES[2:]),
        ("shares", NAMES[3:]),
        ("held_out", NAMES[3:]),
        ("techniques", NAMES[3:]),
        ("annotator", NAMES[4:]),
        ("least_resolved", []),
    ],
)
def test_a_key_concerns_the_steps_that_read_it(key: str, steps: list[str]) -> None:
    before, after = fingerprints({key: "one value"}), fingerprints({key: "another"})
    assert [step for step in NAMES if after[step] != before[step]] == steps


def test_a_stopped_build_continues_after_an_edit_elsewhere_and_repeats_alignment_after_an_edit_to_it(
    copied_package: Path, tmp_path: Path
) -> None:
    """The build fails by itself after the alignment, because the faces are too few for a dataset."""
    output = tmp_path / "out" / "dfa-instruct"

    def made() -> dict[str, int]:
        done = run(BUILD, copied_package, output)
        assert "8 faces are too few" in done.stderr, done.stderr
        work = output.with_name("dfa-instruct.build")
        files = [*work.glob("logs/*/completions/*"), *work.glob("list/*"), *work.glob("faces/*")]
        return {str(path.relative_to(work)): path.stat().st_mtime_ns for path in files}

    first = made()
    assert any(name.startswith("logs/faces") for name in first)
    edit(copied_package, "verify/verify.py")
    edit(copied_package, "evidence/paired.py")
    assert made() == first
    edit(copied_package, "construction/steps/align_faces.py")
    again = made()
    assert again.keys() == first.keys()
    assert {name for name in first if again[name] == first[name]} == {
        name for name in first if name.startswith(("list/", "logs/list/", "logs/margins/"))
    }


def test_a_recipe_with_other_faces_is_refused_and_one_that_differs_later_continues(tmp_path: Path) -> None:
    few = replace(FEW, output=str(tmp_path / "dfa-instruct"))
    with pytest.raises(ValueError, match="8 faces are too few"):
        build(few, workers=1)
    faces = tmp_path / "dfa-instruct.build" / "faces" / "00000.parquet"
    before = faces.stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="differs in size"):
        build(replace(few, size=96), workers=1)
    with pytest.raises(ValueError, match="8 faces are too few"):
        build(replace(few, near_duplicates=3), workers=1)
    assert faces.stat().st_mtime_ns == before


def test_templates_that_have_changed_concern_the_rows(tmp_path: Path) -> None:
    own = Path(shutil.copytree(Path(templates.__file__).parent, tmp_path / "own"))
    recipe = Recipe([{"kind": "sample"}], size=64, output=str(tmp_path / "dfa-instruct"), templates=str(own))
    assert steps_kept(tmp_path, recipe) == [] and steps_kept(tmp_path, recipe) == NAMES
    (own / "df_d.yaml").write_text((own / "df_d.yaml").read_text().replace("Is this face forged?", "Is it forged?"))
    assert steps_kept(tmp_path, recipe) == ["list", "margins", "faces", "plan"]
    (own / "ad.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"ad\.yaml: no such file"):
        build(recipe, workers=1)


def steps_kept(folder: Path, recipe: Recipe) -> list[str]:
    """Open the work folder with something in each step; name the steps that are still there when it is opened."""
    with work_folder(folder / "dfa-instruct", recipe) as work:
        left = [step for step in NAMES if (work.root / step).exists()]
        for step in NAMES:
            work.file(step, "made").touch()
    return left


def test_a_store_that_has_changed_concerns_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "faces.annotations.sqlite"
    recipe = replace(FEW, output=str(tmp_path / "dfa-instruct"), annotator={"name": "stored", "store": str(path)})

    def kept() -> list[str]:
        return steps_kept(tmp_path, recipe)

    with Store(path) as store:
        assert kept() == [] and kept() == NAMES
        request = Request("00" * 8, "ad", "ad_alone 1", {}, "tiny", {})
        store.keep_prompt("ad_alone 1", "Look at this face.")
        store.put(request, Outcome("failed", "no answer"))
        assert kept() == NAMES
        store.put(request, Outcome("annotated", parsed=[{"region": "mouth"}]))
        assert kept() == NAMES[:4]
        Decisions(store).put(request.face_id, "1. **Mouth**: Red.", Decision("ann", "reject"))
        assert kept() == NAMES[:4] and kept() == NAMES
