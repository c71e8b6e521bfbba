"""How tightly the pictures of a source are cropped, and datasets with a test split only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import load_dataset
from layouts import portraits
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.cli import app
from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import read_recipe
from dfa_instruct.face.alignment import GREY

pytestmark = pytest.mark.usefixtures("landmarker")
PEOPLE = 8


def save(folder: Path, cut: float) -> None:
    """Write drawn portraits and crop this share at each side."""
    folder.mkdir(parents=True)
    for number, portrait in enumerate(portraits(PEOPLE, 320)):
        off = round(cut * len(portrait))
        Image.fromarray(portrait[off : len(portrait) - off, off : len(portrait) - off]).save(folder / f"{number}.png")


def built(folder: Path, text: str) -> list[dict[str, Any]]:
    (folder / "recipe.yaml").write_text(f"size: 96\nnear_duplicates: -1\nleast_aligned: 0.7\n{text}\n")
    build(read_recipe(folder / "recipe.yaml", folder / "dfa-instruct"), workers=1)
    return [row for rows in load_dataset(str(folder / "dfa-instruct")).values() for row in rows]


def eyes_apart(row: dict[str, Any]) -> float:
    landmarks = np.array(row["landmarks"])
    return float(np.linalg.norm(landmarks[36:42].mean(0) - landmarks[42:48].mean(0)) / row["image"].width)


def test_tight_pictures_are_cropped_tighter_and_not_padded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "close", 0.1)
    save(tmp_path / "wide", 0.0)
    close, wide = ({"kind": "folder", "name": name, "root": str(tmp_path / name)} for name in ("close", "wide"))
    rows = built(tmp_path, f"sources: [{close}, {wide | {'category': 'entire_face_synthesis', 'technique': 'gan'}}]")
    apart = {label: [eyes_apart(r) for r in rows if r["label"] == label] for label in ("bona_fide", "forged")}
    # with a margin of 0, the distance of the eyes is 0.23 of the square
    assert min(map(np.median, apart.values())) > 0.26
    assert np.median(apart["bona_fide"]) == pytest.approx(np.median(apart["forged"]), abs=0.01)
    lost = [(np.abs(np.asarray(row["image"]).astype(int) - GREY).max(2) == 0)[[0, -1]].mean() for row in rows]
    assert sum(share > 0.1 for share in lost) <= 1
    printed = " ".join(capsys.readouterr().err.split())
    assert all(f"{source}: all pictures were cut with a margin of -0.1" in printed for source in ("close", "wide"))


def test_the_recipe_limits_the_margin(tmp_path: Path) -> None:
    save(tmp_path / "wide", 0.0)
    rows = built(tmp_path, f"margin: -0.2\nsources: [{{kind: folder, root: {tmp_path / 'wide'}}}]\nshares: {{test: 1}}")
    assert np.median([eyes_apart(row) for row in rows]) == pytest.approx(0.23 / 0.6, abs=0.02)


def test_a_dataset_for_testing_only_may_be_small(tmp_path: Path) -> None:
    save(tmp_path / "faces", 0.0)
    table = ["file,label,category,technique,identity"]
    table += [f"{n}.png,{'fake,face_swapping,swap' if n % 2 else 'real,,'},person {n // 4}" for n in range(PEOPLE)]
    (tmp_path / "faces" / "faces.csv").write_text("\n".join(table))
    source = {
        "kind": "folder",
        "root": str(tmp_path / "faces"),
        "csv": str(tmp_path / "faces" / "faces.csv"),
        "labels": {"real": "bona_fide", "fake": "forged"},
    }
    rows = built(tmp_path, f"sources: [{source}]\nshares: {{test: 1.0}}")
    assert {row["split"] for row in rows} == {"test"} and len(rows) >= PEOPLE - 1
    assert {row["label"] for row in rows} == {"bona_fide", "forged"}
    assert {"df_d", "df_c"} <= {question["ability"] for question in rows[0]["bench"]}
    conversations = load_dataset("dfa-instruct", "conversations", data_dir=str(tmp_path / "dfa-instruct"))
    assert [*conversations] == ["test"] and len(conversations["test"]) >= len(rows)
    for command, *options in (["verify"], ["stats", "--output", str(tmp_path / "statistics.png")]):
        done = CliRunner().invoke(app, [command, str(tmp_path / "dfa-instruct"), *options])
        assert done.exit_code == 0, done.output


def test_a_technique_that_learns_needs_training_faces(tmp_path: Path) -> None:
    save(tmp_path / "faces", 0.0)
    source = f"sources: [{{kind: folder, root: {tmp_path / 'faces'}}}]\nshares: {{test: 1.0}}\nforgeries_per_face: 1\n"
    with pytest.raises(ValueError, match=r"eigenface .* train split"):
        built(tmp_path, source)
    rows = built(tmp_path, f"{source}techniques: [lips]")
    assert {row["label"] for row in rows} == {"bona_fide", "forged"}
