import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dfa_instruct.annotate.measured import Measured
from dfa_instruct.instruct import templates as own
from dfa_instruct.instruct.sampling import (
    bench_questions,
    is_dialogue,
    questions_and_answers,
    situations,
    which_technique,
)
from dfa_instruct.instruct.templates import ALTERNATIVES, SITUATIONS, libraries, load_libraries, phrase
from dfa_instruct.records import Artifact, Face, QuestionAnswer
from dfa_instruct.vocabulary import ARTIFACTS, CATEGORIES, REGIONS, Category

CATEGORY_NAMES = set(CATEGORIES.values())
TEMPLATES_OF_TINY_BASE = Path(__file__).parents[2] / "modeling_dfa_gpt" / "bases" / "templates"


def made_up_faces(count: int) -> list[tuple[Face, list[Artifact]]]:
    """Faces of all categories with evidence of all sorts, none included."""
    rng = np.random.default_rng(0)
    faces = []
    for number in range(count):
        category = list(CATEGORIES)[number % len(CATEGORIES)]
        label = "bona_fide" if category == "bona_fide" else "forged"
        image = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        face = Face(
            image=image,
            label=label,
            category=category,
            identities=(f"person {number}",),
            source="test",
            source_path="",
            source_sha256="",
            technique=None if label == "bona_fide" or number % 7 == 0 else "lips",
        )
        regions = rng.permutation(list(REGIONS))[: rng.integers(5)]
        kinds = [rng.permutation(list(ARTIFACTS))[: rng.integers(1, 3)] for _ in regions]
        found = [Artifact(str(r), str(k), 0.5) for r, of in zip(regions, kinds, strict=True) for k in of]
        faces.append((face, found if label == "forged" else []))
    return faces


TECHNIQUES: dict[str, Category] = {
    **dict.fromkeys(("lips", "skin"), "face_editing"),
    **dict.fromkeys(("simswap", "e4s", "fsgan"), "face_swapping"),
    "Lips": "face_editing",
}


def asked(face: Face, artifacts: list[Artifact], seed: int = 0) -> list[QuestionAnswer]:
    return questions_and_answers(face, Measured().annotate(face, artifacts), seed, TECHNIQUES, libraries())


def flat(questions: Iterable[str]) -> list[str]:
    """Every sentence that questions with at most one flat `(this|that)` may become."""
    rng = np.random.default_rng(0)
    return sorted({phrase(question, rng) for question in questions for _ in range(20)})


def test_an_ability_has_as_many_plain_questions_as_a_person_can_read() -> None:
    library, rng = libraries(), np.random.default_rng(0)
    for part in (library.df_d, library.df_c, library.ad, library.fc):
        lines = {line for template in part.questions for line in template.questions + template.followups}
        assert 60 <= len(lines) <= (150 if part is not library.fc else 300)
        for line in lines:
            assert line.count("(") == line.count("|") == len(ALTERNATIVES.findall(line)) <= 1, line
            for sentence in {phrase(line, rng) for _ in range(9)}:
                assert re.fullmatch(r"[A-Z{][^()|]*[^\s,][.?!](\n\{options\})?", sentence), sentence
                assert not re.search(r"  |\s[?.,]|\ba [aeio]|\ban [^aeiouA]|\b(\w+) \1\b", sentence), sentence
    polarities = [template.when for template in library.df_d.questions for _ in template.questions]
    assert 0.15 < polarities.count("bona_fide") / len(polarities) < 0.35


def test_the_many_phrasings_of_the_tiny_base_are_clean_sentences() -> None:
    library, rng = load_libraries(TEMPLATES_OF_TINY_BASE), np.random.default_rng(0)
    every = [t for part in (library.df_d, library.df_c, library.ad, library.fc) for t in part.questions]
    questions = [question for template in every for question in template.questions + template.followups]
    drawn = {phrase(question, rng) for question in questions for _ in range(60)}
    assert [text for text in drawn if re.search(r"[(|)]|, ,|  |\s[?.,]|^\s|\s$", text)] == []


