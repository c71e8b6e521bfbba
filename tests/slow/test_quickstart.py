"""The complete quickstart: it learns from images, and generalizes to other people (takes about ten minutes)."""

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


def test_it_learns_from_the_image_and_holds_a_conversation(tmp_path: Path) -> None:
    run("--output", str(tmp_path / "run"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    tasks, baselines = results["tasks"], results["baselines"]
    for task, points in (("dfa_bench_dfd", 25), ("dfa_bench_dfc", 30), ("dfa_bench_dft", 25)):
        assert tasks[task]["acc"] >= baselines["majority"][task]["acc"] + points
        assert baselines["images_swapped"][task]["acc"] == pytest.approx(baselines["chance"][task]["acc"], abs=8)
    described = tasks["dfa_bench_ad"]["rouge_l_forged"]
    assert described >= baselines["majority"]["dfa_bench_ad"]["rouge_l_forged"] + 8
    assert described >= baselines["images_swapped"]["dfa_bench_ad"]["rouge_l_forged"] + 8

    conversation = results["conversation"]
    assert results["counts"]["bench"]["images"] >= 200
    assert min(conversation["templates"][f"right_kind_turn_{turn}"] for turn in (1, 2, 3, 4)) >= 97
    assert min(conversation["paraphrases"][f"right_kind_turn_{turn}"] for turn in (1, 2, 3, 4)) >= 90
    assert conversation["templates"]["contradictions"] <= 5 and conversation["templates"]["repeated"] == 0
    assert conversation["templates"]["region_recall"] >= 1.5 * conversation["image_blind"]["region_recall"]
    assert results["calibration"]["tested"]["low"] > 50


def test_photographs(tmp_path: Path) -> None:
    given = [os.environ.get(name) for name in ("DFA_TEST_PHOTOS", "DFA_TEST_SYNTHESIZED", "DFA_FACE_LANDMARKER")]
    if not all(given):
        pytest.skip("needs DFA_TEST_PHOTOS, DFA_TEST_SYNTHESIZED and DFA_FACE_LANDMARKER")
    run("--bona-fide", str(given[0]), "--synthesized", str(given[1]), "--output", str(tmp_path / "run"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["counts"]["techniques"]) >= {"delaunay_swap", "lips", "thin_plate_reenactment"}
    tested = results["calibration"]["tested"]
    assert 0 <= tested["low"] <= tested["balanced_acc"] <= tested["high"] <= 100
