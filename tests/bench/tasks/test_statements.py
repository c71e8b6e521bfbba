"""Reading yes, no and statements: no answer is read wrongly, and strict forms are read without asking again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dfa_instruct.bench.tasks.parsing import parse_verdict, parse_yes_no

STATEMENTS = {
    "forged": [
        "it is fake",
        "this is a deepfake",
        "this face has been manipulated",
        "it is not real",
        "there are clear signs of manipulation",
        "the image is AI-generated",
    ],
    "bona_fide": [
        "it is real",
        "this is a genuine photograph",
        "this face has not been forged",
        "it is not a deepfake",
        "there are no signs of manipulation",
        "the face looks real",
    ],
}
TURNED = [
    "It would be naive to think that {}.",
    "It is wrong that {}.",
    "{}, which is not the case.",
    "{}? Hardly.",
    "{}. Or is it?",
    "{}. That is what the caption claims.",
    "I used to think that {}.",
    "If you believe that {}, look again.",
    "{} - not!",
    "I can't say that {}.",
    "I would be surprised if {}.",
    "I am not convinced that {}.",
    "I refuse to believe that {}.",
    "{}, or so it seems at first.",
    "At first glance {}, at second glance the opposite is true.",
    "{}. Wrong!",
    "{}, if one ignores the eyes.",
    'The statement "{}" is false.',
    "{} only in the left half.",
    "{} until you look at the teeth.",
    "{}. The seam at the chin says otherwise.",
    "{}. I take that back.",
    "Hypothesis: {}. This hypothesis is rejected.",
    "{}. This is rejected.",
    "It is rumoured that {}.",
    "{}. I am being ironic.",
    "{}. So they told me.",
    "Question: is it so that {}? Answer: it is not.",
    "{}. Answer: the reverse.",
]
"""None of these sentences states what replaces the braces."""


def listed(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the group, the label ("none" if there is no verdict) and the text of each answer of a list."""

    def walk(part: dict[str, Any], group: str) -> Iterator[tuple[str, str, str]]:
        for name, of_name in part.items():
            if isinstance(of_name, dict):
                yield from walk(of_name, name)
            else:
                yield from ((group, name, text) for text in of_name)

    return walk(yaml.safe_load(path.read_text(encoding="utf-8")), "")


SAID = [*listed(Path(__file__).with_name("answers_to_df_d.yaml"))]


def test_no_answer_is_read_wrongly_and_strict_forms_are_read() -> None:
    assert len(SAID) > 300
    read = {text: parse_yes_no(text) for _, _, text in SAID}
    assert not [(text, read[text]) for _, label, text in SAID if read[text] not in (None, label)]
    assert not [text for group, _, text in SAID if group == "read" and read[text] is None]


def test_what_stands_in_a_sentence_that_turns_it_round_is_not_read() -> None:
    for label, statements in STATEMENTS.items():
        for statement in statements:
            assert parse_yes_no(f"{statement.capitalize()}.") == label
            for turned in TURNED:
                for said in (statement, statement[0].upper() + statement[1:]):
                    assert parse_yes_no(turned.format(said)) != label, turned.format(said)


def test_the_cases_at_hand() -> None:
    if not (where := os.environ.get("DFA_TEST_CASES")):
        pytest.skip("DFA_TEST_CASES is not set: a folder with answers.yaml, lists of answers by label")
    cases = [*listed(Path(where) / "answers.yaml")]
    read = [(label, parse_yes_no(text), text) for _, label, text in cases]
    assert not [case for case in read if case[1] not in (None, case[0])]
    assert sum(label == found for label, found, _ in read) > len(cases) / 3


@pytest.mark.parametrize(
    "text",
    [
        "Yes, it's a question of lighting.",
        "Yes, a matter of texture.",
        "Yes, this is a picture of a smiling man.",
        "Yes, it is all about the eyes.",
        "No, this is the face of a young woman.",
        "Yes. That is an interesting detail.",
    ],
)
def test_a_yes_or_no_before_another_statement_is_asked_again(text: str) -> None:
    assert parse_yes_no(text) is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Yes, it is a deepfake.", "forged"),
        ("Yes, this is a picture of a forged face.", "forged"),
        ("Yes, it is blurred around the chin.", "forged"),
        ("No, it is a photo of a real person.", "bona_fide"),
    ],
)
def test_a_yes_or_no_before_its_reason_is_read(text: str, label: str) -> None:
    assert parse_yes_no(text) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Yes, the face has been", "forged"),
        ("No. The skin of the", "bona_fide"),
        ("The face looks real.", None),  # "However, …" may have been to come
        ("The face is a deepfake", None),
        ("Final answer: no", None),
        ("<think>It is real.", None),
    ],
)
def test_of_what_was_cut_only_a_first_word_counts(text: str, label: str | None) -> None:
    assert parse_yes_no(text, cut=True) == label


def test_a_question_of_the_other_polarity() -> None:
    assert parse_verdict("<think>Is it fake?</think>Yes", "bona_fide") == "bona_fide"
    assert parse_verdict("Yes, it is genuine.", "bona_fide") == "bona_fide"
    assert parse_verdict('{"answer": "no"}', "bona_fide") == "forged"
    assert parse_verdict("Answer: yes", None) is None
