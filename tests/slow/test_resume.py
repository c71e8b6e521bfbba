"""A build that is killed and started again writes the same bytes as one that nothing disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dfa_instruct.pipeline import build
from dfa_instruct.recipe import Recipe

RECIPE = """
sources: [{kind: sample, identities: 60, pictures: 3}]
size: 128
forgeries_per_face: 1.5
"""


def start(recipe: Path, output: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from dfa_instruct.cli import app; app()", "build", str(recipe)]
    return subprocess.Popen(
        [*command, "--output", str(output), "--workers", "2"], stderr=subprocess.DEVNULL, start_new_session=True
    )


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_killed_in_the_middle_and_resumed(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    calm, disturbed = tmp_path / "calm" / "dfa-instruct", tmp_path / "disturbed" / "dfa-instruct"
    assert start(recipe, calm).wait() == 0
    done: dict[str, float] = {}
    for step, tasks in (("AlignFaces", 3), ("MakeRows", 3)):
        process = start(recipe, disturbed)
        completions = disturbed.with_name("dfa-instruct.build") / "logs" / step / "completions"
        while len(list(completions.glob("*"))) < tasks:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not disturbed.exists()
        again = {str(p): p.stat().st_mtime for p in completions.glob("*")}
        assert all(again.get(path, time) == time for path, time in done.items())
        done |= again
    process = start(recipe, disturbed)
    assert process.wait() == 0
    assert content(disturbed.parent) == content(calm.parent)  # what was dropped too; the work folder is gone


def test_another_build_is_not_mixed_in(small_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(small_recipe, output=str(tmp_path / "dfa-instruct"))
    (tmp_path / "dfa-instruct.build").mkdir()
    (tmp_path / "dfa-instruct.build" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds something else"):
        build(recipe)
