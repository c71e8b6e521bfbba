"""Make questions and answers from annotations and templates.

The templates are the YAML files in `templates/`, or in the folder that a recipe names. Each image gets one question of
DF-D, DF-C and AD each and four of free conversation (paper, section III). A test image also gets the three standardised
questions of DFA-Bench and, if it is forged, the question which technique made it. For half of the images, the seven
questions are one dialogue in random order, in which a question may refer to earlier turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from dfa_instruct.instruct.options import categories_offered, lettered, techniques_offered
from dfa_instruct.instruct.templates import SITUATIONS, Libraries, Template, phrase
from dfa_instruct.records import Annotation, Artifact, BenchQuestion, FaceRecord, InstructRow, QuestionAnswer
from dfa_instruct.vocabulary import (
    ARTIFACTS,
    CATEGORIES,
    FC_QUESTIONS,
    FORGERY_CATEGORIES,
    REGIONS,
    Category,
    Label,
    Region,
)

AS_TYPED: Final = 0.1
"""The share of questions in lower case and without a final mark, as many people type."""
TECHNIQUE_ASKED: Final = 0.5
"""The share of forgeries with a known technique whose free conversation asks for it."""
DIALOGUES: Final = 2
"""One face in this number has a dialogue: its questions are turns, and each of them follows the earlier ones."""

COUNTS: Final = ("None", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


def is_dialogue(face_id: str) -> bool:
    """Return whether the questions about a face are one dialogue. Otherwise each question is asked separately."""
    return int(face_id, 16) % DIALOGUES == 0


def as_typed(question: str, rng: np.random.Generator) -> str:
    """Return a question unchanged or, for a share `AS_TYPED`, in lower case and without its final mark."""
    return question.rstrip("?.!").lower() if rng.random() < AS_TYPED and "\n" not in question else question


def _listing(regions: Sequence[Region]) -> str:
    """Join regions as "a, b and c", in the order from the forehead to the jawline."""
    words = sorted(regions, key=list(REGIONS).index)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def verdict(label: Label, annotation: Annotation, when: str, library: Libraries) -> str:
    """Return the answer to a DF-D question. `when` is the label for which it is yes, or `either`."""
    if when == "either":
        return annotation.df_d
    start = library.df_d.answers["agree" if when == label else "disagree"]
    return start.format(verdict=f"{annotation.df_d[0].lower()}{annotation.df_d[1:]}")


def situations(
    face: FaceRecord,
    annotation: Annotation,
    rng: np.random.Generator,
    library: Libraries,
    techniques: Sequence[str],
) -> dict[str, dict[str, str]]:
    """Return the situations of a face (see `SITUATIONS`) with the values of their placeholders.

    Args:
        face: The face.
        annotation: Its annotation.
        rng: Draws the region or the category that a situation is about.
        library: The templates.
        techniques: The options of a question about the technique, or none.
    """
    explanations = library.df_c.explanations
    explanation = library.df_c.explanation(face.category, face.technique)
    known = {"category": CATEGORIES[face.category], "explanation": explanation}
    findings = annotation.findings
    named = [finding.region for finding in findings]
    clear = [region for region in REGIONS if region not in named]
    found: dict[str, dict[str, str]] = {face.label: known}

    for about in ("region", "check"):
        if clear:
            ending = "clear" if face.label == "forged" else "bona_fide"
            found[f"{about}_{ending}"] = known | {"region": clear[rng.integers(len(clear))]}
        if findings:
            one = findings[rng.integers(len(findings))]
            found[f"{about}_found"] = known | {"region": one.region, "finding": one.sentence}

    others: list[Category] = [category for category in FORGERY_CATEGORIES if category != face.category]
    other = CATEGORIES[others[rng.integers(len(others))]]
    if face.label == "bona_fide":
        found["category_bona_fide"] = known | {"asked": other}
    else:
        found["category_right"] = known | {"asked": CATEGORIES[face.category]}
        found["category_wrong"] = known | {"asked": other}
        if not findings:
            found["no_evidence"] = known
    if findings:
        found["evidence"] = known | {
            "strongest": findings[0].region,
            "finding": findings[0].sentence,
            "regions": _listing(named),
            "count": COUNTS[len(findings)],
        }
    for kind in ARTIFACTS:
        regions = [finding.region for finding in findings if kind in finding.artifacts]
        if regions:
            found[f"{kind}_found"] = known | {"regions": _listing(regions)}
        else:
            found[f"{kind}_clear"] = known
    if face.technique:
        found["technique"] = known | {"technique": face.technique}
        if techniques:
            found["technique_offered"] = found["technique"] | {"options": lettered(techniques)}
    term = list(CATEGORIES)[rng.integers(1, len(CATEGORIES))]
    return found | {"term": {"term": CATEGORIES[term], "meaning": explanations[term]}, "any": {}}


def instruct(
    face: FaceRecord,
    artifacts: list[Artifact],
    annotation: Annotation,
    seed: int,
    techniques: Mapping[str, Category],
    library: Libraries,
) -> InstructRow:
    """Make the row of a face: its questions and answers, and the questions of DFA-Bench for a test face.

    Args:
        face: The facts of the face.
        artifacts: Its measured artifacts.
        annotation: Its annotation.
        seed: All random choices depend on the seed and the `face_id` only.
        techniques: The category of every technique in the dataset. Options are drawn from these.
        library: The templates.
    """
    qa = questions_and_answers(face, annotation, seed, techniques, library)
    of_bench = bench_questions(face, annotation, seed, library) + which_technique(face, seed, techniques, library)
    return InstructRow(
        face,
        artifacts,
        qa,
        of_bench if face.split == "test" else [],
        ad_by=annotation.ad_by,
        fc_by=annotation.fc_by,
        grounding=annotation.grounding,
        findings=list(annotation.findings),
        descriptions=list(annotation.descriptions),
    )


def _drawn(templates: Sequence[Template], rng: np.random.Generator) -> tuple[str, str, str]:
    """Draw a question with equal chances. Return the `when` of its template, its name and its text."""
    candidates = [
        (t.when, name, question) for t in templates for name, question in zip(t.names, t.questions, strict=False)
    ]
    return candidates[rng.integers(len(candidates))]


def questions_and_answers(
    face: FaceRecord, annotation: Annotation, seed: int, techniques: Mapping[str, Category], library: Libraries
) -> list[QuestionAnswer]:
    """Return one question each of DF-D, DF-C and AD and four of free conversation, with their answers.

    At least one of the four is about a single region, which is what people ask next. For half of the forgeries with a
    known technique, one asks for the technique. If the annotator wrote a conversation, its turns replace the four.

    A dialogue has its questions in random order. The arguments are those of `instruct`.
    """
    rng = np.random.default_rng([seed, int(face.face_id, 16)])

    when, detect, detection = _drawn(library.df_d.questions, rng)
    _, classify, classification = _drawn(library.df_c.questions, rng)
    _, describe, description = _drawn(library.ad.questions, rng)
    options = lettered(categories_offered(rng))
    rows = [
        QuestionAnswer("df_d", phrase(detection, rng), verdict(face.label, annotation, when, library), detect),
        QuestionAnswer("df_c", phrase(classification, rng).format(options=options), annotation.df_c, classify),
        QuestionAnswer("ad", phrase(description, rng), annotation.ad, describe),
    ]
    dialogue = is_dialogue(face.face_id)
    order = rng.permutation(len(rows) + FC_QUESTIONS) if dialogue else np.arange(len(rows) + FC_QUESTIONS)
    if annotation.conversation:
        turns = enumerate(annotation.conversation, start=1)
        rows += [QuestionAnswer("fc", *turn, f"{annotation.fc_by}.{number}") for number, turn in turns]
        following = iter(range(3, len(rows)))
        return [rows[i] if i < 3 else rows[next(following)] for i in order]
    first = int(order[0])
    apart = np.random.default_rng([seed, int(face.face_id, 16), 3])
    offered = techniques_offered(face.technique, face.category, techniques, apart)
    known = situations(face, annotation, rng, library, offered)
    fitting = [template for template in library.fc.questions if template.when in known]
    regional, technical = ([t for t in fitting if about in SITUATIONS[t.when]] for about in ("region", "technique"))
    chosen = [regional[rng.integers(len(regional))]]
    if technical and rng.random() < TECHNIQUE_ASKED:
        chosen.append(technical[rng.integers(len(technical))])
    others = [template for template in fitting if template not in chosen + technical]
    chosen += [others[i] for i in rng.choice(len(others), FC_QUESTIONS - len(chosen), replace=False)]
    for talk in chosen:
        questions = talk.questions + (talk.followups if dialogue and first != len(rows) else ())
        number = int(rng.integers(len(questions)))
        answer = talk.answers[rng.integers(len(talk.answers))]
        words = known[talk.when]
        question = phrase(questions[number], rng).format(**words)
        rows.append(QuestionAnswer("fc", question, answer.format(**words), talk.names[number]))
    return [replace(rows[i], question=as_typed(rows[i].question, rng)) for i in order]


def bench_questions(face: FaceRecord, annotation: Annotation, seed: int, library: Libraries) -> list[BenchQuestion]:
    """Return the standardised questions of DFA-Bench.

    They are a DF-D question whose answer yes means forged, a DF-C question with five options, and an open AD question.
    """
    bench = library.bench
    rng = np.random.default_rng([seed, int(face.face_id, 16), 1])
    drawn = {a: bench[a][rng.integers(len(bench[a]))] for a in ("df_d", "df_c", "ad")}
    options = categories_offered(rng)
    return [
        BenchQuestion("df_d", drawn["df_d"], "Yes" if face.label == "forged" else "No", ("Yes", "No")),
        BenchQuestion("df_c", drawn["df_c"].format(options=lettered(options)), CATEGORIES[face.category], options),
        BenchQuestion("ad", drawn["ad"], annotation.ad),
    ]


def which_technique(
    face: FaceRecord, seed: int, techniques: Mapping[str, Category], library: Libraries
) -> list[BenchQuestion]:
    """Return the question which technique made a forgery. Without a known technique, return no question."""
    rng = np.random.default_rng([seed, int(face.face_id, 16), 2])
    options = techniques_offered(face.technique, face.category, techniques, rng)
    if face.technique is None or not options:
        return []
    of_technique = library.bench["df_t"]
    question = of_technique[rng.integers(len(of_technique))].format(options=lettered(options))
    return [BenchQuestion("df_t", question, face.technique, options)]