def test_every_image_gets_its_seven_questions_and_a_dialogue_any_order_of_them() -> None:
    orders = set()
    for face, artifacts in made_up_faces(200):
        rows = asked(face, artifacts)
        abilities = [row.ability for row in rows]
        assert sorted(abilities) == ["ad", "df_c", "df_d", "fc", "fc", "fc", "fc"]
        if is_dialogue(face.face_id):
            orders.add(tuple(abilities))
        else:
            assert abilities == ["df_d", "df_c", "ad", "fc", "fc", "fc", "fc"]
        assert len({row.question for row in rows}) == 7
        for row in rows:
            assert row.question.strip() and row.answer.strip() and row.template
            assert not set("{}|") & set(row.question + row.answer)
        assert all(len(row.answer.split()) <= 32 for row in rows if row.ability == "fc")
    assert len(orders) > 40


def test_only_a_dialogue_refers_to_what_was_said_and_never_at_its_beginning() -> None:
    followups = {name for t in libraries().fc.questions for name in t.names[len(t.questions) :]}
    met = 0
    for face, artifacts in made_up_faces(600):
        referring = [row.template in followups for row in asked(face, artifacts)]
        assert not referring[0] and (is_dialogue(face.face_id) or not any(referring))
        met += sum(referring)
    assert met > 100


def test_one_of_each_alternative_is_chosen() -> None:
    rng = np.random.default_rng(0)
    drawn = {phrase("(Is|Was (all|any) of) it{mark}(|, then)?", rng) for _ in range(200)}
    starts = ("Is", "Was all of", "Was any of")
    assert drawn == {f"{start} it{{mark}}{end}?" for start in starts for end in ("", ", then")}
    assert phrase("Is (this) it?", rng) == "Is (this) it?"


def test_some_questions_are_as_people_type_them() -> None:
    faces = made_up_faces(300)
    questions = [row.question for face, artifacts in faces for row in asked(face, artifacts)]
    assert 0.03 < sum(q == q.lower() and q[-1] not in "?.!" for q in questions) / len(questions) < 0.15


def test_a_seed_repeats_and_another_differs() -> None:
    faces = made_up_faces(20)
    assert [asked(*face) for face in faces] == [asked(*face) for face in faces]
    assert [asked(*face) for face in faces] != [asked(*face, seed=1) for face in faces]
    face, _ = faces[0]
    annotation = Measured().annotate(face, [])
    assert bench_questions(face, annotation, 3, libraries()) == bench_questions(face, annotation, 3, libraries())


def test_yes_means_what_the_question_asks_for() -> None:
    polarity = {name: t.when for t in libraries().df_d.questions for name in t.names}
    seen = set()
    for face, artifacts in made_up_faces(150):
        row = next(row for row in asked(face, artifacts) if row.ability == "df_d")
        seen.add((polarity[row.template], face.label))
        stated = "his face is bona fide." if face.label == "bona_fide" else "his face is forged."
        yes_no = "Yes" if polarity[row.template] == face.label else "No"
        assert row.answer == (f"T{stated}" if polarity[row.template] == "either" else f"{yes_no}, t{stated}")
    assert len(seen) == 6


def test_a_negation_is_answered_without_yes_or_no_which_could_mean_both() -> None:
    negation = re.compile(
        r"(?<!and )(not|never|n't)( been)? \(?(real|genuine|authentic|original|fake|forged|altered|edited)\b"
    )
    negated = [t.when for t in libraries().df_d.questions for question in t.questions if negation.search(question)]
    assert negated and set(negated) == {"either"}


def test_options_are_lettered_as_in_the_benchmark() -> None:
    with_options = 0
    for face, artifacts in made_up_faces(150):
        row = next(row for row in asked(face, artifacts) if row.ability == "df_c")
        lines = row.question.split("\n")[1:]
        if lines:
            with_options += 1
            assert [line[:3] for line in lines] == ["A. ", "B. ", "C. ", "D. ", "E. "]
            assert {line[3:] for line in lines} == CATEGORY_NAMES
    assert with_options > 5


