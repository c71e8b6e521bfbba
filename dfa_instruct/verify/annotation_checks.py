"""Check the questions of a row, and that every answer follows from the facts of its face."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, cast

import numpy as np

from dfa_instruct.annotate import Annotator
from dfa_instruct.instruct.options import OPTION
from dfa_instruct.instruct.sampling import situations, verdict
from dfa_instruct.instruct.templates import Libraries
from dfa_instruct.records import MEASURED, Annotation, Artifact, FaceRecord
from dfa_instruct.verify.promises import Findings
from dfa_instruct.verify.writers import written
from dfa_instruct.vocabulary import ABILITIES, CATEGORIES, FC_QUESTIONS, REGIONS

ASKED: Final = Counter({ability: FC_QUESTIONS if ability == "fc" else 1 for ability in ABILITIES})


def check_questions(findings: Findings, name: str, row: Mapping[str, Any]) -> None:
    """Check that a row has the expected number of questions for each ability, and that no text is empty."""
    asked = Counter(pair["ability"] for pair in row["qa"])
    findings.check("questions", asked == ASKED, f"{name}: {dict(asked)}")
    complete = all(pair["question"].strip() and pair["answer"].strip() for pair in row["qa"])
    findings.check("questions", complete, f"{name}: a question or an answer is empty")


def check_answers(
    findings: Findings,
    name: str,
    split: str,
    row: Mapping[str, Any],
    face: FaceRecord,
    described_by: Annotator,
    library: Libraries,
) -> None:
    """Check the answers of a row against those that follow from its face, its artifacts and the build's annotator."""
    artifacts = [Artifact(**artifact) for artifact in row["artifacts"]]
    annotation, wrong = written(row, described_by.annotate(face, artifacts), library)
    findings.check("writers", not wrong, f"{name}: {wrong}")
    _check_instructions(findings, name, row, face, annotation, library)
    _check_bench(findings, name, split, row, annotation)


def _check_instructions(
    findings: Findings,
    name: str,
    row: Mapping[str, Any],
    face: FaceRecord,
    annotation: Annotation,
    library: Libraries,
) -> None:
    asked = library.df_d.questions + library.fc.questions
    templates = {name: template for template in asked for name in template.names}
    offered = [face.technique] if face.technique else []
    # All values that a template may be filled with: a situation may be about any region or category.
    draws = [cast(np.random.Generator, _Nth(n)) for n in range(len(REGIONS))]
    drawn = [situations(face, annotation, draw, library, offered) for draw in draws]
    for pair in row["qa"]:
        ability, question, answer = pair["ability"], pair["question"].lower(), pair["answer"]
        if ability == "df_c":
            kept = answer == annotation.df_c
        elif ability == "ad":
            kept = answer == annotation.ad
        elif ability == "fc" and row["fc_by"] != MEASURED:
            continue
        else:
            template = templates.get(pair["template"])
            if template is None:
                findings.check("answers", False, f"{name}: there is no template {pair['template']!r}")
                continue
            if ability == "df_d":
                kept = answer == verdict(face.label, annotation, template.when, library)
            else:
                words = [known[template.when] for known in drawn if template.when in known]
                # If the question names a region, a category or a term, the answer must be about the same.
                named = [
                    w
                    for w in words
                    if any(key in w and w[key].lower() in question for key in ("region", "asked", "term"))
                ]
                kept = any(answer == text.format(**w) for w in named or words for text in template.answers)
                if template.when == "technique_offered":
                    kept &= face.technique in OPTION.findall(pair["question"])
        findings.check("answers", kept, f"{name} ({face.category}): the answer to {pair['question']!r} is {answer!r}")


def _check_bench(findings: Findings, name: str, split: str, row: Mapping[str, Any], annotation: Annotation) -> None:
    abilities = [question["ability"] for question in row["bench"]]
    expected = ["df_d", "df_c", "ad"] if split == "test" else []
    if expected and row["technique"] and "df_t" in abilities:  # datasets that are old or have few techniques lack it
        expected.append("df_t")
    findings.check("bench", abilities == expected, f"{name}: {abilities or 'none'}; expected {expected or 'none'}")
    for question in row["bench"]:
        options, answer = question["options"], question["answer"]
        if question["ability"] == "df_d":
            kept = options == ["Yes", "No"] and answer == ("Yes" if row["label"] == "forged" else "No")
        elif question["ability"] == "df_c":
            listed = sorted(options) == sorted(CATEGORIES.values()) and OPTION.findall(question["question"]) == options
            kept = listed and answer == CATEGORIES.get(row["category"])
        elif question["ability"] == "df_t":
            listed = len(set(options)) == len(options) and OPTION.findall(question["question"]) == options
            kept = listed and answer in options and answer == row["technique"]
        else:
            kept = not options and answer == annotation.ad
        findings.check("bench", kept, f"{name}: {question['ability']}: {answer!r} of {options}, {row['category']}")


class _Nth:
    """A substitute for a random generator that always draws the choice of one number, to list all possible draws."""

    def __init__(self, number: int) -> None:
        self.number = number

    def integers(self, low: int, high: int | None = None) -> int:
        low, high = (0, low) if high is None else (low, high)
        return low + self.number % (high - low)
