"""Reading which regions a description calls faulty, and how."""

from __future__ import annotations

import pytest

from dfa_instruct.annotate.claims import parse_claims, read_findings
from dfa_instruct.records import Finding


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        ("1. **Mouth and Lips**: The shape of the mouth is slightly distorted.", [("mouth", "geometry")]),
        (
            "1. **Eyes**: The colour and the texture of the eyes look clearly unnatural.\n2. **Chin**: An edge is "
            "visible around the chin.",
            [("eyes", "colour"), ("eyes", "texture"), ("chin", "boundary")],
        ),
        ("The texture of the hairline is too smooth or too rough.", [("hairline", "texture")]),
        ("The colour of the nose does not match the rest of the face.", [("nose", "colour")]),
        ("The blending around the cheeks is clearly visible.", [("cheeks", "boundary")]),
        ("The skin tone of the cheeks is inconsistent, and the eyes look natural.", [("cheeks", "colour")]),
        ("Something is odd about the jawline.", [("jawline", None)]),
        ("The eyes look natural but the lips are blurred.", [("mouth", "sharpness")]),
        ("No artifact is visible. All regions of the face look natural.", []),
        ("I see no signs of manipulation in the eyes or the mouth.", []),
        ("Nothing is wrong with the nose or any other region.", []),
        ("No single region stands out, although the face is forged.", []),
        ("Yes, this face is forged.", None),
        ("Face editing is used. This technique changes the age, skin, lips or eyes.", None),
        ("", None),
        ("The eyes look fake.", [("eyes", None)]),
        ("The eyes do not look fake.", None),
        (
            "The nose is at the wrong place and the chin is overly pointed.",
            [("nose", "geometry"), ("chin", "geometry")],
        ),
        ("The mouth is not aligned with the nose.", [("mouth", "geometry"), ("nose", "geometry")]),
        ("The left cheek is darker.", [("cheeks", "colour")]),
        ("She has naturally smooth cheeks.", None),
    ],
)
def test_claims(answer: str, claims: list[tuple[str, str | None]] | None) -> None:
    found = parse_claims(answer)
    assert found == claims if claims is None else sorted(found or [], key=str) == sorted(claims, key=str)


def test_the_words_of_people_are_read_without_full_stops_and_are_kept() -> None:
    text = "Looks fake! overly large mouth the eyes look blurry, and dull. The eyes are asymmetric the skin is odd"
    found = read_findings(text)
    assert {finding.region: finding.artifacts for finding in found} == {
        "mouth": ("geometry",),
        "eyes": ("sharpness", "geometry"),
    }
    assert all(finding.sentence in text for finding in found)


def test_the_part_that_words_are_about_counts_if_they_name_none() -> None:
    assert read_findings("Too dark. Perfectly fine otherwise.", "left eye") == (
        Finding("eyes", ("colour",), "Too dark"),
    )
    assert read_findings("The chin is too pointed.", "mouth") == (
        Finding("chin", ("geometry",), "The chin is too pointed"),
    )
    assert read_findings("It is fake.", "nose") == (Finding("nose", (), "It is fake"),)
    assert read_findings("Too smooth.", "skin") == ()