def test_every_template_is_drawn_and_renders() -> None:
    drawn = {row.template for face, artifacts in made_up_faces(20000) for row in asked(face, artifacts)}
    library = libraries()
    parts = (library.df_d, library.df_c, library.ad, library.fc)
    assert drawn == {name for part in parts for template in part.questions for name in template.names}


def test_situations_fill_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    met = set()
    for face, artifacts in made_up_faces(200):
        for situation, words in situations(
            face, Measured().annotate(face, artifacts), rng, libraries(), ["lips"]
        ).items():
            assert SITUATIONS[situation] <= set(words)
            met.add(situation)
    assert met == set(SITUATIONS)


@pytest.mark.parametrize("folder", [None, TEMPLATES_OF_TINY_BASE])
def test_no_answer_about_a_self_blended_face_claims_another_person(folder: Path | None) -> None:
    library = libraries(folder)
    assert "another person" in library.df_c.explanation("face_swapping", "feathered_swap")
    own = library.df_c.explanation("face_swapping", "self_blended")
    for face, artifacts in made_up_faces(40):
        face = replace(face, label="forged", category="face_swapping", technique="self_blended")
        annotation = Measured(library).annotate(face, artifacts)
        rows = questions_and_answers(face, annotation, 0, TECHNIQUES, library)
        assert [row.answer for row in rows if row.ability == "df_c"] == [f"Face swapping is used. {own}"]
        definitions = [name for t in library.fc.questions if t.when == "term" for name in t.names]
        assert not [row for row in rows if "another person" in row.answer and row.template not in definitions]


def test_conversations_say_only_what_was_measured() -> None:
    checked = 0
    for face, artifacts in made_up_faces(300):
        named = {artifact.region for artifact in artifacts}
        for row in asked(face, artifacts):
            if row.template.startswith(("fc.region_clear", "fc.check_clear")):
                assert not [region for region in named if region in row.question]
                checked += 1
            if row.template.startswith(("fc.region_found", "fc.check_found")):
                assert [region for region in named if region in row.question and region in row.answer]
                checked += 1
            if row.template.startswith("fc.strongest.") and artifacts:
                assert artifacts[0].region in row.answer
            for kind in ARTIFACTS:
                if row.template.startswith(f"fc.{kind}_found"):
                    assert all(a.region in row.answer for a in artifacts if a.artifact == kind)
                if row.template.startswith(f"fc.{kind}_clear"):
                    assert kind not in {artifact.artifact for artifact in artifacts}
    assert checked > 50


def test_the_benchmark_asks_in_the_standardised_forms() -> None:
    orders = set()
    for face, artifacts in made_up_faces(50):
        annotation = Measured().annotate(face, artifacts)
        detection, classification, description = bench_questions(face, annotation, 0, libraries())
        assert (detection.ability, detection.options) == ("df_d", ("Yes", "No"))
        assert detection.answer == ("Yes" if face.label == "forged" else "No")
        assert "yes or no" in detection.question.lower()
        assert set(classification.options) == CATEGORY_NAMES
        assert classification.answer == CATEGORIES[face.category]
        lettered = [f"{letter}. {name}" for letter, name in zip("ABCDE", classification.options, strict=True)]
        assert classification.question.split("\n")[1:] == lettered
        assert (description.answer, description.options) == (annotation.ad, ())
        orders.add(classification.options)
    assert len(orders) > 20


