"""The verdicts that answers give, and those that they do not give."""

from __future__ import annotations

import pytest

from dfa_instruct.bench.tasks.parsing import parse_category, parse_option, parse_yes_no
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.vocabulary import CATEGORIES, Category

FORGED = [
    "Yes",
    "yes.",
    "YES!",
    "**Yes**, the face is a deepfake.",
    "Yes, this face has been forged.",
    "Yes. The cheeks look too smooth and the boundary is visible.",
    "Yes, the face was swapped onto another person, unlike a photo of the real one.",
    "The answer is yes.",
    "Answer: Yes",
    "The face is forged.",
    "This image appears to be a deepfake.",
    "It's fake.",
    "Fake",
    "a deep-fake",
    "Forged.",
    "This is not a real photograph.",
    "The face isn't genuine.",
    "It has been digitally manipulated.",
    "There are clear signs of manipulation around the mouth.",
    "The image is likely AI-generated.",
    "There is no doubt that this face is a forgery.",
    "Yes, it is not authentic.",
    "The face is entirely synthetic, and it is not real.",
    "It is not bona fide.",
    "Yes\n\nExplanation: the eyes differ.",
]
BONA_FIDE = [
    "No",
    "no.",
    "No, it is real.",
    "No, the face has not been forged.",
    "No, this is a bona fide face.",
    "No. I see no signs of manipulation.",
    "No signs of forgery are visible.",
    "No evidence of manipulation.",
    "The answer is: No",
    "The face is bona fide.",
    "This is a bona-fide image.",
    "Bona_fide",
    "real",
    "A genuine photo.",
    "It looks authentic.",
    "The image does not show any signs of manipulation.",
    "This face hasn't been manipulated.",
    "It is an unaltered photograph.",
    "The face isn’t fake.",
    "It shows a real person's face as the camera saw it.",
    "not forged",
    "There is no evidence of tampering.",
]
NO_VERDICT = [
    "",
    "   ",
    "Yes and no.",
    "Yes or no",
    "I cannot determine whether the face is real.",
    "I'm sorry, but I can't tell if this is a deepfake.",
    "I am unable to say.",
    "No idea.",
    "No way to tell.",
    "It might be a deepfake.",
    "It could be real.",
    "Maybe.",
    "It is either real or fake.",
    "No, it is a deepfake.",
    "Yes, the face is real.",
    "Yes, it is not forged.",
    "The face is real. The face is fake.",
    "real or fake",
    "Noticeable.",
    "yesterday",
    "A woman with blond hair.",
    "Deepfakes are made by neural networks.",
    "Real people have asymmetric faces.",
    "face swapping",
    "B",
]


@pytest.mark.parametrize(
    ("label", "answer"),
    [("forged", a) for a in FORGED] + [("bona_fide", a) for a in BONA_FIDE] + [(None, a) for a in NO_VERDICT],
)
def test_yes_no(label: str | None, answer: str) -> None:
    assert parse_yes_no(answer) == label


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
