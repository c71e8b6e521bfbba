"""Calibration: a probability that means what it says, and the plain statement where a verdict means nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfa_instruct.sources.portraits.drawing import draw_sample
from modeling_dfa_gpt.calibration import (
    CALIBRATION_FILE,
    Calibration,
    balanced_accuracy,
    calibrate,
    certain_from,
    read_calibration,
)
from modeling_dfa_gpt.dfa_gpt import DfaGpt, merge


class Knowing:
    """Gives a logit that tells the label, but stretched and shifted, as an overconfident model would."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def forged_logits(self, faces: list[Image.Image]) -> list[float]:
        return [10 * (float(np.asarray(face).mean()) / 255 - 0.5) + 3 + self.rng.normal() for face in faces]


def test_a_threshold_that_is_off_is_set_right(tmp_path: Path) -> None:
    rows = [brightness(i % 2, i) for i in range(80)]
    folder = dataset(tmp_path / "dfa-instruct", {"train": rows[:2], "validation": rows[:40], "test": rows[40:]})
    found = calibrate(Knowing(), folder)
    assert found.images == 40 and found.scale > 0.1 and found.bias < -1
    assert found.tested is not None and found.tested["balanced_acc"] > 90 and found.tested["people"] == 40
    assert found.tested["apcer"] < 20 and found.tested["bpcer"] < 20
    assert found.warning() == "" and found.certain is not None and 0.5 <= found.certain < 1
    assert found.probability(3.0) == pytest.approx(0.5, abs=0.25)
    assert 0 <= found.probability(-1e9) < found.probability(1e9) <= 1


def test_a_few_faces_without_an_error_make_nobody_certain(tmp_path: Path) -> None:
    rows = [brightness(i % 2, i) for i in range(40)]
    found = calibrate(Knowing(), dataset(tmp_path / "dfa-instruct", {"validation": rows, "test": rows}))
    assert found.tested is not None and found.tested["balanced_acc"] == 100
    assert found.tested["turned_forged"] == found.tested["turned_bona_fide"] == 0
    sure = [found.probability(10 * (level / 255 - 0.5) + 3) for level in (60, 200)]  # the middle of either label
    assert sure == pytest.approx([1 / 22, 21 / 22], abs=0.02)


def test_verdicts_that_a_re_encoded_picture_turns_are_counted(tmp_path: Path) -> None:
    class Afraid(Knowing):
        """Takes a picture for forged that is not the first one of three: the others are its re-encodings."""

        def forged_logits(self, faces: list[Image.Image]) -> list[float]:
            first = [len(faces) % 3 != 0 or i % 3 == 0 for i in range(len(faces))]
            return [x if pristine else 9.0 for x, pristine in zip(super().forged_logits(faces), first, strict=True)]

    rows = [brightness(i % 2, i) for i in range(40)]
    found = calibrate(Afraid(), dataset(tmp_path / "dfa-instruct", {"validation": rows, "test": rows}))
    assert found.tested is not None and found.tested["balanced_acc"] == 100
    assert found.tested["turned_bona_fide"] == 100 and found.tested["turned_forged"] == 0


def test_videos_are_calibrated_where_there_are_enough_of_them(tmp_path: Path) -> None:
    rows = [{**brightness(i % 2, i), "video": f"v{i // 4}-{i % 2}"} for i in range(80)]
    found = calibrate(Knowing(), dataset(tmp_path / "enough", {"validation": rows, "test": rows[:20]}))
    assert found.videos == 40 and found.video_scale > 0
    sure = [found.video_probability([p] * 2) for p in (0.05, 0.95)]
    assert sure[0] < 0.1 and sure[1] > 0.9
    few = calibrate(Knowing(), dataset(tmp_path / "few", {"validation": rows[:30], "test": rows[:20]}))
    assert (few.images, few.videos) == (30, 0)
    assert few.video_probability([0.2, 0.4, 0.9]) == pytest.approx(0.5)  # their mean


