"""DFA-Bench under `accelerate launch`: two processes share the pictures and give the figures of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

RUN = "from dfa_instruct.cli import app; app()"


def test_two_processes_give_the_figures_of_one(adapter: Path, dataset_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(RUN)
    data = tmp_path / "dfa-instruct"
    data.symlink_to(dataset_folder)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    results, said = {}, {}
    for name, before in (("two", launch), ("one", [sys.executable])):
        command = [*before, str(tmp_path / "run.py"), "bench", str(adapter), "--data", str(data)]
        done = subprocess.run(
            [*command, "--limit", "5", "--output", str(tmp_path / name)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        results[name] = json.loads((tmp_path / name / "results.json").read_text())
        (tmp_path / "dfa-instruct.answers.sqlite").unlink()
        said[name] = done.stdout.replace(str(tmp_path / name), "")
    assert said["one"] == said["two"]  # one process prints
    assert results["one"] == results["two"]
