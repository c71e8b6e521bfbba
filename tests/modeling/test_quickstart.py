"""The quickstart: its outputs, and its errors for bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image
from typer.testing import CliRunner

from modeling_dfa_gpt.cli import app
from modeling_dfa_gpt.launch import RECIPES
from modeling_dfa_gpt.quickstart import OUTPUTS, quickstart

METRICS = {
    "dfa_bench_dfd": {"acc", "err", "acer", "invalid"},
    "dfa_bench_dfc": {"acc", "invalid"},
    "dfa_bench_ad": {"rouge_l", "rouge_l_forged"},
    "dfa_bench_dft": {"acc", "invalid"},
}


def test_a_small_run_writes_all_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfa_instruct.construction.recipe.SAMPLE_IDENTITIES", 15)
    monkeypatch.setattr("dfa_instruct.construction.recipe.SAMPLE_PICTURES", 3)
    monkeypatch.setattr("modeling_dfa_gpt.quickstart.BENCH_IMAGES", 12)
    monkeypatch.delenv("DFA_INSTRUCT_DIR", raising=False)
    for recipe in ("dfa-gpt-tiny/sft", "accelerate_configs/cpu"):
        text = (RECIPES / f"{recipe}.yaml").read_text()
        (tmp_path / recipe).parent.mkdir(exist_ok=True)
        (tmp_path / f"{recipe}.yaml").write_text(re.sub(r"max_steps: \d+", "max_steps: 4", text))
    monkeypatch.setattr("modeling_dfa_gpt.launch.RECIPES", tmp_path)
    output = tmp_path / "run"
    quickstart(None, None, output, seed=1)
    assert {p.name for p in output.iterdir()} == OUTPUTS - {"views"}
    results = json.loads((output / "results.json").read_text())
    for figures in (
        results["tasks"],
        *(results["baselines"][b] for b in ("majority", "image_blind", "images_swapped")),
    ):
        assert {task: set(values) for task, values in figures.items()} == METRICS
        assert all(0 <= v <= 100 for values in figures.values() for v in values.values())
    assert 3.5e6 < results["weights"] < 4.5e6 and isinstance(results["warnings"], list)
    detection = results["tasks"]["dfa_bench_dfd"]
    assert detection["acc"] + detection["err"] == pytest.approx(100, abs=0.02)
    assert results["counts"]["images"]["train"] == len(
        load_dataset("dfa-instruct", data_dir=str(output / "dfa-instruct"), split="train")
    )
    conversation = results["conversation"]
    assert set(conversation) == {"templates", "paraphrases", "image_blind", "images_swapped"}
    assert all(0 <= figures["right_kind"] <= 100 for figures in conversation.values())
    assert 0 < results["calibration"]["tested"]["people"] <= results["counts"]["identities"]["test"]
    assert json.loads((output / "adapter" / "calibration.json").read_text()) == results["calibration"]
    conversations = (output / "conversations.jsonl").read_text().splitlines()
    assert len(conversations) == 2 * results["counts"]["bench"]["images"]
    report = (output / "report.md").read_text()
    assert "dfa-gpt chat" in report
    for name in ("faces", "loss", "confusion", "conversation_1", "conversation_5"):
        assert Image.open(output / "images" / f"{name}.png").size > (100, 100)
        assert f"images/{name}.png" in report
    card = (output / "adapter" / "README.md").read_text()
    assert f"on {results['counts']['bench']['images']} faces" in card and "| chance |" in card
    assert "not measured yet" not in card.lower()
    assert not list(output.rglob("*.bin"))

    (output / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        quickstart(None, None, output, seed=1)
    assert (output / "results.json").is_file()


@pytest.mark.parametrize("case", ["absent", "empty", "texts", "landmarker"])
def test_bad_input_is_a_one_line_error(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "faces"
    if case != "absent":
        folder.mkdir()
    if case == "texts":
        (folder / "a.txt").write_text("no picture")
    if case == "landmarker":
        Image.new("RGB", (200, 200)).save(folder / "a.png")
        monkeypatch.setenv("DFA_FACE_LANDMARKER", str(tmp_path / "none.task"))
    expected = "DFA_FACE_LANDMARKER" if case == "landmarker" else str(folder)
    done = CliRunner().invoke(app, ["quickstart", "--bona-fide", str(folder), "--output", str(tmp_path / "out")])
    assert done.exit_code == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and expected in errors[0]
    assert not (tmp_path / "out").exists()
