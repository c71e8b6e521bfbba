"""Calibration: fitting the probability of a verdict, and the warning about verdicts that mean nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from dfa_instruct.dataset.features import FEATURES
from dfa_instruct.sources.portraits.drawing import draw_sample
from modeling_dfa_gpt.calibration import (
    CALIBRATION_FILE,
    Calibration,
    balanced_accuracy,
    calibrate,
    certainty_threshold,
    read_calibration,
)
from modeling_dfa_gpt.dfa_gpt import DfaGpt, merge

GUESS = {"images": 100, "people": 9, "balanced_acc": 55.0, "low": 46.0, "high": 63.0}


class BrightnessModel:
    """Computes a logit from the brightness, scaled and shifted like that of an overconfident model."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def forged_logits(self, faces: list[Image.Image]) -> list[float]:
        return [10 * (float(np.asarray(face).mean()) / 255 - 0.5) + 3 + self.rng.normal() for face in faces]


def row(forged: int, person: int) -> dict:
    label = "forged" if forged else "bona_fide"
    bench = [{"ability": a, "question": "?", "answer": "?", "options": []} for a in ("df_d", "df_c", "ad")]
    image = Image.new("RGB", (8, 8), (200, 200, 200) if forged else (60, 60, 60))
    return {"image": image, "label": label, "identities": [f"p{person}"], "face_id": f"{person:016x}", "bench": bench}


def rows(count: int) -> list[dict]:
    return [row(i % 2, i) for i in range(count)]


def dataset(folder: Path, **splits: list[dict]) -> Path:
    (folder / "data").mkdir(parents=True)
    for split, given in splits.items():
        complete = [{column: row.get(column) for column in FEATURES} for row in given]
        Dataset.from_list(complete, features=FEATURES).to_parquet(str(folder / f"data/{split}-00000-of-00001.parquet"))
    return folder


def test_a_shifted_threshold_is_corrected(tmp_path: Path) -> None:
    found = calibrate(BrightnessModel(), dataset(tmp_path, validation=rows(80)[:40], test=rows(80)[40:]))
    assert found.images == 40 and found.scale > 0.1 and found.bias < -1
    assert found.tested is not None and found.tested["balanced_acc"] > 90 and found.tested["people"] == 40
    assert found.tested["apcer"] < 20 and found.tested["bpcer"] < 20
    assert found.warning() == "" and found.certain is not None and 0.5 <= found.certain < 1
    assert found.probability(3.0) == pytest.approx(0.5, abs=0.25)
    assert 0 <= found.probability(-1e9) < found.probability(1e9) <= 1


def test_few_faces_without_an_error_give_no_extreme_probability(tmp_path: Path) -> None:
    found = calibrate(BrightnessModel(), dataset(tmp_path, validation=rows(40), test=rows(40)))
    assert found.tested is not None and found.tested["balanced_acc"] == 100
    assert found.tested["turned_forged"] == found.tested["turned_bona_fide"] == 0
    probabilities = [found.probability(10 * (level / 255 - 0.5) + 3) for level in (60, 200)]  # the mean of each label
    assert probabilities == pytest.approx([1 / 22, 21 / 22], abs=0.02)


def test_verdicts_that_change_with_re_encoding_are_counted(tmp_path: Path) -> None:
    class UnstableModel(BrightnessModel):
        """Calls every re-encoded image forged. Images come in groups of three, the original first."""

        def forged_logits(self, faces: list[Image.Image]) -> list[float]:
            original = [len(faces) % 3 != 0 or i % 3 == 0 for i in range(len(faces))]
            return [x if first else 9.0 for x, first in zip(super().forged_logits(faces), original, strict=True)]

    found = calibrate(UnstableModel(), dataset(tmp_path, validation=rows(40), test=rows(40)))
    assert found.tested is not None and found.tested["balanced_acc"] == 100
    assert found.tested["turned_bona_fide"] == 100 and found.tested["turned_forged"] == 0


