"""Annotators by name, and what every annotation must satisfy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dfa_instruct.annotate.registry import annotator
from dfa_instruct.instruct.sampling import questions_and_answers
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.records import Annotation, Face, Finding
from dfa_instruct.sources.portraits.drawing import draw_sample


def forged(identities: int) -> list[Face]:
    faces = draw_sample(identities=identities, pictures=1, size=64, seed=0)
    return [replace(face, label="forged", category="face_swapping") for face in faces]


def test_a_recipe_names_its_annotator() -> None:
    assert {annotator(wanted, libraries()).name for wanted in ("measured", {"name": "measured"})} == {"measured"}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("mesured", "unknown annotator 'mesured'; did you mean 'measured'?"),
        ({"name": "measured", "model": "m"}, "annotator measured: got an unexpected .* 'model' .it takes library."),
        ({"model": "m"}, "annotator: expected a name, or `name` with settings, not {'model': 'm'}"),
    ],
)
def test_a_wrong_name_or_setting_is_refused_in_one_line(wanted: str | dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        annotator(wanted, libraries())
    assert "\n" not in str(error.value)


def test_an_annotation_contains_the_sentences_of_its_findings() -> None:
    eyes = Finding("eyes", ("colour",), "The eyes have two colours.")
    with pytest.raises(ValueError, match="'The eyes have two colours"):
        Annotation("Forged.", "Swapped.", "The nose is long.", (eyes,))
    with pytest.raises(ValueError, match="two findings"):
        Annotation("Forged.", "Swapped.", eyes.sentence, (eyes, eyes))


def test_free_conversation_uses_the_sentences_of_the_annotation() -> None:
    eyes = Finding("eyes", ("geometry", "colour"), "One eye looks to the left, and it is green.")
    annotation = Annotation("It is forged.", "A swap.", f"Look here. {eyes.sentence}", (eyes,))
    templates = set()
    for face in forged(40):
        for pair in questions_and_answers(face, annotation, 0, {}, libraries()):
            if pair.template.startswith(("fc.region_found", "fc.check_found", "fc.strongest")):
                assert eyes.sentence in pair.answer
            if pair.template.startswith(("fc.region_clear", "fc.check_clear")):
                assert "eyes" not in pair.question
            templates.add(pair.template.rpartition(".")[0])
    assert {"fc.region_found", "fc.region_clear", "fc.geometry_found"} <= templates
    assert not {"fc.geometry_clear", "fc.colour_clear", "fc.texture_found"} & templates
