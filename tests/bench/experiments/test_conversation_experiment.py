"""DFA-Bench's conversations: what counts as an answer, a contradiction, a claim; and a tiny model that holds some."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.experiments.conversation import (
    IS_RIGHT_KIND,
    WORDINGS,
    figures,
    hold,
    is_contradictory,
    paraphrases,
    run_conversation,
    scripts,
)
from dfa_instruct.bench.runner import load_rows
from dfa_instruct.bench.tasks.parsing import described_label, parse_claims, parse_verdict
from dfa_instruct.instruct.templates import ALTERNATIVES, libraries
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from dfa_instruct.vocabulary import CATEGORIES, REGIONS


def plain(text: str) -> str:
    return re.sub(r"[^a-z{} ]", "", text.lower().split("\n")[0]).strip()


def pattern(template: str) -> re.Pattern[str]:
    """All that a template's question may become, as a regular expression."""
    text = template.split("\n")[0].lower()
    while found := ALTERNATIVES.search(text):
        text = text[: found.start()] + f"\x01{found[1]}\x02" + text[found.end() :]
    kept = re.sub(r"[^a-z{} |\x01\x02]", "", text)
    return re.compile(kept.replace("\x01", "(?:").replace("\x02", ")").replace("{region}", r"\{region\}"))


def test_no_paraphrase_stands_in_a_template() -> None:
    questions = [q for of_kind in paraphrases().values() for template in of_kind for q in template.questions]
    assert len(questions) == len({plain(question) for question in questions}) >= 60
    library = libraries()
    templates = [t for part in (library.df_d, library.df_c, library.ad, library.fc) for t in part.questions]
    known = [question for template in templates for question in template.questions + template.followups]
    for question in [*known, *(question for of_ability in library.bench.values() for question in of_ability)]:
        form = pattern(question)
        assert not [q for q in questions if form.fullmatch(plain(q))], question
    assert pattern("(Is|Was (all|any) of) it{region}(|, then)?").fullmatch(plain("Was any of it{region}, then?"))


def test_every_script_asks_for_verdict_class_and_description() -> None:
    for script in scripts():
        assert len(script) == 4 and {"detect", "classify", "describe"} < set(script) <= set(IS_RIGHT_KIND)


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
    ],
)
def test_claims(answer: str, claims: list[tuple[str, str | None]] | None) -> None:
    found = parse_claims(answer)
    assert found == claims if claims is None else sorted(found or [], key=str) == sorted(claims, key=str)


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


def turn(kind: str, answer: str, region: str = "eyes") -> dict[str, Any]:
    asked = "forged" if kind == "detect" else None
    return {
        "kind": kind,
        "question": "?",
        "asked": asked,
        "answer": answer,
        "region": region,
        "options": list(CATEGORIES.values()),
    }


EDITED = "Face editing is used. This technique changes single attributes of the face, such as its age, lips or eyes."
UNTOUCHED = f"No technique is used, the face is bona fide. {libraries().df_c.explanations['bona_fide']}"
LIST = "1. **Mouth and Lips**: The shape of the mouth is slightly distorted."


def test_an_answer_to_another_question_is_not_of_the_right_kind() -> None:
    answers = {
        "detect": ["Yes, this face is forged.", "No, this face is bona fide."],
        "classify": [EDITED, UNTOUCHED],
        "describe": [LIST, "No artifact is visible. All regions of the face look natural."],
        "rely": ["No region supports the verdict alone, so I can be wrong."],
    }
    for kind in answers:
        for other, given in answers.items():
            for answer in given:
                assert bool(IS_RIGHT_KIND[kind](turn(kind, answer))) == (kind == other), (kind, answer)  # type: ignore[index]
    assert IS_RIGHT_KIND["region"](turn("region", "Nothing unusual stands out in the eyes."))
    assert not IS_RIGHT_KIND["region"](turn("region", "Nothing unusual stands out in the nose."))


def test_a_letter_is_read_in_the_order_of_its_own_options() -> None:
    lettered = {
        **turn("classify", "A"),
        "options": ["face editing", *(n for n in CATEGORIES.values() if n != "face editing")],
    }
    assert is_contradictory({"turns": [turn("detect", "No, this face is bona fide."), lettered]})
    assert not is_contradictory({"turns": [turn("detect", "Yes, it is fake."), lettered]})


def test_figures_by_hand() -> None:
    rows = [
        {"label": "forged", "artifacts": [{"region": "mouth", "artifact": "geometry"}] * 1},
        {
            "label": "forged",
            "artifacts": [{"region": "eyes", "artifact": "colour"}, {"region": "chin", "artifact": "boundary"}],
        },
        {"label": "bona_fide", "artifacts": []},
    ]
    eyes = "1. **Eyes**: The shape of the eyes is distorted.\n2. **Eyes**: The colour of the eyes looks unnatural."
    talks = [
        {"turns": [turn("detect", "Yes, this face is forged."), turn("classify", EDITED), turn("describe", LIST)]},
        {"turns": [turn("detect", "Yes, this face is forged."), turn("classify", UNTOUCHED), turn("describe", eyes)]},
        {"turns": [turn("detect", EDITED), turn("classify", UNTOUCHED), turn("describe", LIST)]},
    ]
    found = figures(talks, rows)
    assert found["right_kind"] == pytest.approx(100 * 8 / 9, abs=0.01)
    assert found["right_kind_detect"] == found["right_kind_turn_1"] == pytest.approx(66.67)
    assert found["contradictions"] == pytest.approx(66.67)
    assert found["region_precision"] == 100 and found["region_recall"] == pytest.approx(66.67)
    assert found["precision"] == pytest.approx(66.67) and found["recall"] == pytest.approx(66.67)
    assert found["repeated"] == pytest.approx(33.33) and found["false_claims"] == 100


def test_a_model_talks_in_both_wordings_and_blind(adapter: Path, dataset_folder: Path) -> None:
    model = BenchModel(VisionLanguageModel(adapter, batch_size=3))
    measured, talks = run_conversation(model, dataset_folder, limit=4)
    assert set(measured) == {*WORDINGS, "image_blind", "images_swapped"}
    assert len(talks) == 8 and all(len(talk["turns"]) == 4 for talk in talks)
    assert all(turn["answer"] for talk in talks for turn in talk["turns"])
    rows = load_rows(dataset_folder, 4)
    again = hold(BenchModel(VisionLanguageModel(adapter, batch_size=1)), rows, "templates")
    assert [talk["turns"][0]["answer"] for talk in again] == [talk["turns"][0]["answer"] for talk in talks[:4]]
    asked = {turn["question"] for talk in talks if talk["wording"] == "paraphrases" for turn in talk["turns"]}
    known = [q for of_kind in paraphrases().values() for template in of_kind for q in template.questions]
    assert asked <= {question.format(region=region) for question in known for region in REGIONS}
    assert set(CATEGORIES.values()) == set(talks[0]["turns"][0]["options"])
