"""The map of where a face was forged: learned, written, read, and shown by every way to analyze a face."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.bench.localisation import localised_faces
from modeling_dfa_gpt.app.case import Analyst, Case
from modeling_dfa_gpt.app.drawing import case_html
from modeling_dfa_gpt.app.upload import open_upload
from modeling_dfa_gpt.cli import app
from modeling_dfa_gpt.dfa_gpt import DfaGpt, merge
from modeling_dfa_gpt.forgery_map import MAP_FILE, NAMED, ForgeryMap, read_forgery_map
from modeling_dfa_gpt.picture import OpenedFace


@pytest.fixture(scope="module")
def model(adapter: Path) -> DfaGpt:
    return DfaGpt.from_pretrained(adapter)


@pytest.fixture(scope="module")
def learned(model: DfaGpt, dataset_folder: Path) -> ForgeryMap:
    found = ForgeryMap.learn(model, dataset_folder)
    assert found
    return found


@pytest.fixture
def mapped(adapter: Path, learned: ForgeryMap, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    learned.write(folder)
    return folder


@pytest.fixture
def forged(dataset_folder: Path) -> Image.Image:
    return next(image for image, mask in localised_faces(dataset_folder, "test") if mask.any())


def test_changed_patches_are_told_from_others(model: DfaGpt, learned: ForgeryMap, dataset_folder: Path) -> None:
    figures = learned.measure(model, dataset_folder)
    assert set(figures) == {"map", "image_blind", "attention"}
    assert figures["map"]["pixel_auc"] > max(80, figures["attention"]["pixel_auc"])
    faces = list(localised_faces(dataset_folder, "train"))
    maps = learned.of(model, [image for image, _ in faces])
    means = [float(made.mean()) for made in maps]
    changed = np.array([mask.any() for _, mask in faces])
    assert np.mean(means, where=changed) > 2 * np.mean(means, where=~changed)


def test_it_is_the_same_after_writing_and_reading(
    model: DfaGpt, learned: ForgeryMap, mapped: Path, forged: Image.Image
) -> None:
    read = read_forgery_map(mapped)
    assert read
    np.testing.assert_array_equal(read.of(model, [forged])[0], learned.of(model, [forged])[0])


def test_analyze_states_the_changed_regions(mapped: Path, forged: Image.Image, tmp_path: Path) -> None:
    forged.save(tmp_path / "face.png")
    done = CliRunner().invoke(app, ["analyze", str(mapped), str(tmp_path / "face.png"), "--force", "--json"])
    changed = json.loads(done.stdout.splitlines()[-1])["changed"]
    assert np.shape(changed["probabilities"]) == (8, 8) and 0 < changed["threshold"] < 1
    assert all(0 <= region["share"] <= 1 for region in changed["regions"].values())


def test_changed_lips_are_found_at_the_mouth(model: DfaGpt, learned: ForgeryMap, dataset_folder: Path) -> None:
    rows = load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="train")
    lips = rows.filter(lambda technique: technique == "lips", input_columns="technique")
    found = [
        learned.changed(model, OpenedFace(row["image"], 1, True, landmarks=np.array(row["landmarks"], np.float32)))
        for row in lips
    ]
    mouth, forehead = (np.mean([one.regions[name].share for one in found]) for name in ("mouth", "forehead"))
    assert found and mouth > forehead + 0.2
    assert all(one.regions["mouth"].polygons for one in found)
    assert all(share >= NAMED for one in found for _, share in one.named_regions())


def test_page_and_report_show_it_in_place_of_the_attention(
    model: DfaGpt, learned: ForgeryMap, forged: Image.Image, tmp_path: Path
) -> None:
    forged.save(tmp_path / "face.png")
    upload = open_upload(tmp_path / "face.png")
    for forgery_map, title in ((learned, "Where the face may have been changed"), (None, "Attention of the vision")):
        shown = DfaGpt(model.model, model.processor, model.calibration, None, forgery_map)
        case = Case(upload, [OpenedFace(forged, 1, True)], chosen=0)
        *_, case = Analyst(shown).analyze(case)
        _, face = case_html(case, shown.calibration)
        assert title in face and face.count("<details") == 1


def test_a_merged_model_keeps_it(mapped: Path, tmp_path: Path) -> None:
    merge(mapped, tmp_path / "merged")
    assert (tmp_path / "merged" / MAP_FILE).read_bytes() == (mapped / MAP_FILE).read_bytes()


def test_a_map_of_another_tower_is_refused_when_the_model_is_loaded(mapped: Path, learned: ForgeryMap) -> None:
    ForgeryMap(learned.weights[1:], learned.bias, learned.threshold).write(mapped)
    done = CliRunner().invoke(app, ["analyze", str(mapped), "face.png"])
    assert done.exit_code == 2 and MAP_FILE in done.stderr and "dfa-gpt calibrate" in done.stderr


@pytest.fixture(params=["text", "keys", "shapes"])
def broken(request: pytest.FixtureRequest, mapped: Path) -> Iterator[Path]:
    file = mapped / MAP_FILE
    if request.param == "text":
        file.write_text("not an archive")
    else:
        np.savez(file, **({"weights": np.ones(3)} if request.param == "keys" else _wrong_shapes()))
    yield mapped


def _wrong_shapes() -> dict[str, np.ndarray]:
    return {"weights": np.ones((3, 3)), "bias": np.ones(3), "threshold": np.ones(())}


def test_a_broken_file_is_named(broken: Path) -> None:
    with pytest.raises(ValueError, match=MAP_FILE):
        read_forgery_map(broken)
