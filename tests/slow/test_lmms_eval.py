"""The unmodified lmms-eval gives the figures of `dfa-instruct bench` on a merged model, offline.

`DFA_LMMS_EVAL_PYTHON` names the Python of an environment that has lmms-eval 0.7 beside this package.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.export import write_lmms_eval
from dfa_instruct.bench.runner import run_bench
from dfa_instruct.bench.tasks.questions import TASKS
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from modeling_dfa_gpt.dfa_gpt import merge


class AskedOnce:
    """A model that is not asked again for one word, as in lmms-eval."""

    def __init__(self, folder: Path) -> None:
        self.model = BenchModel(VisionLanguageModel(folder))

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        return list(self.model.greedy_until(docs))


def test_lmms_eval_gives_our_figures(adapter: Path, dataset_folder: Path, tmp_path: Path) -> None:
    if not (python := os.environ.get("DFA_LMMS_EVAL_PYTHON")):
        pytest.skip("needs DFA_LMMS_EVAL_PYTHON, the Python of an environment that has lmms-eval")
    merge(adapter, tmp_path / "merged")
    ours = run_bench(AskedOnce(tmp_path / "merged"), dataset_folder)
    write_lmms_eval(dataset_folder, tmp_path / "tasks")
    arguments = "pretrained=merged,device=cpu,device_map=cpu,dtype=float32"
    model = ["--model", "llava_hf", "--model_args", arguments]
    tasks = ["--include_path", "tasks", "--tasks", "dfa_bench", "--output_path", "out"]
    done = subprocess.run(
        [python, "-m", "lmms_eval", *model, *tasks],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = (tmp_path / "out").rglob("*results.json")
    theirs: dict[str, Any] = json.loads(file.read_text())["results"]
    for name, task in TASKS.items():
        for figure in task.results:
            assert theirs[name][f"{figure},none"] == pytest.approx(ours["tasks"][name][figure], abs=0.006), (
                name,
                figure,
            )
