"""Known faces: a model gives no verdict on a face unlike those that it was trained on."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.sources.portraits.drawing import draw_sample
from modeling_dfa_gpt.calibration import Calibration, read_calibration
from modeling_dfa_gpt.cli import app
from modeling_dfa_gpt.dfa_gpt import DfaGpt, merge
from modeling_dfa_gpt.domain import DOMAIN_FILE, Domain, FineDetail, KnownFaces, read_known_faces
from modeling_dfa_gpt.picture import OpenedFace, open_faces
from modeling_dfa_gpt.timeline import analyze_frame

PEOPLE, KNOWN = 150, 110


@pytest.fixture(scope="module")
def portraits() -> list[Image.Image]:
    return [Image.fromarray(face.image) for face in draw_sample(PEOPLE, pictures=1, size=128)]


@pytest.fixture(scope="module")
def drawings(portraits: list[Image.Image]) -> Domain:
    return Domain.fit(portraits[:KNOWN], people(KNOWN))


def people(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def noise(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (128, 128, 3), np.uint8)) for _ in range(count)]


def share(known: Domain | KnownFaces, faces: Iterable[Image.Image]) -> float:
    if isinstance(known, KnownFaces):
        return float(np.mean([not known.reason_against(face, "") for face in faces]))
    return float(np.mean([known.contains(face) for face in faces]))


def test_held_out_faces_are_known_and_noise_is_not(drawings: Domain, portraits: list[Image.Image]) -> None:
    assert share(drawings, portraits[KNOWN:]) >= 0.95
    assert share(drawings, noise(10)) == 0


def degraded(face: Image.Image) -> list[Image.Image]:
    """Return a face at half the size, enlarged again, and as a poor JPEG."""
    half = face.resize((face.width // 2, face.height // 2), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    face.save(buffer, format="JPEG", quality=50)
    return [half, half.resize(face.size, Image.Resampling.BICUBIC), Image.open(buffer).convert("RGB")]


def test_degraded_faces_are_unknown(portraits: list[Image.Image]) -> None:
    detail = FineDetail.fit(portraits[:KNOWN], people(KNOWN))
    assert np.mean([detail.contains(face) for face in portraits[KNOWN:]]) >= 0.9
    assert np.mean([detail.contains(picture) for face in portraits[KNOWN:] for picture in degraded(face)]) <= 0.05


def test_degraded_faces_are_known_if_they_were_learned(portraits: list[Image.Image]) -> None:
    learned = [picture for face in portraits[:KNOWN] for picture in (face, *degraded(face))]
    detail = FineDetail.fit(learned, np.repeat(people(KNOWN), 4).tolist())
    assert np.mean([detail.contains(picture) for face in portraits[KNOWN:] for picture in degraded(face)]) >= 0.9


def test_reason_names_the_fine_detail(drawings: Domain, portraits: list[Image.Image]) -> None:
    known = KnownFaces(drawings, detail=FineDetail.fit(portraits[:KNOWN], people(KNOWN)))
    half = next(p for face in portraits[KNOWN:] if drawings.contains(p := degraded(face)[1]))
    assert "(drawn portraits) in its fine detail" in known.reason_against(half, "drawn portraits")
    assert known.reason_against(noise(1)[0], "drawn portraits").endswith("(drawn portraits)")


def test_photographs_and_generated_faces_are_not_drawings(drawings: Domain, photos: Path, synthesized: Path) -> None:
    for folder in (photos, synthesized):
        pictures = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.*g"))[:40]]
        found = [face.image for picture in pictures for face in open_faces(picture, 128) if face.aligned]
        assert len(found) >= 30 and share(drawings, found) <= 0.05


def test_model_of_photographs_does_not_know_drawings(drawings: Domain, portraits: list[Image.Image]) -> None:
    anything = Domain(drawings.mean, drawings.scale, drawings.components, np.float32(np.finfo(np.float32).max))
    assert share(KnownFaces(anything), portraits[KNOWN:]) == 1
    assert share(KnownFaces(anything, drawings), portraits[KNOWN:]) <= 0.05
    assert share(KnownFaces(anything, drawings), noise(10)) == 1


def test_unknown_face_gets_no_verdict(adapter: Path, drawings: Domain) -> None:
    model = DfaGpt.from_pretrained(adapter)
    model.calibration = Calibration(images=100, trained_on="drawn portraits")
    unknown = OpenedFace(noise(1)[0], 1, True)
    model.open_faces = lambda picture: [unknown]  # type: ignore[method-assign]
    model.known_faces = KnownFaces(drawings)
    refused = model.analyze(unknown.image)
    assert refused.reason == "unlike what this model was trained on (drawn portraits)" and not refused.forced
    nothing = (refused.label, refused.probability, refused.category, refused.verdict, refused.description)
    assert nothing == (None, None, None, "", "")
    forced = model.analyze(unknown.image, force=True)
    assert forced.forced and forced.reason == refused.reason and forced.label and not forced.calibrated
    assert model.chat(unknown.image).notice == refused.reason
    assert analyze_frame(model, unknown.image).probability is None
    assert analyze_frame(model, unknown.image, force=True).probability is not None
    model.known_faces = None
    assert model.analyze(unknown.image).reason == "" and model.chat(unknown.image).notice == ""


def test_without_a_landmarker_there_is_no_verdict(
    adapter: Path, portraits: list[Image.Image], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DFA_FACE_LANDMARKER", str(tmp_path / "absent.task"))
    model = DfaGpt.from_pretrained(adapter)
    analysis = model.analyze(portraits[0])
    assert (analysis.faces, analysis.label) == (None, None) and "absent.task" in analysis.reason
    assert model.analyze(portraits[0], force=True).label is not None


def test_calibrate_writes_the_known_faces(adapter: Path, dataset_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "adapter"
    shutil.copytree(adapter, copy)
    done = CliRunner().invoke(app, ["calibrate", str(copy), "--data", str(dataset_folder), "--limit", "8"])
    assert done.exit_code == 0, done.output
    assert read_calibration(copy).trained_on == "drawn portraits" and "(drawn portraits)" in done.output
    assert "This model was trained on drawn portraits" in (copy / "README.md").read_text()
    assert "Loading weights" not in done.output
    learned = KnownFaces.learn(dataset_folder)
    assert (read_known_faces(copy) is None) == (learned is None)


def test_calibrate_checks_its_paths_before_loading_the_model(
    adapter: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "adapter"  # loading it would raise another error
    shutil.copytree(adapter, broken)
    (broken / "adapter_model.safetensors").write_bytes(b"")
    for model, data, wrong in (
        (broken, tmp_path / "absent", f"{tmp_path / 'absent'}"),
        (broken, tmp_path, f"{tmp_path}: "),
        (Path("analyst/dfa-gpt"), dataset_folder, "analyst/dfa-gpt: "),
    ):
        done = CliRunner().invoke(app, ["calibrate", str(model), "--data", str(data)])
        assert done.exit_code == 2 and done.stderr.startswith(f"error: {wrong}"), done.stderr


def test_known_faces_are_copied_into_a_merged_model(adapter: Path, drawings: Domain, tmp_path: Path) -> None:
    copy = tmp_path / "adapter"
    shutil.copytree(adapter, copy)
    detail = FineDetail(np.zeros((3, 3), np.float32), np.float32(1))
    KnownFaces(drawings, drawings, detail).write(copy)
    Calibration(images=100, trained_on="drawn portraits").write(copy)
    assert (copy / DOMAIN_FILE).stat().st_size < 600_000
    merge(copy, tmp_path / "merged")
    for folder in (copy, tmp_path / "merged"):
        found = read_known_faces(folder)
        assert found and found.drawn and found.detail and found.detail.limit == detail.limit
        grey = Image.new("RGB", (128, 128))
        assert found.trained.contains(grey) == drawings.contains(grey)
        card = (folder / "README.md").read_text()
        assert "This model was trained on drawn portraits" in card or folder == copy
        assert np.allclose(found.trained.components, drawings.components, atol=1e-3)


@pytest.mark.parametrize("damage", ["empty", "text", "shapes", "infinite", "other"])
def test_damaged_file_is_an_error_that_names_it(damage: str, drawings: Domain, tmp_path: Path) -> None:
    KnownFaces(drawings).write(tmp_path)
    file = tmp_path / DOMAIN_FILE
    with np.load(file) as stored:
        arrays = dict(stored)
    if damage in ("empty", "text"):
        file.write_bytes(b"" if damage == "empty" else json.dumps({}).encode())
    else:
        changed = {
            "shapes": {"trained.mean": np.zeros(3, np.float32)},
            "infinite": {"trained.limit": np.asarray(np.nan, np.float32)},
            "other": {},
        }[damage]
        np.savez(file, **({} if damage == "other" else arrays | changed))
    with pytest.raises(ValueError, match=f"{file}: "):
        KnownFaces.read(file)
