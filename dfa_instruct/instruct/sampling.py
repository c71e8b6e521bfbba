"""From annotations to instructions: questions drawn from template libraries, answers taken from what is known.

The libraries are the YAML files in `templates/`. An image gets one question each of DF-D, DF-C and AD and four of free
conversation (paper, section III); a test image also gets the three standardised questions of DFA-Bench, and a forged
one a fourth, which technique made it. The seven questions of half of the images are one dialogue, in any order, in
which a question may refer to what was said before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from dfa_instruct.instruct.options import categories_offered, lettered, techniques_offered
from dfa_instruct.instruct.templates import SITUATIONS, libraries, phrase
from dfa_instruct.records import Annotation, Artifact, BenchQuestion, FaceRecord, InstructRow, QuestionAnswer
from dfa_instruct.vocabulary import (
    ARTIFACTS,
    CATEGORIES,
    EXPLANATIONS,
    FC_QUESTIONS,
    FORGERY_CATEGORIES,
    REGIONS,
    Category,
    Region,
)

AS_TYPED: Final = 0.1
"""The share of questions in small letters and without a mark at their end, as many people type."""
DIALOGUES: Final = 2
"""Of one face in so many, the questions are the turns of one dialogue: each sees those before it."""

COUNTS: Final = ("None", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


def is_dialogue(face_id: str) -> bool:
    """Tell whether a face's questions are the turns of one dialogue; else each is asked on its own."""
    return int(face_id, 16) % DIALOGUES == 0


def as_typed(question: str, rng: np.random.Generator) -> str:
    """Return a question as it is, or now and then in small letters and without a mark at its end."""
    return question.rstrip("?.!").lower() if rng.random() < AS_TYPED and "\n" not in question else question


def _listing(regions: Sequence[Region]) -> str:
    """Join regions as a sentence does, from the forehead to the jawline: a, b and c."""
    words = sorted(regions, key=list(REGIONS).index)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def situations(face: FaceRecord, annotation: Annotation, rng: np.random.Generator) -> dict[str, dict[str, str]]:
    """Return what is known of a face: each situation that it is in, and the words that fill its placeholders.

    Where a situation is about one region or one category, `rng` chooses it.
    """
    known = {"category": CATEGORIES[face.category], "explanation": EXPLANATIONS[face.category]}
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
        found["evidence" if findings else "no_evidence"] = known
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
    term = list(CATEGORIES)[rng.integers(1, len(CATEGORIES))]
    return found | {"term": {"term": CATEGORIES[term], "meaning": EXPLANATIONS[term]}, "any": {}}


def instruct(
    face: FaceRecord, artifacts: list[Artifact], annotation: Annotation, seed: int, techniques: Mapping[str, Category]
) -> InstructRow:
    """Ask all that is asked of a face: its row; `techniques` are those of the whole dataset, see `which_technique`."""
    qa = questions_and_answers(face, annotation, seed)
    of_bench = bench_questions(face, annotation, seed) + which_technique(face, seed, techniques)
    written = annotation.ad_by, annotation.fc_by, annotation.grounding, list(annotation.findings)
    return InstructRow(face, artifacts, qa, of_bench if face.split == "test" else [], *written)


def questions_and_answers(face: FaceRecord, annotation: Annotation, seed: int) -> list[QuestionAnswer]:
    """Ask about one image: one question each of DF-D, DF-C and AD, then four different ones of free conversation.

    One of the four at least is about a single region: it is what people ask next. A conversation that the annotator
    wrote stands in their place, its turns in their order.

    Those of a dialogue come in any order. The draw depends on `seed` and the face's id only.
    """
    library = libraries()
    rng = np.random.default_rng([seed, int(face.face_id, 16)])

    detect = library.df_d[rng.integers(len(library.df_d))]
    df_d_answer = annotation.df_d
    if detect.when != "either":
        yes_no = "Yes" if detect.when == face.label else "No"
        df_d_answer = f"{yes_no}, {annotation.df_d[0].lower()}{annotation.df_d[1:]}"
    classify = library.df_c[rng.integers(len(library.df_c))]
    describe = library.ad[rng.integers(len(library.ad))]
    options = lettered(categories_offered(rng))
    rows = [
        QuestionAnswer("df_d", phrase(detect.questions[0], rng), df_d_answer, detect.id),
        QuestionAnswer(
            "df_c", phrase(classify.questions[0], rng).format(options=options), annotation.df_c, classify.id
        ),
        QuestionAnswer("ad", phrase(describe.questions[0], rng), annotation.ad, describe.id),
    ]
    dialogue = is_dialogue(face.face_id)
    order = rng.permutation(len(rows) + FC_QUESTIONS) if dialogue else np.arange(len(rows) + FC_QUESTIONS)
    if annotation.conversation:
        turns = enumerate(annotation.conversation, start=1)
        rows += [QuestionAnswer("fc", *turn, f"{annotation.fc_by}.{number}") for number, turn in turns]
        following = iter(range(3, len(rows)))
        return [rows[i] if i < 3 else rows[next(following)] for i in order]
    first = int(order[0])
    known = situations(face, annotation, rng)
    fitting = [template for template in library.fc if template.when in known]
    of_region = [template for template in fitting if "region" in SITUATIONS[template.when]]
    chosen = [of_region[rng.integers(len(of_region))]]
    others = [template for template in fitting if template not in chosen]
    chosen += [others[i] for i in rng.choice(len(others), FC_QUESTIONS - 1, replace=False)]
    for talk in chosen:
        questions = talk.questions + (talk.followups if dialogue and first != len(rows) else ())
        number = int(rng.integers(len(questions)))
        answer = talk.answers[rng.integers(len(talk.answers))]
        words = known[talk.when]
        question = phrase(questions[number], rng).format(**words)
        rows.append(QuestionAnswer("fc", question, answer.format(**words), f"{talk.id}.{number + 1}"))
    return [replace(rows[i], question=as_typed(rows[i].question, rng)) for i in order]


def bench_questions(face: FaceRecord, annotation: Annotation, seed: int) -> list[BenchQuestion]:
    """Ask DFA-Bench's standardised questions: a DF-D assertion (yes: forged), DF-C with five options, an open AD."""
    bench = libraries().bench
    rng = np.random.default_rng([seed, int(face.face_id, 16), 1])
    drawn = {a: bench[a][rng.integers(len(bench[a]))].questions[0] for a in ("df_d", "df_c", "ad")}
    options = categories_offered(rng)
    return [
        BenchQuestion("df_d", drawn["df_d"], "Yes" if face.label == "forged" else "No", ("Yes", "No")),
        BenchQuestion("df_c", drawn["df_c"].format(options=lettered(options)), CATEGORIES[face.category], options),
        BenchQuestion("ad", drawn["ad"], annotation.ad),
    ]


def which_technique(face: FaceRecord, seed: int, techniques: Mapping[str, Category]) -> list[BenchQuestion]:
    """Ask which technique made a forgery; nothing of a bona fide face, or of a forgery whose technique is not known.

    Args:
        face: whom it is asked about.
        seed: the draw depends on it and on the face's id only.
        techniques: name → category, of all forgeries of the dataset: what is offered is there.
    """
    if face.technique is None:
        return []
    rng = np.random.default_rng([seed, int(face.face_id, 16), 2])
    options = techniques_offered(face.technique, face.category, techniques, rng)
    if not options:
        return []
    templates = libraries().bench["df_t"]
    question = templates[rng.integers(len(templates))].questions[0].format(options=lettered(options))
    return [BenchQuestion("df_t", question, face.technique, options)]
