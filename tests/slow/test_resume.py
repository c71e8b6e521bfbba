"""A build that is killed and resumed writes the same bytes as an undisturbed one, and leaves no files or processes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe

RECIPE = """
sources: [{kind: sample, identities: 60, pictures: 3}]
size: 128
forgeries_per_face: 1.5
"""
SAMPLE = """
import dfa_instruct.construction.embedded_sample as d
few = 'import dfa_instruct.construction.recipe as r; r.SAMPLE_IDENTITIES, r.SAMPLE_PICTURES = 30, 2'
d.BUILD_SAMPLE = few + d.BUILD_SAMPLE
print(d.sample_directory())
"""
KILLS = 10
PATIENCE = 5.0
"""The seconds after which no process of a killed build may remain."""


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def start_build(recipe: Path, output: Path, **environment: str) -> subprocess.Popen[str]:
    command = ("from dfa_instruct.cli import app; app()", "build", recipe, "--output", output, "--workers", "2")
    return start(*command, **environment)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def kill(process: subprocess.Popen[str], temporary: Path) -> None:
    """Kill a process, and check that no child process and no temporary file remains."""
    process.kill()
    process.wait()
    killed = time.monotonic()
    while orphans := [p.cmdline() for p in psutil.process_iter() if uses(p, temporary)]:
        assert time.monotonic() < killed + PATIENCE, orphans
        time.sleep(0.1)
    assert list(temporary.iterdir()) == []


def uses(process: psutil.Process, temporary: Path) -> bool:
    """Return whether a process is running with this temporary folder."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get("TMPDIR") == str(temporary)
    except psutil.Error:
        return False


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


def test_a_build_killed_at_random_moments_is_resumed(recipe: Path, temporary: Path, tmp_path: Path) -> None:
    calm, disturbed = tmp_path / "calm" / "dfa-instruct", tmp_path / "disturbed" / "dfa-instruct"
    began = time.monotonic()
    assert start_build(recipe, calm).wait() == 0
    longest = time.monotonic() - began
    moments = random.Random(0)
    kills = finished = 0
    while kills < KILLS or not finished:
        process = start_build(recipe, disturbed, TMPDIR=str(temporary))
        try:
            assert process.wait(moments.uniform(0.2, longest) if kills < KILLS else None) == 0
        except subprocess.TimeoutExpired:
            kill(process, temporary)
            kills += 1
            assert not disturbed.exists() or content(disturbed) == content(calm)
            continue
        finished += 1
        # The list of dropped images is the same, too, and no unfinished files remain.
        assert content(disturbed.parent) == content(calm.parent)
        assert [p.name for p in disturbed.parent.glob("*")] == [p.name for p in calm.parent.glob("*")]
        shutil.rmtree(disturbed)


def test_completed_tasks_are_not_repeated(recipe: Path, temporary: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "dfa-instruct"
    done: dict[str, float] = {}
    for step, tasks in (("faces", 3), ("rows", 3)):
        process = start_build(recipe, output, TMPDIR=str(temporary))
        completions = output.with_name("dfa-instruct.build") / "logs" / step / "completions"
        while len(list(completions.glob("*"))) < tasks:
            assert process.poll() is None, "the build ended before it was killed"
            time.sleep(0.01)
        kill(process, temporary)
        assert not output.exists()
        again = {str(p): p.stat().st_mtime for p in completions.glob("*")}
        assert all(again.get(path, time) == time for path, time in done.items())
        done |= again


def test_the_sample_build_ends_with_its_parent(temporary: Path, tmp_path: Path) -> None:
    environment = {"TMPDIR": str(temporary), "HF_DATASETS_CACHE": str(tmp_path / "cache"), "DFA_INSTRUCT_DIR": ""}
    process = start(SAMPLE, **environment)
    while not list(tmp_path.glob("cache/**/logs/faces/completions/*")):
        assert process.poll() is None, "the build ended before it was killed"
        time.sleep(0.01)
    kill(process, temporary)
    process = start(SAMPLE, **environment)
    printed, _ = process.communicate()
    folder = Path(printed.strip())
    assert process.returncode == 0 and (folder / "README.md").is_file()
    assert {path.name for path in folder.parent.iterdir()} <= {folder.name, "lock", f"{folder.name}.dropped.csv"}


def test_a_folder_with_other_files_is_refused(small_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(small_recipe, output=str(tmp_path / "dfa-instruct"))
    (tmp_path / "dfa-instruct.build").mkdir()
    (tmp_path / "dfa-instruct.build" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"dfa-instruct\.build"):
        build(recipe)


def test_a_killed_worker_is_an_error(recipe: Path, tmp_path: Path) -> None:
    command = ("from dfa_instruct.cli import app; app()", "build", recipe, "--output", tmp_path / "dfa-instruct")
    process = subprocess.Popen(
        [sys.executable, "-c", *map(str, command), "--workers", "2"], stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("dfa-instruct.build/logs/faces/completions/*")):
        assert process.poll() is None, "the build ended before the worker was killed"
        time.sleep(0.01)
    worker = next(p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline()))
    worker.send_signal(signal.SIGKILL)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 2
    assert printed.splitlines()[-1].startswith("error: a worker was killed")
