import json

import pytest

from dfa_instruct.annotate import prompts
from dfa_instruct.annotate.answer_parsing import (
    NotUnderstoodError,
    claims_to_findings,
    is_foreign,
    is_refusal,
    read_answer,
)
from dfa_instruct.annotate.measured import description
from dfa_instruct.annotate.prompts import conversation_request, description_request, filled, messages, schema
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.vocabulary import ARTIFACTS, CATEGORIES, FORGERY_CATEGORIES, REGIONS, Category

CLAIMS = [
    {"region": "mouth", "artifact": "colour", "sentence": "The lips are too red for this skin."},
    {"region": "forehead", "artifact": "texture", "sentence": "the forehead has no pores"},
    {"region": "mouth", "artifact": "boundary", "sentence": "A seam is seen around the mouth."},
]
TURNS = [
    {"question": f"Is the nose number {n} real?", "answer": "The nose looks as it does in life."} for n in range(4)
]
FACE = "00" * 8


def ad(*claims: dict[str, str]) -> str:
    return json.dumps({"artifacts": list(claims)})


@pytest.mark.parametrize("category", FORGERY_CATEGORIES)
@pytest.mark.parametrize("pictures", [[b"one"], [b"one", b"two"]])
def test_a_description_is_asked_with_the_categorys_name_and_explanation(
    pictures: list[bytes], category: Category
) -> None:
    pair_id = "11" * 8 if len(pictures) == 2 else None
    request = description_request(FACE, category, "lips", pair_id, "gpt-4o")
    text = filled(request)
    assert f'"{CATEGORIES[category]}"' in text and libraries().df_c.explanations[category] in text
    assert all(word in text for word in (*REGIONS, *ARTIFACTS)) and "$" not in text
    assert ("Compare" in text) == (pair_id is not None)
    (message,) = messages(request, pictures)
    assert [part["type"] for part in message["content"]] == ["text"] + ["image_url"] * len(pictures)


def test_a_description_of_a_self_blended_face_is_not_asked_as_one_of_another_person() -> None:
    swapped, blended = (
        filled(description_request(FACE, "face_swapping", technique, None, "gpt-4o"))
        for technique in ("feathered_swap", "self_blended")
    )
    assert "another person" in swapped and "another person" not in blended and "self_blended" not in blended


def test_a_conversation_is_asked_from_the_annotations_of_a_bona_fide_face_too() -> None:
    forged = conversation_request(FACE, "forged", "This face is forged.", "Face editing.", "1. **Nose**: …", "m")
    bona_fide = conversation_request(FACE, "bona_fide", "This face is bona fide.", "None.", "No artifact.", "m")
    assert all(text in filled(forged) for text in ("This face is forged.", "Face editing.", "1. **Nose**: …"))
    assert "follow up on the artifacts" in filled(forged) and "credible" in filled(bona_fide)
    assert len(messages(forged, [])) == 1 and "Write four questions" in messages(forged, [])[0]["content"]
    again = messages(forged, [], "Sure!", "Your answer holds no JSON.")
    assert [message["role"] for message in again] == ["user", "assistant", "user"]
    assert "no JSON" in again[2]["content"]


def test_every_prompt_has_a_version_and_parameters() -> None:
    for name in prompts.PROMPTS:
        prompt = prompts.load_prompt(name)
        assert prompt.version == f"{name} 1" and set(prompt.parameters) == {"temperature", "max_tokens"}


def test_a_description_is_rendered_as_the_papers_numbered_text() -> None:
    findings = claims_to_findings(read_answer("ad", ad(*CLAIMS)))
    assert description(findings, libraries()) == (
        "1. **Forehead**: The forehead has no pores.\n"
        "2. **Mouth and Lips**: The lips are too red for this skin. A seam is seen around the mouth."
    )
    assert findings[0].artifacts == ("colour", "boundary")


