"""Reading categories, techniques, descriptions and verdicts from answers."""

from __future__ import annotations

import pytest

from dfa_instruct.bench.tasks.parsing import (
    described_label,
    parse_category,
    parse_option,
    parse_verdict,
)
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.vocabulary import CATEGORIES, Category

OPTIONS = ["face editing", "bona fide", "face swapping", "entire face synthesis", "face reenactment"]


@pytest.mark.parametrize(
    ("category", "answer"),
    [
        ("face_swapping", "C"),
        ("face_swapping", "c."),
        ("face_swapping", "(C)"),
        ("face_swapping", "C)"),
        ("face_swapping", "C. face swapping"),
        ("face_swapping", "C: Face Swapping"),
        ("face_swapping", "**C**"),
        ("face_swapping", "The answer is C."),
        ("face_swapping", "The correct answer is (C), because the cheeks differ."),
        ("face_swapping", "Answer: C"),
        ("face_swapping", "I choose option C"),
        ("face_swapping", "Face swapping is used. This technique replaces one person's face with another's."),
        ("face_swapping", "face_swapping"),
        ("face_swapping", "FaceSwap"),
        ("face_swapping", "This is face swapping, not face editing."),
        ("face_swapping", "face swapping rather than bona fide"),
        ("face_editing", "A"),
        ("face_editing", "A. face editing"),
        ("face_editing", "A face editing technique was used."),
        ("face_editing", "Facial editing"),
        ("bona_fide", "B"),
        ("bona_fide", "A bona fide face."),
        ("bona_fide", "The answer is a bona fide face."),
        ("bona_fide", "The image is bona fide."),
        ("bona_fide", "Bona-fide"),
        ("bona_fide", "Real"),
        ("bona_fide", "It is a genuine photograph."),
        ("bona_fide", "It is not manipulated."),
        ("entire_face_synthesis", "D"),
        ("entire_face_synthesis", "Entire Face Synthesis"),
        ("entire_face_synthesis", "The face is entirely synthesized."),
        ("face_reenactment", "E."),
        ("face_reenactment", "Facial re-enactment"),
        (None, ""),
        (None, "F"),
        (None, "A or B"),
        (None, "C. bona fide"),
        (None, "face swapping and face editing"),
        (None, "A. face editing B. bona fide C. face swapping D. entire face synthesis E. face reenactment"),
        (None, "It is not face swapping."),
        (None, "It is not bona fide."),
        (None, "I cannot tell whether it is face swapping."),
        (None, "It could be face editing."),
        (None, "A deepfake."),
        (None, "The face is fake."),
        (None, "Yes"),
        (None, "A woman with blond hair."),
        (None, "e.g. the eyes"),
    ],
)
def test_category(category: Category | None, answer: str) -> None:
    assert parse_category(answer, OPTIONS) == category


@pytest.mark.parametrize("category", CATEGORIES)
def test_category_from_the_projects_own_sentences(category: Category) -> None:
    assert parse_category(CATEGORIES[category], OPTIONS) == category
    assert (
        parse_category(f"{CATEGORIES[category].capitalize()}. {libraries().df_c.explanations[category]}", OPTIONS)
        == category
    )


@pytest.mark.parametrize(
    ("technique", "answer"),
    [
        ("lip_shape", "B"),
        ("lip_shape", "It was made by lip shape."),
        ("lip_shape", "lip-shape"),
        ("StyleGAN2", "The answer is C."),
        ("StyleGAN2", "It looks like stylegan2 to me"),
        ("sd2.1", "sd2.1."),
        ("lips", "It is not StyleGAN2, but lips."),
        (None, "E"),
        (None, "stylegan"),
        (None, "lips or lip shape"),
        (None, "B. lips"),
        (None, "It could be StyleGAN2."),
        (None, ""),
    ],
)
def test_technique(technique: str | None, answer: str) -> None:
    assert parse_option(answer, ["lips", "lip_shape", "StyleGAN2", "sd2.1"]) == technique


def test_letters_follow_the_rows_own_order() -> None:
    assert parse_category("A", list(CATEGORIES.values())) == "bona_fide"
    assert parse_category("A", list(reversed(CATEGORIES.values()))) == "entire_face_synthesis"


@pytest.mark.parametrize(
    ("answer", "category"),
    [
        ("<think>A or B? The eyes were edited.</think>C", "face_reenactment"),
        ("The edges suggest face swapping at first.\n\nFinal answer: D", "face_editing"),
        ("\\boxed{B}", "face_swapping"),
        ('{"answer": "E. entire face synthesis"}', "entire_face_synthesis"),
        ("<answer>face editing</answer>", "face_editing"),
        ("I doubt that it is face swapping.", None),
        ("A typical face swapping would show seams.", None),
        ("It seems like face editing but I would rule that out.", None),
        ("Face swapping can be excluded.", None),
        ("Is it face swapping? Hardly.", None),
        ("<think>It is B", None),
    ],
)
def test_category_in_strict_forms(answer: str, category: str | None) -> None:
    assert parse_category(answer, list(CATEGORIES.values())) == category


def test_technique_in_strict_forms() -> None:
    options = ["lips", "StyleGAN2", "blend", "simswap"]
    assert parse_option("<think>lips? no.</think>\\boxed{B}", options) == "StyleGAN2"
    assert parse_option("I would not say StyleGAN2.", options) is None
    assert parse_option("B. Style", options, cut=True) == "StyleGAN2"
    assert parse_option("It was made by lips", options, cut=True) is None


def test_a_description_is_forged_only_where_it_says_so() -> None:
    assert described_label("No artifact is visible, yet it is too perfect to be real.") != "forged"
    assert described_label("Nothing suggests that this is a deepfake.") in (None, "bona_fide")


@pytest.mark.parametrize(
    ("answer", "forged", "bona_fide", "either"),
    [
        ("Yes, this face is forged.", "forged", None, "forged"),
        ("No, this face is forged.", None, "forged", "forged"),
        ("Yes, this face is bona fide.", None, "bona_fide", "bona_fide"),
        ("No", "bona_fide", "forged", None),
        ("Yes.", "forged", "bona_fide", None),
        ("This face is bona fide.", "bona_fide", "bona_fide", "bona_fide"),
        ("It might be fake.", None, None, None),
        ("Face editing is used.", None, None, None),
    ],
)
def test_a_verdict_is_read_by_what_was_asked(
    answer: str, forged: str | None, bona_fide: str | None, either: str | None
) -> None:
    assert parse_verdict(answer, "forged") == forged
    assert parse_verdict(answer, "bona_fide") == bona_fide
    assert parse_verdict(answer, None) == either


def test_a_description_implies_a_label() -> None:
    assert described_label("1. **Chin**: An edge is visible around the chin.") == "forged"
    assert described_label("No artifact is visible.") == "bona_fide"
    assert described_label("No single region stands out, although the face is forged.") == "forged"
    assert described_label("Hello.") is None
