"""The unmodified `lighteval accelerate --vision-model` on a merged model gives the figures of `dfa-instruct bench`.

At its import one of its built-in tasks fetches a file from the internet that ours has no use for. Here a stand-in
answers that it is not there, as lighteval takes it; nothing of lighteval's is changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfa_instruct.bench.runner import run_bench
from dfa_instruct.bench.tasks.questions import TASKS
from modeling_dfa_gpt.dfa_gpt import merge

STAND_IN = """
import requests


class NotThere:
    status_code = 404


requests.get = lambda *_, **__: NotThere()
"""


def test_lighteval_gives_our_figures(adapter: Path, dataset_folder: Path, tmp_path: Path) -> None:
    merge(adapter, tmp_path / "merged")
    ours = run_bench(tmp_path / "merged", dataset_folder)
    (tmp_path / "stand_in").mkdir()
    (tmp_path / "stand_in" / "sitecustomize.py").write_text(STAND_IN)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lighteval",
            "accelerate",
            "model_name=merged,device=cpu,dtype=float32,cache_dir=cache",
            ",".join(f"{name}|0" for name in TASKS),
            "--vision-model",
            "--custom-tasks",
            "dfa_instruct.bench.tasks.lighteval_tasks",
            "--output-dir",
            "out",
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "DFA_INSTRUCT_DIR": str(dataset_folder),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(tmp_path / "stand_in"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = (tmp_path / "out").rglob("results_*.json")
    theirs = json.loads(file.read_text())["results"]
    for name in TASKS:
        figures = {key: value for key, value in theirs[f"{name}|0"].items() if not key.endswith("_stderr")}
        expected = {**ours["tasks"][name], **ours["details"][name]}
        assert figures.keys() == expected.keys()
        for key, value in figures.items():
            assert value == pytest.approx(expected[key], abs=0.006), (name, key)