@pytest.mark.parametrize("wrapped", ["{}", "```json\n{}\n```", "Here you are:\n\n{}\n\nAsk me for more."])
def test_json_is_found_amid_prose(wrapped: str) -> None:
    assert read_answer("ad", wrapped.replace("{}", ad(*CLAIMS)))[0] == CLAIMS[0]
    assert read_answer("fc", wrapped.replace("{}", json.dumps({"turns": TURNS}))) == TURNS


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("The mouth looks odd.", "no JSON"),
        (ad(*CLAIMS)[:-20], "cut off"),
        ("{" * 100_000, "not valid JSON"),
        ('{"claims": []}', "'artifacts'"),
        ('{"artifacts": ["mouth"]}', "Entry 1"),
        (ad({**CLAIMS[0], "sentence": " "}), "Entry 1"),
        (ad({**CLAIMS[0], "region": "ear"}), "region 'ear'"),
        (ad({**CLAIMS[0], "artifact": "lighting"}), "artifact 'lighting'"),
        (ad(CLAIMS[0], CLAIMS[0]), "twice"),
        (ad({**CLAIMS[0], "sentence": "the lips " * 40}), "too long"),
        (ad({**CLAIMS[0], "sentence": "The lips are redder than in the second picture."}), "never sees"),
        (ad({**CLAIMS[0], "sentence": "La boca tiene un color que no es natural."}), "not in English"),
        (ad({**CLAIMS[0], "sentence": "Die Lippen sind zu rot, und die Haut in der Nähe auch."}), "not in English"),
        (ad({**CLAIMS[0], "sentence": "嘴唇的颜色太红 the 了, it is 不自然"}), "not in English"),
    ],
)
def test_a_description_of_another_form_is_complained_of(answer: str, complaint: str) -> None:
    with pytest.raises(NotUnderstoodError, match=complaint):
        read_answer("ad", answer)


@pytest.mark.parametrize(
    ("turns", "complaint"),
    [
        (TURNS[:3], "4 turns, not 3"),
        (TURNS + TURNS[:1], "4 turns, not 5"),
        (TURNS[:3] + TURNS[:1], "twice"),
        ([{**turn, "answer": "Das sieht man an der Nase und am Mund."} for turn in TURNS[:3]] + TURNS[3:], "English"),
        ([{**TURNS[0], "answer": "the nose " * 100}, *TURNS[1:]], "too long"),
    ],
)
def test_a_conversation_of_another_form_is_complained_of(turns: list[dict[str, str]], complaint: str) -> None:
    with pytest.raises(NotUnderstoodError, match=complaint):
        read_answer("fc", json.dumps({"turns": turns}))


def test_a_refusal_is_told_from_an_answer() -> None:
    assert is_refusal("I'm sorry, but I can't help with that.") and is_refusal("Sorry, no.")
    assert is_refusal("As an AI, I cannot assist with pictures of people.")
    assert not is_refusal(ad({**CLAIMS[0], "sentence": "I'm sorry to say the lips are too red."}))
    assert not is_refusal("The mouth looks odd.")


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("", False),
        ("Yes", False),
        ("It is fake.", False),
        ("B. Face swapping", False),
        ("Entire face synthesis.", False),
        ("The eyes do not match.", False),
        ("The skin of the cheeks looks smooth.", False),
        ("Oui, ce visage est faux.", True),
        ("No, esta cara es auténtica.", True),
        ("Ja, dieses Gesicht wurde gefälscht.", True),
        ("Dit gezicht is nep.", True),
        ("这张脸是伪造的", True),
    ],
)
def test_other_languages_are_recognised(text: str, foreign: bool) -> None:
    assert is_foreign(text) == foreign


def test_the_schema_names_every_region_and_artifact() -> None:
    claim = schema("ad")["properties"]["artifacts"]["items"]["properties"]
    assert claim["region"]["enum"] == list(REGIONS) and claim["artifact"]["enum"] == list(ARTIFACTS)
    assert schema("fc")["properties"]["turns"]["items"]["required"] == ["question", "answer"]
