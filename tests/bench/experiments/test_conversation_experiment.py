"""The figures of DFA-Bench's conversations, and a tiny model that holds some."""

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
    assert figures(talks[:1], rows[:1])["false_claims"] is None  # there is no bona fide face


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