def test_which_technique_is_asked_of_forgeries_with_others_of_the_dataset() -> None:
    library = libraries()
    asked = 0
    for face, _ in made_up_faces(60):
        face = replace(face, technique="lips" if face.label == "forged" else None)
        questions = which_technique(face, 0, TECHNIQUES, library)
        assert questions == which_technique(face, 0, TECHNIQUES, library)
        if face.label == "bona_fide":
            assert questions == []
            continue
        asked += 1
        (question,) = questions
        assert (question.ability, question.answer) == ("df_t", "lips")
        assert len(set(question.options)) == 4 and "lips" in question.options and "Lips" not in question.options
        listed = [f"{letter}. {name}" for letter, name in zip("ABCD", question.options, strict=True)]
        assert question.question.split("\n")[1:] == listed
        if face.category == "face_editing":  # one other of its own category, the rest of others
            assert "skin" in question.options
        assert which_technique(face, 0, {"lips": "face_editing", "skin": "face_editing"}, library) == []
    assert asked > 20


def test_of_half_of_the_forgeries_conversation_asks_for_the_technique() -> None:
    known = asked_for = with_options = 0
    for face, artifacts in made_up_faces(1000):
        rows = [row for row in asked(face, artifacts) if row.template.startswith("fc.technique_")]
        if face.technique is None:
            assert face.label == "bona_fide" or not rows
            continue
        known, asked_for = known + 1, asked_for + len(rows)
        for row in rows:
            assert row.answer.startswith("The technique is lips, a kind of")
            offered = [line[3:] for line in row.question.split("\n")[1:]]
            assert not offered or ("lips" in offered and len(set(offered)) == 4 and set(offered) <= set(TECHNIQUES))
            with_options += bool(offered)
    assert 0.4 < asked_for / known < 0.6 and 0.3 < with_options / asked_for < 0.7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(Path(own.__file__).parent, tmp_path / "templates"))


@pytest.mark.parametrize(
    "name, keys, value, message",
    [
        ("ad", ["questions", 0, "questions"], [""], r"ad\.yaml: questions\.0\.questions\.0: String should match"),
        ("ad", ["questions", 0, "questions"], ["What is {this}?"], r"ad\.yaml: ad: 'this' has no value in 'What is"),
        ("ad", ["questions", 0, "text"], "Where?", r"ad\.yaml: questions\.0\.text: Unexpected"),
        ("ad", ["questions"], [], r"ad\.yaml: questions: Tuple should have at least 1"),
        (
            "ad",
            ["answers", "nouns"],
            {"colour": "hue"},
            r"ad\.yaml: answers\.nouns: .*expected the keys colour, texture",
        ),
        ("df_d", ["questions", 0, "when"], "fake", r"df_d\.yaml: df_d\.forged: when: 'fake' is none of"),
        ("df_d", ["answers", "agree"], "Yes, {claim}", r"df_d\.yaml: answers: 'claim' has no value"),
        ("df_c", ["questions", 0, "questions"], ["{options"], r"df_c\.yaml: df_c: .*in '\{options'"),
        ("fc", ["questions", 0, "when"], "rain", r"fc\.yaml: fc\.region_found: when: 'rain' is none of"),
        (
            "fc",
            ["questions", 0, "questions"],
            "Why?",
            r"fc\.yaml: questions\.0\.questions: Input should be a valid tuple",
        ),
        ("fc", ["questions", 0, "id"], "fc.region_clear", r"fc\.yaml: fc\.region_clear: this id appears twice"),
        ("fc", ["questions", 0, "answers"], [], r"fc\.yaml: fc\.region_found: answers: only the templates in fc"),
        ("bench", ["df_e"], ["?"], r"bench\.yaml: .*expected the keys df_d, df_c, ad, df_t"),
    ],
)
def test_a_wrong_library_is_named_with_its_key(
    folder: Path, name: str, keys: list[Any], value: Any, message: str
) -> None:
    path = folder / f"{name}.yaml"
    content = inner = yaml.safe_load(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message) as error:
        load_libraries(folder)
    assert "\n" not in str(error.value)


def test_a_missing_or_broken_library_is_named(folder: Path) -> None:
    (folder / "ad.yaml").write_text("- {id: [")
    with pytest.raises(ValueError, match=r"ad\.yaml: not valid YAML"):
        load_libraries(folder)
    (folder / "ad.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"ad\.yaml: no such file"):
        load_libraries(folder)
