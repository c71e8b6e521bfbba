"""What a build keeps when code or recipe have changed: an edit elsewhere goes on, an edit to a step starts it anew."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dfa_instruct.annotate.decisions import Decision, Decisions
from dfa_instruct.annotate.store import Outcome, Request, Store
from dfa_instruct.construction.fingerprint import STEPS, fingerprints
from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.construction.resume import work_folder
from dfa_instruct.instruct import templates

EDITS = {
    "verify/verify.py": [],
    "verify/row_checks.py": [],
    "bench/metrics.py": [],
    "cli.py": [],
    "construction/closing_table.py": [],
    "construction/executors.py": [],
    "construction/resume.py": [],
    "dataset/writer.py": [],
    "evidence/paired.py": ["rows"],
    "annotate/measured.py": ["rows"],
    "annotate/decisions.py": ["rows"],
    "annotate/run.py": [],
    "review/reviewer.py": [],
    "instruct/sampling.py": ["rows"],
    "instruct/templates/fc.yaml": ["rows"],
    "splits.py": ["plan", "rows"],
    "techniques/face_swapping.py": ["plan", "rows"],
    "construction/steps/find_margins.py": ["margins", "faces", "plan", "rows"],
    "construction/steps/align_faces.py": ["faces", "plan", "rows"],
    "pairs.py": ["faces", "plan", "rows"],
    "sources/df40.py": ["list", "margins", "faces", "plan", "rows"],
    "vocabulary.py": ["list", "margins", "faces", "plan", "rows"],
}
"""File → the steps that are done anew where it is edited."""
BUILD = """
import sys
from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe

few = Recipe([{"kind": "sample", "identities": 4, "pictures": 2}], size=64, output=sys.argv[1])
build(few, workers=1)
"""


def run(program: str, package: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=package, capture_output=True, text=True)


def edit(package: Path, file: str) -> None:
    with (package / "dfa_instruct" / file).open("a", encoding="utf-8") as text:
        text.write("\n# an edit\n")


@pytest.fixture
def printed(copied_package: Path) -> dict[str, dict[str, str]]:
    """Step → fingerprint, before any edit and after each, all in one process."""
    program = f"""
import json, pathlib
import dfa_instruct.construction.fingerprint as f
found = {{}}
assert f.ROOT.parent == pathlib.Path.cwd()
for file in {["", *EDITS]!r}:
    path = f.ROOT / file
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
    return json.loads(done.stdout)


def test_an_edit_concerns_the_steps_that_run_the_file_and_those_after_them(printed: dict[str, dict[str, str]]) -> None:
    before = printed.pop("")
    changed = {file: [step for step in STEPS if after[step] != before[step]] for file, after in printed.items()}
    assert changed == EDITS


def test_a_key_concerns_the_steps_that_read_it() -> None:
    recipe = {
        "sources": [],
        "size": 128,
        "seed": 0,
        "margin": 0.0,
        "shares": {},
        "held_out": [],
        "techniques": [],
        "least_resolved": {},
    }
    before = fingerprints(recipe)
    concerns = {
        key: [step for step, mark in fingerprints({**recipe, key: "other"}).items() if mark != before[step]]
        for key in recipe
    }
    everything, faces, plan = list(STEPS), ["faces", "plan", "rows"], ["plan", "rows"]
    assert concerns == {
        "sources": everything,
        "seed": everything,
        "size": faces,
        "margin": ["margins", *faces],
        "shares": plan,
        "held_out": plan,
        "techniques": plan,
        "least_resolved": [],
    }


def test_a_stopped_build_goes_on_after_an_edit_elsewhere_and_starts_anew_after_one_to_alignment(
    copied_package: Path, tmp_path: Path
) -> None:
    """It stops by itself once the faces are there: they are too few for a dataset."""
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


def test_a_recipe_of_other_faces_is_refused_and_one_that_differs_later_goes_on(tmp_path: Path) -> None:
    few = Recipe([{"kind": "sample", "identities": 4, "pictures": 2}], size=64, output=str(tmp_path / "dfa-instruct"))
    with pytest.raises(ValueError, match="8 faces are too few"):
        build(few, workers=1)
    faces = tmp_path / "dfa-instruct.build" / "faces" / "00000.parquet"
    before = faces.stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="the recipe differs in size"):
        build(replace(few, size=96), workers=1)
    with pytest.raises(ValueError, match="8 faces are too few"):
        build(replace(few, near_duplicates=3), workers=1)
    assert faces.stat().st_mtime_ns == before


def test_templates_that_have_changed_concern_the_rows(tmp_path: Path) -> None:
    own = Path(shutil.copytree(Path(templates.__file__).parent, tmp_path / "own"))
    recipe = Recipe([{"kind": "sample"}], size=64, output=str(tmp_path / "dfa-instruct"), templates=str(own))
    assert steps_kept(tmp_path, recipe) == [] and steps_kept(tmp_path, recipe) == list(STEPS)
    (own / "df_d.yaml").write_text((own / "df_d.yaml").read_text().replace("Is this face forged?", "Is it forged?"))
    assert steps_kept(tmp_path, recipe) == ["list", "margins", "faces", "plan"]
    (own / "ad.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"ad\.yaml: no such file"):
        build(recipe, workers=1)


def steps_kept(folder: Path, recipe: Recipe) -> list[str]:
    """Open the work folder with something in each step; name the steps that are still there when it is opened."""
    with work_folder(folder / "dfa-instruct", recipe) as work:
        left = [step for step in STEPS if (work.root / step).exists()]
        for step in STEPS:
            work.file(step, "made").touch()
    return left


def test_a_store_that_has_changed_concerns_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "faces.annotations.sqlite"
    stored = {"name": "stored", "store": str(path)}
    recipe = Recipe([{"kind": "sample"}], size=64, output=str(tmp_path / "dfa-instruct"), annotator=stored)

    def kept() -> list[str]:
        return steps_kept(tmp_path, recipe)

    with Store(path) as store:
        assert kept() == [] and kept() == list(STEPS)
        request = Request("00" * 8, "ad", "ad_alone 1", {}, "tiny", {})
        store.keep_prompt("ad_alone 1", "Look at this face.")
        store.put(request, Outcome("failed", "no answer"))
        assert kept() == list(STEPS)
        store.put(request, Outcome("annotated", parsed=[{"region": "mouth"}]))
        assert kept() == ["list", "margins", "faces", "plan"]
        Decisions(store).put(request.face_id, "1. **Mouth**: Red.", Decision("ann", "reject"))
        assert kept() == ["list", "margins", "faces", "plan"] and kept() == list(STEPS)
