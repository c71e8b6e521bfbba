"""Perturbed pictures: what each kind does, that it depends on the picture alone, and the grid that comes of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from bench_data import row, write
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc
from typer.testing import CliRunner

from dfa_instruct.bench.experiments.generalisation import generalisation
from dfa_instruct.bench.experiments.robustness import (
    Perturbation,
    parse_perturbations,
    robustness,
)
from dfa_instruct.bench.report.markdown import generalisation_table, robustness_table
from dfa_instruct.bench.report.plots import plot_robustness
from dfa_instruct.bench.runner import load_rows, run_bench
from dfa_instruct.cli import app
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.vocabulary import CATEGORIES

KINDS = ["jpeg:30", "blur:2", "resize:0.5", "noise:8"]


@pytest.fixture(scope="module")
def face() -> dict[str, Any]:
    return {"bytes": next(draw_sample(1, 1, size=96)).to_png(), "path": None}


def pixels(image: dict[str, Any]) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(image["bytes"])), float)


@pytest.mark.parametrize("text", KINDS)
def test_a_perturbation_changes_the_picture_and_always_alike(text: str, face: dict[str, Any]) -> None:
    (perturbation,) = parse_perturbations(text)
    assert perturbation.name == text
    found = perturbation.apply(face)
    assert found["bytes"] == perturbation.apply(dict(face))["bytes"]
    off = np.abs(pixels(found) - pixels(face)).mean()
    assert pixels(found).shape == pixels(face).shape and 0.3 < off < 20
    kind, amount = perturbation.kind, perturbation.amount
    more = Perturbation(kind, amount * (0.5 if kind in ("jpeg", "resize") else 2)).apply(face)
    assert np.abs(pixels(more) - pixels(face)).mean() > off


def test_noise_has_its_deviation_and_differs_from_picture_to_picture(face: dict[str, Any]) -> None:
    grey = {"bytes": png(np.full((64, 64, 3), 128, np.uint8))}
    other = {"bytes": png(np.full((64, 64, 3), 127, np.uint8))}
    first, second = (pixels(Perturbation("noise", 8).apply(image)) for image in (grey, other))
    assert first.std() == pytest.approx(8, rel=0.05)
    assert np.abs((first - 128) - (second - 127)).mean() > 4


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jpg:30", "unknown perturbation 'jpg'; did you mean 'jpeg'?"),
        ("jpeg", "jpeg: expected jpeg:1 to jpeg:100 (quality)"),
        ("jpeg:0", "jpeg:0: expected jpeg:1 to jpeg:100"),
        ("blur:2,resize:3", "resize:3: expected resize:0.05 to resize:1"),
        ("noise:much", "noise:much: expected"),
    ],
)
def test_a_wrong_perturbation_is_one_line_before_the_model_is_loaded(text: str, said: str) -> None:
    done = CliRunner().invoke(app, ["bench", "openai:tiny", "--perturb", text])
    assert done.exit_code == 2 and said in done.stderr


class Fine:
    """Says that a face is forged where its picture has fine detail."""

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        detail = [np.abs(np.diff(np.asarray(doc.images[0], float), axis=0)).mean() for doc in docs]  # type: ignore[index]
        return [ModelResponse(text=["Yes" if of > 4 else "No"]) for of in detail]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    fine = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    rows = []
    for number, category in enumerate(CATEGORIES):
        made = row(category, "test", number)
        plain = np.full((32, 32, 3), 100 + number, np.uint8)
        rows.append({**made, "image": {"bytes": png(fine if made["label"] == "forged" else plain), "path": None}})
        fine = np.roll(fine, 1)
    train = [row(category, "train", i) for i, category in enumerate(("bona_fide", "face_swapping", "face_editing"))]
    return write(tmp_path / "dfa-instruct", {"train": train, "test": rows})


def test_the_grid_its_table_and_its_plot(data: Path, tmp_path: Path) -> None:
    rows = load_rows(data)
    results = run_bench(Fine(), data, tasks=["dfa_bench_dfd"])
    grid = robustness(Fine(), rows, parse_perturbations("blur:5,noise:20,blur:5"), results)
    acc = {name: figures["dfa_bench_dfd"]["acc"] for name, figures in grid.items()}
    assert acc == {"none": 100, "blur:5": 20, "noise:20": 80}  # blur takes the detail away, noise makes some
    table = robustness_table(grid).splitlines()
    assert table[0] == "| perturbation | DF-D ACC | DF-D ACER |" and table[3] == "| blur:5 | 20.00 | 50.00 |"
    plot_robustness(grid, tmp_path / "robustness.png")
    assert PIL.Image.open(tmp_path / "robustness.png").size > (300, 200)


def test_held_out_techniques_have_their_own_line(data: Path) -> None:
    rows = load_rows(data)
    results = run_bench(Fine(), data, tasks=["dfa_bench_dfd"])
    found = generalisation(data, rows, results["predictions"])["techniques"]
    assert found["held_out"] == ["by entire_face_synthesis", "by face_reenactment"] and found["images"] == 2
    assert found["seen"]["dfa_bench_dfd"]["acc"] == found["unseen"]["dfa_bench_dfd"]["acer"] + 100 == 100
    lines = generalisation_table({"techniques": found}).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["seen techniques", "unseen techniques"]
    assert lines[-1] == "Unseen techniques: by entire_face_synthesis, by face_reenactment (2 images)."
    assert (
        generalisation(data, [r for r in rows if r["technique"] in (None, "by face_editing")], results["predictions"])
        == {}
    )
