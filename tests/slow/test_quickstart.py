"""The quickstart at full size: it learns, on people it has not seen, and only from the image (about eight minutes)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str) -> None:
    command = [sys.executable, "-c", "from modeling_dfa_gpt.cli import app; app()", "quickstart", *arguments]
    subprocess.run(command, check=True)


def test_it_learns_from_the_image(tmp_path: Path) -> None:
    run("--output", str(tmp_path / "run"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    for task in ("dfa_bench_dfd", "dfa_bench_dfc"):
        accuracy = results["tasks"][task]["acc"]
        assert accuracy >= results["baselines"]["majority"][task]["acc"] + 15
        swapped = results["baselines"]["images_swapped"][task]["acc"]
        assert swapped == pytest.approx(results["baselines"]["chance"][task]["acc"], abs=8)
    blind = results["baselines"]["image_blind"]["dfa_bench_ad"]["rouge_l"]
    assert results["tasks"]["dfa_bench_ad"]["rouge_l"] > blind


def test_photographs_end_well(tmp_path: Path) -> None:
    given = [os.environ.get(name) for name in ("DFA_TEST_PHOTOS", "DFA_TEST_SYNTHESIZED", "DFA_FACE_LANDMARKER")]
    if not all(given):
        pytest.skip("needs DFA_TEST_PHOTOS, DFA_TEST_SYNTHESIZED and DFA_FACE_LANDMARKER")
    run("--bona-fide", str(given[0]), "--synthesized", str(given[1]), "--output", str(tmp_path / "run"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["counts"]["techniques"]) >= {"delaunay_swap", "lips", "thin_plate_reenactment"}
