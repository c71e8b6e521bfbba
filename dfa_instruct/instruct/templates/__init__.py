"""Load the templates of questions and answers from the YAML files beside this one.

In a question, `(this|that)` stands for one of the two, which is drawn each time. A placeholder such as `{region}` is
filled with a fact of the face. You can use your own templates, for example in another language: write a folder with
files of the same names and keys, and add `templates: FOLDER` to the recipe.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Set
from dataclasses import field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from dfa_instruct.vocabulary import ARTIFACTS, BENCH_ABILITIES, CATEGORIES, Category
from dfa_instruct.yaml_file import read_mapping

ALTERNATIVES: Final = re.compile(r"\(([^()]*\|[^()]*)\)")
SITUATIONS: Final[dict[str, frozenset[str]]] = {
    "bona_fide": frozenset({"category", "explanation"}),
    "forged": frozenset({"category", "explanation"}),
    "evidence": frozenset({"category", "explanation", "strongest", "finding", "regions", "count"}),
    "no_evidence": frozenset({"category", "explanation"}),
    "category_right": frozenset({"category", "asked"}),
    "category_wrong": frozenset({"category", "asked"}),
    "category_bona_fide": frozenset({"category", "asked"}),
    "technique": frozenset({"category", "technique"}),
    "technique_offered": frozenset({"category", "technique", "options"}),
    **{f"{about}_found": frozenset({"category", "region", "finding"}) for about in ("region", "check")},
    **{f"{about}_clear": frozenset({"category", "region"}) for about in ("region", "check")},
    **{f"{about}_bona_fide": frozenset({"category", "region"}) for about in ("region", "check")},
    **{f"{kind}_found": frozenset({"category", "regions"}) for kind in ARTIFACTS},
    **{f"{kind}_clear": frozenset({"category"}) for kind in ARTIFACTS},
    "term": frozenset({"term", "meaning"}),
    "any": frozenset(),
}
"""Situation of a face (`when` in fc.yaml) → the placeholders that have a value in it."""

_FILLED: Final[dict[str, Mapping[str, Set[str]]]] = {
    "df_d": {"bona_fide": set(), "forged": set(), "either": set()},
    "df_c": {"": {"options"}},
    "ad": {"": set()},
    "fc": SITUATIONS,
}
"""File → allowed values of `when` → the placeholders that the texts of such a template can use."""


def _keys(*wanted: str) -> AfterValidator:
    """Return a validator for mappings that must have exactly these keys."""

    def check(given: dict[str, Any]) -> dict[str, Any]:
        if set(given) != set(wanted):
            raise ValueError(f"expected the keys {', '.join(wanted)}")
        return given

    return AfterValidator(check)


Text = Annotated[str, StringConstraints(pattern=r"\S")]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]
_STRICT: Final = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Template:
    """Several wordings of one question and, for free conversation, of its answer.

    Attributes:
        id: The name, unique in the file.
        questions: The wordings of the question.
        answers: The wordings of the answer (free conversation only). Each of them fits each question.
        followups: Wordings that refer to an earlier turn.
        when: For DF-D, the label for which the answer is yes, or `either`. For free conversation, one of `SITUATIONS`.
            Otherwise empty.
    """

    id: Text
    questions: Texts
    answers: tuple[Text, ...] = ()
    followups: tuple[Text, ...] = ()
    when: str = ""

    @property
    def names(self) -> list[str]:
        """The names of the questions and the follow-ups, as in the column `template` of the dataset."""
        count = len(self.questions + self.followups)
        return [f"{self.id}.{number}" for number in range(1, count + 1)] if count > 1 else [self.id]


@dataclass(frozen=True, config=_STRICT)
class Library:
    """The templates of one ability."""

    questions: Annotated[tuple[Template, ...], Field(min_length=1)]


@dataclass(frozen=True, config=_STRICT)
class Detection(Library):
    """The content of df_d.yaml: the two verdicts, and the answers that begin with yes or no."""

    answers: Annotated[dict[str, Text], _keys("bona_fide", "forged", "agree", "disagree")]


@dataclass(frozen=True, config=_STRICT)
class Classification(Library):
    """The content of df_c.yaml: the answers, and an explanation of each category (paper, section II).

    `technique_explanations` replaces the explanation of the category for techniques that it does not fit.
    """

    answers: Annotated[dict[str, Text], _keys("bona_fide", "forged")]
    explanations: Annotated[dict[str, Text], _keys(*CATEGORIES)]
    technique_explanations: dict[str, Text] = field(default_factory=dict)

    def explanation(self, category: Category, technique: str | None) -> str:
        """Return the explanation of a technique or, if it has none of its own, that of its category."""
        return self.technique_explanations.get(technique or "", self.explanations[category])


@dataclass(frozen=True, config=_STRICT)
class Sentences:
    """The sentences for bona fide faces, for forgeries without artifacts, and for regions with one or two artifacts."""

    bona_fide: Texts
    nothing_named: Text
    one_artifact: Annotated[dict[str, Texts], _keys(*ARTIFACTS)]
    two_artifacts: Texts
    nouns: Annotated[dict[str, Text], _keys(*ARTIFACTS)]
    degrees: Annotated[dict[str, Text], _keys("weak", "strong")]


@dataclass(frozen=True, config=_STRICT)
class Description(Library):
    """The content of ad.yaml: the sentences of an artifact description."""

    answers: Sentences


@dataclass(frozen=True, config=_STRICT)
class Libraries:
    """All templates, by the name of the file. `bench` has the standardised questions of DFA-Bench."""

    df_d: Detection
    df_c: Classification
    ad: Description
    fc: Library
    bench: Annotated[dict[str, Texts], _keys(*BENCH_ABILITIES)]


def load_libraries(folder: Path) -> Libraries:
    """Read and check the template libraries of a folder.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is not YAML, or a key is missing, unknown or of the wrong form. The message names both.
    """
    content = {field.name: read_mapping(folder / f"{field.name}.yaml") for field in fields(Libraries)}
    try:
        found = TypeAdapter(Libraries).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        file, *keys = map(str, first["loc"])
        raise ValueError(f"{folder / file}.yaml: {'.'.join(keys)}: {first['msg']}") from error
    for name, filled in _FILLED.items():
        ids = set[str]()
        for template in getattr(found, name).questions:
            place = f"{folder / name}.yaml: {template.id}"
            if template.id in ids:
                raise ValueError(f"{place}: this id appears twice")
            if template.when not in filled:
                raise ValueError(f"{place}: when: {template.when!r} is none of {', '.join(map(repr, filled))}")
            if bool(template.answers) != (name == "fc"):
                raise ValueError(f"{place}: answers: only the templates in fc.yaml have answers, and each needs one")
            ids.add(template.id)
            _check(place, template.questions + template.followups + template.answers, filled[template.when])
    _check(f"{folder}/df_d.yaml: answers", found.df_d.answers.values(), {"verdict"})
    _check(f"{folder}/df_c.yaml: answers", found.df_c.answers.values(), {"Category", "explanation"})
    for texts in (*found.ad.answers.one_artifact.values(), found.ad.answers.two_artifacts):
        _check(f"{folder}/ad.yaml: answers", texts, {"region", "degree", "first", "second"})
    for ability, texts in found.bench.items():
        _check(f"{folder}/bench.yaml: {ability}", texts, {"options"} if ability in ("df_c", "df_t") else set())
    return found


def _check(where: str, texts: Iterable[str], filled: Set[str]) -> None:
    """Raise ValueError if a text has a placeholder without a value."""
    for text in texts:
        try:
            unknown = {key for _, key, _, _ in string.Formatter().parse(text) if key is not None} - filled
        except ValueError as error:
            raise ValueError(f"{where}: {error} in {text!r}") from error
        if unknown:
            raise ValueError(f"{where}: {sorted(unknown)[0]!r} has no value in {text!r}")


def libraries(folder: str | Path | None = None) -> Libraries:
    """Return the templates of a folder, see `load_libraries`. Default: those of the package, which are read once."""
    return load_libraries(Path(folder)) if folder else _own()


@cache
def _own() -> Libraries:
    return load_libraries(Path(__file__).parent)


def phrase(question: str, rng: np.random.Generator) -> str:
    """Draw one alternative for each `(this|that)` in a question."""
    while found := ALTERNATIVES.search(question):
        choices = found[1].split("|")
        question = question[: found.start()] + choices[rng.integers(len(choices))] + question[found.end() :]
    return question
