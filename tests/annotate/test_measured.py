import re

import pytest

from dfa_instruct.annotate.measured import NOTHING_NAMED, PAIR_SENTENCES, SENTENCES, Measured, sentence
from dfa_instruct.bench.tasks.parsing import parse_category, parse_yes_no
from dfa_instruct.records import Artifact, Face
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.vocabulary import ARTIFACTS, CATEGORIES, EXPLANATIONS, REGIONS, Category


@pytest.fixture(scope="module")
def faces() -> list[Face]:
    return list(draw_sample(identities=8, pictures=1, size=64, seed=0))


annotate = Measured().annotate


def as_category(face: Face, category: Category) -> Face:
    label = "bona_fide" if category == "bona_fide" else "forged"
    return Face(
        image=face.image,
        label=label,
        category=category,
        identities=face.identities,
        source="test",
        source_path="",
        source_sha256="",
        landmarks=face.landmarks,
    )


ARTIFACTS_FOUND = [
    Artifact("mouth", "colour", 0.8),
    Artifact("mouth", "texture", 0.6),
    Artifact("jawline", "boundary", 0.3),
]


@pytest.mark.parametrize("category", list(CATEGORIES))
def test_detection_and_classification_can_be_read_back(faces: list[Face], category: Category) -> None:
    face = as_category(faces[0], category)
    annotation = annotate(face, [])
    assert parse_yes_no(annotation.df_d) == face.label
    assert parse_category(annotation.df_c, list(CATEGORIES.values())) == category
    assert EXPLANATIONS[category] in annotation.df_c
    assert len(annotation.df_c.split()) <= 25


def test_a_description_numbers_the_regions_in_bold(faces: list[Face]) -> None:
    for face in faces:
        lines = annotate(as_category(face, "face_swapping"), ARTIFACTS_FOUND).ad.split("\n")
        assert [re.match(r"(\d)\. \*\*(.+)\*\*: [A-Z].+\.$", line).groups() for line in lines] == [
            ("1", "Mouth and Lips"),
            ("2", "Jawline"),
        ]
        assert "colour" in lines[0] and "texture" in lines[0]


def test_a_bona_fide_face_has_no_artifact(faces: list[Face]) -> None:
    texts = {annotate(face, []).ad for face in faces}
    assert len(texts) > 1
    assert all(text.startswith("No artifact is visible.") for text in texts)


def test_a_forgery_without_evidence_is_said_to_be_one(faces: list[Face]) -> None:
    assert annotate(as_category(faces[0], "face_editing"), []).ad == NOTHING_NAMED


def test_the_same_face_gets_the_same_words(faces: list[Face]) -> None:
    face = as_category(faces[0], "face_swapping")
    assert annotate(face, ARTIFACTS_FOUND) == annotate(face, ARTIFACTS_FOUND)


def test_the_description_is_made_of_the_findings(faces: list[Face]) -> None:
    for face in faces:
        annotation = annotate(as_category(face, "face_swapping"), ARTIFACTS_FOUND)
        assert [(finding.region, finding.artifacts) for finding in annotation.findings] == [
            ("mouth", ("colour", "texture")),
            ("jawline", ("boundary",)),
        ]
        said = [line.split("**: ")[1] for line in annotation.ad.split("\n")]
        assert said == [finding.sentence for finding in annotation.findings]
    assert annotate(faces[0], []).findings == ()


def test_every_artifact_of_every_region_reads_as_a_sentence(faces: list[Face]) -> None:
    assert set(SENTENCES) == set(ARTIFACTS)
    for kind in ARTIFACTS:
        wordings = set()
        for region in REGIONS:
            for face in faces:
                for strength in (0.1, 0.9):
                    text = sentence(face, [Artifact(region, kind, strength)])
                    assert region in text and text.endswith(".") and "{" not in text and len(text.split()) <= 14
                    wordings.add(text.replace(region, "…"))
        assert len(wordings) > 1
    assert len(PAIR_SENTENCES) > 1
