"""The quickstart at full size: it learns, on people it has not seen, and only from the image (about ten minutes)."""

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
    mine, beside = results["tasks"], results["baselines"]
    for task, points in (("dfa_bench_dfd", 25), ("dfa_bench_dfc", 30)):
        assert mine[task]["acc"] >= beside["majority"][task]["acc"] + points
        assert beside["images_swapped"][task]["acc"] == pytest.approx(beside["chance"][task]["acc"], abs=8)
    described = mine["dfa_bench_ad"]["rouge_l_forged"]
    assert described >= beside["majority"]["dfa_bench_ad"]["rouge_l_forged"] + 8
    assert described >= beside["images_swapped"]["dfa_bench_ad"]["rouge_l_forged"] + 8

    talk = results["conversation"]
    assert results["counts"]["bench"]["images"] >= 200
    assert min(talk["templates"][f"right_kind_turn_{turn}"] for turn in (1, 2, 3, 4)) >= 97
    assert min(talk["paraphrases"][f"right_kind_turn_{turn}"] for turn in (1, 2, 3, 4)) >= 90
    assert talk["templates"]["contradictions"] <= 5 and talk["templates"]["repeated"] == 0
    assert talk["templates"]["region_recall"] >= 1.5 * talk["image_blind"]["region_recall"]
    assert results["calibration"]["tested"]["low"] > 50


def test_photographs_end_well(tmp_path: Path) -> None:
    given = [os.environ.get(name) for name in ("DFA_TEST_PHOTOS", "DFA_TEST_SYNTHESIZED", "DFA_FACE_LANDMARKER")]
    if not all(given):
        pytest.skip("needs DFA_TEST_PHOTOS, DFA_TEST_SYNTHESIZED and DFA_FACE_LANDMARKER")
    run("--bona-fide", str(given[0]), "--synthesized", str(given[1]), "--output", str(tmp_path / "run"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["counts"]["techniques"]) >= {"delaunay_swap", "lips", "thin_plate_reenactment"}
    tested = results["calibration"]["tested"]
    assert 0 <= tested["low"] <= tested["balanced_acc"] <= tested["high"] <= 100
