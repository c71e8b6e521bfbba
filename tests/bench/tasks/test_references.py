"""Descriptions are compared with those of all people, and with the pixels apart from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench_data import row, write

from dfa_instruct.bench.experiments.baselines import majority
from dfa_instruct.bench.metrics import description_figures
from dfa_instruct.bench.runner import load_rows, run_bench
from dfa_instruct.bench.tasks.references import against_people
from dfa_instruct.vocabulary import BenchTask

MOUTH = "The mouth is blurred."
CHIN = "The chin is blurred and the nose is too dark."


def written(person: str, text: str, *regions: str) -> dict[str, Any]:
    findings = [{"region": region, "artifacts": ["sharpness"], "sentence": text} for region in regions]
    return {"person": person, "about": "", "text": text, "findings": findings}


def described(split: str, number: int, *descriptions: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a forgery that differs in the mouth and the eyes from its pair."""
    evident = [{"region": region, "artifact": "colour", "strength": 1.0} for region in ("mouth", "eyes")]
    facts = {"descriptions": list(descriptions), "artifacts": evident, "pairing": "same_frame"}
    return row("face_swapping", split, number) | facts


def test_an_answer_is_compared_with_each_person_and_with_the_pixels() -> None:
    line = described("test", 1, written("ann", MOUTH, "mouth"), written("bob", CHIN, "chin", "nose"))
    found = against_people(line, "The mouth is blurred. The cheeks are too red.")
    assert [person["regions"] for person in found["people"]] == [["mouth"], ["chin", "nose"]]
    assert found["people"][0]["rouge_l"] > found["people"][1]["rouge_l"] > 0
    assert found["named"] == ["cheeks", "mouth"] and found["evident"] == ["eyes", "mouth"]
    assert against_people(line | {"pairing": "refused"}, MOUTH)["evident"] is None
    assert against_people(line | {"descriptions": []}, MOUTH) == {}


def test_people_and_pixels_have_figures_of_their_own() -> None:
    line = described("test", 1, written("ann", MOUTH, "mouth"), written("bob", CHIN, "chin", "nose"))
    one = {"label": "forged", "rouge_l": 10.0, **against_people(line, MOUTH)}
    other = {"label": "bona_fide", "rouge_l": 30.0, **against_people(row("bona_fide", "test", 2), MOUTH)}
    figures = description_figures([one, other])
    assert figures["rouge_l"] == 20 and figures["rouge_l_best"] == figures["rouge_l_best_forged"] == 100
    assert figures["rouge_l_mean"] == pytest.approx((100 + one["people"][1]["rouge_l"]) / 2)
    assert figures["region_recall_people"] == pytest.approx(100 / 3)
    assert figures["region_recall_pixels"] == 50
    assert figures["region_precision_people"] == figures["region_precision_pixels"] == 100
    assert set(description_figures([other])) == {"rouge_l", "rouge_l_forged"}


def test_the_bench_and_the_best_constant_answer_are_compared_with_people(tmp_path: Path) -> None:
    train = [described("train", number, written("1", MOUTH, "mouth")) for number in range(3)]
    test = [described("test", 9, written("1", CHIN, "chin", "nose"), written("2", MOUTH, "mouth"))]
    for line in train:
        line["qa"][0]["answer"] = MOUTH
    test[0]["bench"][2]["answer"] = CHIN
    data = write(tmp_path / "dfa-instruct", {"train": train, "test": test})

    class Parrot:
        """Answers every question with what the second person has written."""

        def greedy_until(self, docs: list[Any]) -> list[Any]:
            from lighteval.models.model_output import ModelResponse

            return [ModelResponse(text=[MOUTH]) for _ in docs]

    for figures in (
        run_bench(Parrot(), data, tasks=[BenchTask.AD])["tasks"][BenchTask.AD],
        majority(data, load_rows(data))[BenchTask.AD],
    ):
        assert figures["rouge_l_best"] == 100 and figures["rouge_l"] < 70
        assert figures["region_recall_people"] == pytest.approx(33.33) and figures["region_recall_pixels"] == 50