def test_videos_are_calibrated_if_there_are_enough(tmp_path: Path) -> None:
    frames = [{**row(i % 2, i), "video": f"v{i // 4}-{i % 2}"} for i in range(80)]
    found = calibrate(BrightnessModel(), dataset(tmp_path / "enough", validation=frames, test=frames[:20]))
    assert found.videos == 40 and found.video_scale > 0
    assert found.video_probability([0.05] * 2) < 0.1 and found.video_probability([0.95] * 2) > 0.9
    few = calibrate(BrightnessModel(), dataset(tmp_path / "few", validation=frames[:30], test=frames[:20]))
    assert (few.images, few.videos) == (30, 0)
    assert few.video_probability([0.2, 0.4, 0.9]) == pytest.approx(0.5)  # their mean


@pytest.mark.parametrize("validation", [rows(6), [row(1, 1)] * 30], ids=["few faces", "one label"])
def test_nothing_is_fitted(validation: list[dict], tmp_path: Path) -> None:
    found = calibrate(BrightnessModel(), dataset(tmp_path, validation=validation, test=rows(20)))
    assert (found.scale, found.bias, found.images) == (1.0, 0.0, 0)


def test_the_interval_is_over_people_not_images() -> None:
    people = np.repeat(np.arange(10).astype(str), 40)
    labels = np.tile([True, False], 200)
    correct = np.repeat(np.arange(10) % 2 == 0, 40)  # the same for all images of a person
    verdicts = labels == correct
    over_people = balanced_accuracy(labels, verdicts, people)
    over_images = balanced_accuracy(labels, verdicts, np.arange(400).astype(str))
    assert over_people is not None and over_images is not None
    assert over_people["balanced_acc"] == over_images["balanced_acc"] == 50
    assert over_people["people"] == 10 and over_people["images"] == 400
    assert over_people["high"] - over_people["low"] > 3 * (over_images["high"] - over_images["low"])
    assert balanced_accuracy(np.array([True]), np.array([True]), np.array(["a"])) is None


def test_verdicts_hardly_better_than_chance_have_a_warning() -> None:
    assert "not better than chance" in Calibration(tested=GUESS).warning()
    assert "hardly better than chance" in Calibration(tested={**GUESS, "low": 51.0}).warning()
    assert Calibration(tested={**GUESS, "low": 61.0}).warning() == ""


def test_the_calibration_is_stored_with_the_model_and_printed(adapter: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    assert read_calibration(folder) == Calibration() and DfaGpt.from_pretrained(folder).calibration.images == 0
    written = Calibration(2.0, -0.5, 60, GUESS)
    written.write(folder)
    assert DfaGpt.from_pretrained(folder).calibration == written
    merge(folder, tmp_path / "merged")
    assert DfaGpt.from_pretrained(tmp_path / "merged").calibration == written

    face = tmp_path / "face.png"
    Image.fromarray(next(draw_sample(1, 1)).image).save(face)
    command = [sys.executable, "-c", "from modeling_dfa_gpt.cli import app; app()"]
    for arguments in (["chat", str(folder), str(face)], ["analyze", str(folder), str(face), "--force"]):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, input="")
        assert done.returncode == 0 and "not better than chance" in done.stdout + done.stderr


@pytest.mark.parametrize("content", ["{", json.dumps({"scale": 1, "wrong": 2}), "[]"])
def test_a_malformed_file_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(content)
    with pytest.raises(ValueError, match=f"{tmp_path}: {CALIBRATION_FILE}"):
        read_calibration(tmp_path)


def test_the_uncertain_range_ends_where_verdicts_are_correct() -> None:
    certainty = np.linspace(0.5, 0.99, 50)
    labels = np.tile([True, False], 25)
    probabilities = np.where(labels, certainty, 1 - certainty)
    assert certainty_threshold(labels, probabilities) == 0.5
    threshold = certainty_threshold(labels, np.where(certainty < 0.7, 1 - probabilities, probabilities))
    assert 0.67 <= threshold <= 0.71
    assert certainty_threshold(~labels, probabilities) == 1.0
    is_uncertain = Calibration(certain=threshold).is_uncertain
    assert [is_uncertain(p) for p in (0.01, 0.4, 0.5, 0.6, 0.99)] == [False, True, True, True, False]
    assert not Calibration().is_uncertain(0.5)
    assert all(Calibration(certain=1.0).is_uncertain(p) for p in (0.01, 0.5, 0.99))
