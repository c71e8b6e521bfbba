"""Rewards: right answers earn most, and no constant answer earns anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from datasets import load_dataset

from dfa_instruct.vocabulary import REGIONS
from modeling_dfa_gpt.rewards import Question, brevity, category, region_shares, regions, verdict

LISTED = "The following artifacts are visible. {}"


@pytest.fixture(scope="module")
def described(dataset_folder: Path) -> list[Question]:
    """The descriptions of the train split, with the truth about their faces."""
    rows = load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="train")
    shares = region_shares(rows)
    return [
        Question(
            pair["ability"],
            pair["question"],
            pair["answer"],
            row["label"],
            row["category"],
            frozenset(artifact["region"] for artifact in row["artifacts"]),
            shares,
        )
        for row in rows
        for pair in row["qa"]
        if pair["ability"] == "ad"
    ]


def listing(names: Any) -> str:
    return LISTED.format(" ".join(f"The texture of the {name} is unnatural." for name in names))


def test_the_datasets_own_descriptions_earn_most(described: list[Question]) -> None:
    forged = [question for question in described if question.label == "forged"]
    assert fmean(regions(question.answer, question) for question in forged) == pytest.approx(1, abs=0.02)
    assert all(verdict(question.answer, question) == 1 for question in described if question.regions)
    assert all(brevity(question.answer, question) == 0 for question in described)


@pytest.mark.parametrize("names", [("mouth",), ("eyes", "nose", "mouth"), tuple(REGIONS), ()])
def test_a_list_that_is_the_same_for_all_forged_faces_earns_nothing(
    names: tuple[str, ...], described: list[Question]
) -> None:
    earned = [regions(listing(names), question) for question in described if question.label == "forged"]
    assert fmean(earned) == pytest.approx(0, abs=1e-9)


def test_a_list_for_a_bona_fide_face_costs(described: list[Question]) -> None:
    bona_fide = next(question for question in described if question.label == "bona_fide")
    assert regions(listing(REGIONS), bona_fide) < 0 and verdict(listing(REGIONS), bona_fide) == -1
    assert regions("No artifact is visible.", bona_fide) == 0 and verdict("No artifact is visible.", bona_fide) == 1


def test_an_empty_answer_earns_nothing(described: list[Question]) -> None:
    assert all(reward("", described[0]) == 0 for reward in (verdict, category, regions, brevity))


@pytest.fixture
def detection(described: list[Question]) -> Question:
    forged = next(question for question in described if question.label == "forged")
    return replace(
        forged,
        ability="df_d",
        question="Is this face real?",
        answer="No, this face is forged.",
        category="face_editing",
    )


@pytest.mark.parametrize(
    ("answer", "earned"),
    [
        ("No, this face is forged.", 1),
        ("No.", 1),
        ("Yes, it is real.", -1),
        ("Yes, this face is forged.", 0),
        ("It may or may not be forged.", 0),
    ],
)
def test_the_verdict_is_read_strictly(answer: str, earned: float, detection: Question) -> None:
    assert verdict(answer, detection) == earned


def test_an_answer_that_says_the_same_twice_costs(detection: Question) -> None:
    twice = "No, this face is forged. No, this face is forged."
    assert brevity(twice, detection) == -1
    assert verdict(twice, detection) + brevity(twice, detection) < verdict("No.", detection)
    assert brevity("No, it is forged, " + "and I say so with great confidence, " * 5, detection) == -1


def test_two_categories_earn_no_more_than_none(detection: Question) -> None:
    options = "Which category?\nA. Face editing\nB. Bona fide\nC. Face swapping"
    asked = replace(detection, ability="df_c", question=options)
    assert category("A", asked) == category("Face editing is used.", asked) == 1
    assert category("A or C", asked) == category("B", asked) == 0
    assert verdict("C", asked) == 1 and verdict("B", asked) == -1
