import re
from dataclasses import replace

import pytest

from dfa_instruct.annotate.measured import Measured, sentence
from dfa_instruct.bench.tasks.parsing import parse_category, parse_yes_no
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.records import Artifact, Face
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.vocabulary import ARTIFACTS, CATEGORIES, REGIONS, Category

ARTIFACTS_FOUND = [
    Artifact("mouth", "colour", 0.8),
    Artifact("mouth", "texture", 0.6),
    Artifact("jawline", "boundary", 0.3),
]
annotate = Measured().annotate


@pytest.fixture(scope="module")
def faces() -> list[Face]:
    return list(draw_sample(identities=8, pictures=1, size=64, seed=0))


@pytest.fixture(scope="module")
def forgeries(faces: list[Face]) -> list[Face]:
    return [replace(face, label="forged", category="face_swapping") for face in faces]


@pytest.mark.parametrize("category", list(CATEGORIES))
def test_detection_and_classification_can_be_read_back(faces: list[Face], category: Category) -> None:
    face = replace(faces[0], label="bona_fide" if category == "bona_fide" else "forged", category=category)
    annotation = annotate(face, [])
    assert parse_yes_no(annotation.df_d) == face.label
    assert parse_category(annotation.df_c, list(CATEGORIES.values())) == category
    assert libraries().df_c.explanations[category] in annotation.df_c
    assert len(annotation.df_c.split()) <= 25


def test_a_description_numbers_the_regions_in_bold_and_consists_of_the_findings(forgeries: list[Face]) -> None:
    for face in forgeries:
        annotation = annotate(face, ARTIFACTS_FOUND)
        assert annotation == annotate(face, ARTIFACTS_FOUND)  # the same face gets the same words
        matches = [re.match(r"(\d)\. \*\*(.+)\*\*: ([A-Z].+\.)$", line) for line in annotation.ad.split("\n")]
        sentences = [finding.sentence for finding in annotation.findings]
        assert [match.groups() for match in matches] == [
            ("1", "Mouth and Lips", sentences[0]),
            ("2", "Jawline", sentences[1]),
        ]
        assert "colour" in sentences[0] and "texture" in sentences[0]
        assert [finding.artifacts for finding in annotation.findings] == [("colour", "texture"), ("boundary",)]


def test_a_bona_fide_face_has_no_artifact(faces: list[Face]) -> None:
    texts = {annotate(face, []).ad for face in faces}
    assert len(texts) > 1
    assert all(text.startswith("No artifact is visible.") for text in texts)
    assert annotate(faces[0], []).findings == ()


def test_a_forgery_without_evidence_is_described_as_one(forgeries: list[Face]) -> None:
    assert annotate(forgeries[0], []).ad == libraries().ad.answers.nothing_named


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_every_artifact_of_every_region_reads_as_a_sentence(kind: str, faces: list[Face]) -> None:
    wordings = set()
    for region in REGIONS:
        for face in faces:
            for strength in (0.1, 0.9):
                text = sentence(face, [Artifact(region, kind, strength)], libraries())
                assert region in text and text.endswith(".") and "{" not in text and len(text.split()) <= 14
                wordings.add(text.replace(region, "…"))
    assert len(wordings) > 1
