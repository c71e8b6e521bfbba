"""Scores: compared with scikit-learn's figures and with figures computed by hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import bootstrap
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, det_curve, roc_auc_score

from dfa_instruct.bench.results import make_results
from dfa_instruct.bench.runner import run_bench
from dfa_instruct.bench.scores import (
    all_metrics,
    apcer_at,
    bootstrap_interval,
    confidence_intervals,
    ece,
    eer,
    forged_probabilities,
    option_scores,
    probability_scores,
    technique_scores,
    video_scores,
)
from dfa_instruct.vocabulary import CATEGORIES


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module of an installed package that adds a metric."""
    metadata = tmp_path / "stranger-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[dfa_instruct.metrics]\nwords = stranger:words\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    return tmp_path / "stranger.py"


def test_a_plug_ins_figure_that_no_row_determines_is_null(plug_in: Path) -> None:
    plug_in.write_text("def words(predictions):\n    return {'count': 3, 'none': float('nan')}\n")
    metrics = {"words": all_metrics()["words"]}
    assert make_results([], [], metrics)["scores"]["words"] == {"count": 3.0, "none": None}


def test_a_plug_in_that_does_not_load_is_named_before_the_model_is_asked(plug_in: Path, dataset_folder: Path) -> None:
    plug_in.write_text("")
    with pytest.raises(ValueError, match=r"metric words: its plug-in stranger:words does not load"):
        run_bench("no/such/model", dataset_folder)


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that tell them apart now and then."""
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.6
    return labels, 1 / (1 + np.exp(-rng.normal(np.where(labels, 1, -1), 1.5)))


def predicted(labels: np.ndarray, probabilities: np.ndarray, **others: Any) -> list[dict[str, Any]]:
    return [
        {
            "task": "dfa_bench_dfd",
            "face_id": str(number),
            "identities": [f"person {number // 3}"],
            "label": "forged" if label else "bona_fide",
            "category": "face_editing" if label else "bona_fide",
            "technique": "lips" if label else None,
            "predicted": "forged" if probability > 0.5 else "bona_fide",
            "first_token": {"Yes": math.log(probability / 2), "No": math.log((1 - probability) / 2)},
            **others,
        }
        for number, (label, probability) in enumerate(zip(labels, probabilities, strict=True))
    ]


def test_the_probability_is_that_of_a_yes_among_yes_and_no() -> None:
    labels, probabilities = drawn(50)
    found = forged_probabilities(predicted(labels, probabilities))
    assert (found[0] == labels).all()
    assert found[1] == pytest.approx(probabilities)
    assert probability_scores(predicted(labels, probabilities))["choice"] == pytest.approx(50)


@pytest.mark.parametrize("seed", range(5))
def test_probabilities_score_as_scikit_learn_says(seed: int) -> None:
    labels, probabilities = drawn(400, seed)
    figures = probability_scores(predicted(labels, probabilities))
    assert figures["auc"] == pytest.approx(100 * roc_auc_score(labels, probabilities))
    assert figures["brier"] == pytest.approx(100 * brier_score_loss(labels, probabilities))
    true, said = calibration_curve(labels, probabilities, n_bins=10)
    sizes = np.histogram(probabilities, bins=10, range=(0, 1))[0]
    assert figures["ece"] == pytest.approx(100 * np.abs(true - said) @ sizes[sizes > 0] / 400)
    bpcer, apcer, _ = det_curve(labels, probabilities)  # its error rates are those, a forgery being the positive
    nearest = np.abs(bpcer - apcer).argmin()
    assert figures["eer"] == pytest.approx(50 * (bpcer[nearest] + apcer[nearest]), abs=0.5)
    for level in (1, 5):
        assert figures[f"apcer_at_bpcer_{level}"] == pytest.approx(100 * apcer[bpcer <= level / 100].min())


def test_rates_by_hand() -> None:
    # Bona fide at .1 .2 .6, forged at .3 .7 .8: one of three each is wrong at any threshold from .3 to .6.
    labels = np.array([False, False, False, True, True, True])
    probabilities = np.array([0.1, 0.2, 0.6, 0.3, 0.7, 0.8])
    assert eer(labels, probabilities) == pytest.approx(100 / 3)
    assert apcer_at(labels, probabilities, 0.05) == pytest.approx(100 / 3)  # above .6
    assert apcer_at(labels, probabilities, 0.34) == 0
    assert eer(labels, 1 - probabilities) == pytest.approx(200 / 3)
    assert ece(np.array([True, False]), np.array([1.0, 0.0])) == 0
    assert ece(np.array([True, False]), np.array([0.8, 0.8])) == pytest.approx(30)


def test_one_label_has_no_ranking() -> None:
    labels, probabilities = drawn(20)
    figures = probability_scores(predicted(np.ones(20, bool), probabilities))
    assert all(math.isnan(figures[name]) for name in ("auc", "eer", "apcer_at_bpcer_1", "apcer_at_bpcer_5"))
    assert figures["brier"] > 0
    without = [{**p, "first_token": None} for p in predicted(labels, probabilities)]
    assert probability_scores(without) == {}
    assert "dfd_auc_low" not in confidence_intervals(without)


def test_techniques_by_hand() -> None:
    faces = predicted(np.array([True] * 4), np.array([0.9, 0.1, 0.9, 0.1]))
    for face, technique in zip(faces, ("swap", "swap", "lips", None), strict=True):
        face["technique"] = technique
    faces += predicted(np.array([False]), np.array([0.9]))
    assert technique_scores(faces) == {"lips": 0, "swap": 50, "unknown": 100, "macro": 50, "worst": 100}
    assert technique_scores(faces[-1:]) == {}


def test_an_interval_is_wider_where_rows_share_people() -> None:
    right = np.random.default_rng(0).random(300) < 0.8

    def share(weights: np.ndarray) -> float:
        return 100 * float(weights[right].sum() / weights.sum())

    low, high = bootstrap_interval(share, np.arange(300))
    theirs = bootstrap((right,), lambda hits: 100 * np.mean(hits), n_resamples=5000, method="percentile", rng=1)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.8)
    right.sort()  # so that a person's rows are alike
    wide = bootstrap_interval(share, np.arange(300) // 10)
    assert wide[1] - wide[0] > 2.5 * (high - low)
    assert all(math.isnan(end) for end in bootstrap_interval(share, np.zeros(300)))


def test_intervals_hold_the_figures() -> None:
    labels, probabilities = drawn(300)
    asked = predicted(labels, probabilities)
    texts = [{**p, "task": "dfa_bench_ad", "rouge_l": 40 + 20 * probabilities[i]} for i, p in enumerate(asked)]
    classes = [{**p, "task": "dfa_bench_dfc", "predicted": p["category"]} for p in asked]
    figures = confidence_intervals([*asked, *classes, *texts])
    acc = 100 * np.mean(labels == (probabilities > 0.5))
    assert figures["dfd_acc_low"] < acc < figures["dfd_acc_high"]
    assert figures["dfd_auc_low"] < 100 * roc_auc_score(labels, probabilities) < figures["dfd_auc_high"]
    assert figures["dfc_acc_low"] == figures["dfc_acc_high"] == 100
    assert figures["ad_rouge_l_low"] < 40 + 20 * probabilities.mean() < figures["ad_rouge_l_high"]
    assert figures == confidence_intervals([*asked, *classes, *texts])


def test_a_model_that_runs_is_scored(base: Path, dataset_folder: Path) -> None:
    results = run_bench(base, dataset_folder, tasks=["dfa_bench_dfd"], limit=12)
    scores = results["scores"]
    assert set(scores) >= {"probabilities", "techniques", "intervals", "habits"}  # and a plug-in's, where one is
    assert scores["probabilities"]["choice"] > 90  # the carried base answers yes or no
    for prediction in results["predictions"]:
        likelier = max(prediction["first_token"], key=prediction["first_token"].get)
        assert prediction["answer"].startswith(likelier)
        assert (prediction["predicted"] == "forged") == (likelier == "Yes")
    _, probabilities = forged_probabilities(results["predictions"])
    first = results["predictions"][0]["first_token"]
    assert logit(probabilities[0]) == pytest.approx(first["Yes"] - first["No"])


def test_options_by_hand() -> None:
    def answered(category: str, *shares: float) -> dict[str, Any]:
        first = {name: math.log(share) for name, share in zip(CATEGORIES.values(), shares, strict=True)}
        label = "bona_fide" if category == "bona_fide" else "forged"
        return {"task": "dfa_bench_dfc", "label": label, "category": category, "first_token": first}

    sure = answered("bona_fide", 0.4, 0.05, 0.05, 0.05, 0.05)
    right = answered("face_swapping", 0.1, 0.3, 0.05, 0.05, 0.1)
    wrong = answered("face_editing", 0.18, 0.02, 0.02, 0.02, 0.01)  # of the options, bona fide is likelier than above
    found = option_scores([sure, right, wrong])
    assert found["auc"] == 50 and found["acc"] == pytest.approx(200 / 3)
    assert found["choice"] == pytest.approx(100 * (0.6 + 0.6 + 0.25) / 3)
    assert math.isnan(option_scores([sure])["auc"]) and option_scores([{**sure, "first_token": {}}]) == {}


def test_a_video_is_scored_by_the_mean_of_its_frames() -> None:
    labels = np.repeat([True, False, True, False], 3)
    probabilities = np.array(
        [0.9, 0.2, 0.7, 0.1, 0.6, 0.2, 0.4, 0.3, 0.35, 0.7, 0.8, 0.1]
    )  # means 0.6, 0.3, 0.35, 0.53
    rows = predicted(labels, probabilities)
    for number, row in enumerate(rows):
        row["video"] = f"ff/{number // 3}"
    assert video_scores(rows) == pytest.approx({"auc": 75, "balanced_acc": 50})
    stills = [{**row, "video": None} for row in predicted(labels, 1 - probabilities)]
    assert video_scores([*rows, *stills]) == video_scores(rows) and video_scores(stills) == {}
    assert all(math.isnan(value) for value in video_scores(rows[:3]).values())
    assert video_scores([{**row, "first_token": None} for row in rows]) == {}


def test_what_was_forged_of_a_video_s_frames_is_a_video_of_its_own() -> None:
    rows = predicted(np.array([False, False, True, True]), np.array([0.1, 0.3, 0.8, 0.6]), video="ff/1")
    assert video_scores(rows) == {"auc": 100, "balanced_acc": 100}