def test_one_label_or_a_few_faces_calibrate_nothing(tmp_path: Path) -> None:
    for name, validation in (("few", [brightness(i % 2, i) for i in range(6)]), ("one", [brightness(1, 1)] * 30)):
        test = [brightness(i % 2, i) for i in range(20)]
        folder = dataset(tmp_path / name, {"train": test, "validation": validation, "test": test})
        found = calibrate(Knowing(), folder)
        assert (found.scale, found.bias, found.images) == (1.0, 0.0, 0)


def brightness(forged: int, person: int) -> dict:
    label = "forged" if forged else "bona_fide"
    bench = [{"ability": a, "question": "?", "answer": "?", "options": []} for a in ("df_d", "df_c", "ad")]
    buffer = Image.new("RGB", (8, 8), (200, 200, 200) if forged else (60, 60, 60))
    return {"image": buffer, "label": label, "identities": [f"p{person}"], "face_id": f"{person:016x}", "bench": bench}


def dataset(folder: Path, splits: dict[str, list[dict]]) -> Path:
    from datasets import Dataset

    from dfa_instruct.dataset.features import FEATURES

    (folder / "data").mkdir(parents=True)
    for split, rows in splits.items():
        whole = [{column: row.get(column) for column in FEATURES} for row in rows]
        Dataset.from_list(whole, features=FEATURES).to_parquet(str(folder / f"data/{split}-00000-of-00001.parquet"))
    return folder


def test_the_interval_is_over_people_not_pictures() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(10).astype(str), 40)
    labels = np.tile([True, False], 200)
    verdicts = np.repeat(rng.random(10) < 0.5, 40)  # of each person always the same
    of_people = balanced_accuracy(labels, verdicts, people)
    of_pictures = balanced_accuracy(labels, verdicts, np.arange(400).astype(str))
    assert of_people is not None and of_pictures is not None
    assert of_people["balanced_acc"] == of_pictures["balanced_acc"] == 50
    assert of_people["people"] == 10 and of_people["images"] == 400
    assert balanced_accuracy(np.array([True]), np.array([True]), np.array(["a"])) is None


def test_a_verdict_no_better_than_chance_is_said_to_be_so() -> None:
    guess = {"images": 100, "people": 9, "balanced_acc": 55.0, "low": 46.0, "high": 63.0}
    assert "not better than chance" in Calibration(tested=guess).warning()
    assert "hardly better than chance" in Calibration(tested={**guess, "low": 51.0}).warning()
    assert Calibration(tested={**guess, "low": 61.0}).warning() == ""


def test_it_goes_with_the_model_and_is_said_on_start(adapter: Path, tmp_path: Path) -> None:
    import shutil
    import subprocess
    import sys

    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    assert read_calibration(folder) == Calibration() and DfaGpt.from_pretrained(folder).calibration.images == 0
    guess = {"images": 100, "people": 9, "balanced_acc": 55.0, "low": 46.0, "high": 63.0}
    written = Calibration(2.0, -0.5, 60, guess)
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


def test_a_file_that_cannot_be_read_is_named(adapter: Path, tmp_path: Path) -> None:
    for content in ("{", json.dumps({"scale": 1, "wrong": 2}), "[]"):
        (tmp_path / CALIBRATION_FILE).write_text(content)
        with pytest.raises(ValueError, match=f"{tmp_path}: {CALIBRATION_FILE} cannot be read"):
            read_calibration(tmp_path)


def test_the_uncertain_band_ends_where_verdicts_are_right() -> None:
    sureness = np.linspace(0.5, 0.99, 50)
    labels = np.tile([True, False], 25)
    probabilities = np.where(labels, sureness, 1 - sureness)
    assert certain_from(labels, probabilities) == 0.5
    wrong = sureness < 0.7
    edge = certain_from(labels, np.where(wrong, 1 - probabilities, probabilities))
    assert 0.67 <= edge <= 0.71
    assert certain_from(~labels, probabilities) == 1.0
    unsure = Calibration(certain=edge)
    assert [unsure.is_uncertain(p) for p in (0.01, 0.4, 0.5, 0.6, 0.99)] == [False, True, True, True, False]
    assert not Calibration().is_uncertain(0.5)
    assert all(Calibration(certain=1.0).is_uncertain(p) for p in (0.01, 0.5, 0.99))
