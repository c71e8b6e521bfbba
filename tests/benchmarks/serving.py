"""Compare how many questions of DFA-Bench a model answers per second in this process and behind a vLLM server.

    DFA_VLLM_PYTHON=PYTHON python tests/benchmarks/serving.py

PYTHON is the path of Python in an environment that has vLLM, see `tests/slow/test_vllm.py`. The model is the tiny base,
and the questions are about drawn portraits.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.conversion_mapping import get_model_conversion_mapping

sys.path.insert(0, str(Path(__file__).parents[1]))
from vllm_server import serve

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.runner import run_bench
from dfa_instruct.vlm.endpoint import Endpoint
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from modeling_dfa_gpt.bases import TINY_BASE
from modeling_dfa_gpt.estimate import build_small_sample

ROUNDS = 3


def main() -> None:
    """Print in each round the answers per second in process and by vLLM, and their ratio."""
    if not (python := os.environ.get("DFA_VLLM_PYTHON")):
        print("serving: left out, because DFA_VLLM_PYTHON does not name the Python of an environment that has vLLM")
        return
    os.environ.setdefault("OPENAI_API_KEY", "none")
    with tempfile.TemporaryDirectory() as scratch:
        data, model = Path(build_small_sample(Path(scratch))), Path(scratch) / "model"
        save_published(model)
        with serve(python, model) as address:
            in_process, served = BenchModel(VisionLanguageModel(model)), BenchModel(Endpoint(model.name, address))
            run_bench(in_process, data), run_bench(served, data)  # warm up
            for _ in range(ROUNDS):
                here, there = answers_per_second(in_process, data), answers_per_second(served, data)
                print(
                    f"{here:.1f} answers a second in process, {there:.1f} by vLLM: {there / here:.2f} times as many "
                    f"({torch.get_num_threads()} threads)"
                )


def save_published(folder: Path) -> None:
    """Write the tiny base with the names of published checkpoints, which vLLM expects, as `merge` does."""
    model: Any = AutoModelForImageTextToText.from_pretrained(TINY_BASE, dtype=torch.float32)
    model._weight_conversions = get_model_conversion_mapping(model, add_legacy=False)
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(TINY_BASE).save_pretrained(folder)


def answers_per_second(model: BenchModel, data: Path) -> float:
    """Run DFA-Bench, and return the number of questions answered in a second."""
    start = time.perf_counter()
    questions = run_bench(model, data)["counts"]["questions"]
    return questions / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
