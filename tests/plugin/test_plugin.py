"""A package of somebody else adds a source, a technique, an annotator, a metric and a vision-only model.

A recipe and commands use them; no file of ours knows it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.cli import app
from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import read_recipe
from dfa_instruct.construction.resume import work_folder
from dfa_instruct.sources.portraits.drawing import draw_sample

RECIPE = """
sources:
  - {{kind: sample, identities: 8, pictures: 1}}
  - {{kind: scans, root: {root}}}
techniques: [{{name: stranger_negative, white: 250}}]
annotator: {{name: stranger_terse, mark: "!"}}
forgeries_per_face: 0.25
size: 64
detect_cropped: false
near_duplicates: -1
"""


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package lies on the path with its metadata, as an installed one does."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


def test_a_recipe_uses_a_strangers_source_and_technique(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for number, face in enumerate(draw_sample(identities=8, pictures=2, size=96, seed=9)):
        Image.fromarray(face.image).save(tmp_path / "scans" / f"person{number // 2}-{number % 2}.png")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=tmp_path / "scans"))
    build(read_recipe(recipe, tmp_path / "dfa-instruct"), workers=1)
    rows = [row for split in load_dataset(str(tmp_path / "dfa-instruct")).values() for row in split]
    scanned = [row for row in rows if row["source"] == "scans"]
    assert len(scanned) == 16 and {row["image"].size for row in scanned} == {(64, 64)}
    assert {row["identities"][0] for row in scanned} == {f"scans/person{n}" for n in range(8)}
    forged = [row for row in rows if row["technique"] == "stranger_negative"]
    assert len(forged) == 6 and all('"white": 250' in row["parameters"] and row["artifacts"] for row in forged)
    for row in forged:
        assert row["ad_by"] == "stranger_terse" and row["findings"]
        said = " ".join(f"{f['region'].capitalize()}: {' and '.join(f['artifacts'])}!" for f in row["findings"])
        assert said in [pair["answer"] for pair in row["qa"]]


def test_its_names_and_settings_are_known_to_messages(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    for source, said in (
        ("{kind: scan, root: .}", "unknown source 'scan'; did you mean 'scans'?"),
        ("{kind: scans, rot: .}", "source scans: unknown setting 'rot'; did you mean 'root'?"),
    ):
        recipe.write_text(f"sources: [{source}]")
        with pytest.raises(ValueError) as caught:
            build(read_recipe(recipe, tmp_path / "dfa-instruct"))
        assert said in str(caught.value)


def test_another_release_of_it_is_another_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site"
    shutil.copytree(Path(__file__).parent, package)
    recipe = tmp_path / "recipe.yaml"
    (tmp_path / "scans").mkdir()
    recipe.write_text(RECIPE.format(root=tmp_path / "scans"))
    monkeypatch.syspath_prepend(package)
    said = []
    for version in ("1.0", "1.1"):
        metadata = package / "dfa_stranger-1.0.dist-info" / "METADATA"
        metadata.write_text(metadata.read_text().replace("Version: 1.0", f"Version: {version}"))
        with work_folder(tmp_path / "dfa-instruct", read_recipe(recipe, tmp_path / "dfa-instruct")) as work:
            said.append(json.loads((work.root / "marks.json").read_text())["steps"])
        shutil.rmtree(work.root)
    assert said[0].keys() == said[1].keys() and all(said[0][step] != said[1][step] for step in said[0])


def test_its_vision_only_model_is_measured_by_its_metric_too(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    command = ["probe", "stranger_colours", "--data", str(dataset_folder), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["model"] == "stranger_colours" and set(results["tasks"]) == {"dfa_bench_dfd", "dfa_bench_dfc"}
    assert results["scores"]["stranger_words"]["mean"] >= 1
    done = CliRunner().invoke(app, ["table", "1", str(tmp_path / "out")])
    assert f"| stranger_colours | – | {results['tasks']['dfa_bench_dfd']['acc']:.2f} |" in done.stdout
