"""A server of vLLM for tests and benchmarks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx


@contextmanager
def serve(python: str, model: Path) -> Iterator[str]:
    """Serve a model, and yield the address of the server. `python` is that of an environment that has vLLM."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [
            *(python, "-m", "vllm.entrypoints.openai.api_server", "--model", model.name, "--host", "127.0.0.1"),
            *("--port", str(port), "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8"),
        ],
        cwd=model.parent,
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        start_new_session=True,
    )
    try:
        wait_for(server, f"{address}/health")
        yield f"{address}/v1"
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # with its engine, which may still be starting
        server.wait()


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
