"""The template libraries: phrasings of questions and of answers, in the YAML files beside this one.

In a question, `(this|that)` stands for one of the two, drawn anew each time; `{region}` for what is known of a face.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import numpy as np
import yaml

from dfa_instruct.vocabulary import ARTIFACTS, BENCH_ABILITIES

ALTERNATIVES: Final = re.compile(r"\(([^()]*\|[^()]*)\)")
SITUATIONS: Final[dict[str, frozenset[str]]] = {
    "bona_fide": frozenset({"category", "explanation"}),
    "forged": frozenset({"category", "explanation"}),
    "evidence": frozenset({"category", "explanation", "strongest", "finding", "regions", "count"}),
    "no_evidence": frozenset({"category", "explanation"}),
    "category_right": frozenset({"category", "asked"}),
    "category_wrong": frozenset({"category", "asked"}),
    "category_bona_fide": frozenset({"category", "asked"}),
    **{f"{about}_found": frozenset({"category", "region", "finding"}) for about in ("region", "check")},
    **{f"{about}_clear": frozenset({"category", "region"}) for about in ("region", "check")},
    **{f"{about}_bona_fide": frozenset({"category", "region"}) for about in ("region", "check")},
    **{f"{kind}_found": frozenset({"category", "regions"}) for kind in ARTIFACTS},
    **{f"{kind}_clear": frozenset({"category"}) for kind in ARTIFACTS},
    "term": frozenset({"term", "meaning"}),
    "any": frozenset(),
}
"""What may be known of a face (an entry's `when` in fc.yaml) → the placeholders that it fills."""


class TemplateError(ValueError):
    """A template library is not as expected; the message names the file and the key."""


@dataclass(frozen=True, slots=True)
class Template:
    """One entry of a library: phrasings of a question and, for free conversation, of its answer.

    `when` is the polarity of a DF-D question and the situation of a free conversation, else empty. `followups` are
    questions that refer to what was said before. In a question, `(this|that)` stands for one of the two.
    """

    id: str
    questions: tuple[str, ...]
    answers: tuple[str, ...] = ()
    followups: tuple[str, ...] = ()
    when: str = ""


@dataclass(frozen=True, slots=True)
class Libraries:
    """All template libraries."""

    df_d: tuple[Template, ...]
    df_c: tuple[Template, ...]
    ad: tuple[Template, ...]
    fc: tuple[Template, ...]
    bench: dict[str, tuple[Template, ...]]


def load_libraries(folder: Traversable) -> Libraries:
    """Read and check the template libraries of a folder.

    Raises:
        TemplateError: a file is missing or is not YAML, or a key is missing, unknown or of the wrong form.
    """
    bench = _read(folder, "bench")
    if not isinstance(bench, dict) or set(bench) != set(BENCH_ABILITIES):
        raise TemplateError(f"bench.yaml: expected the keys {', '.join(BENCH_ABILITIES)}")
    polarities = {polarity: frozenset[str]() for polarity in ("bona_fide", "forged", "either")}
    return Libraries(
        df_d=_templates("df_d.yaml", _read(folder, "df_d"), when_key="polarity", situations=polarities),
        df_c=_templates("df_c.yaml", _read(folder, "df_c"), filled=frozenset({"options"})),
        ad=_templates("ad.yaml", _read(folder, "ad")),
        fc=_templates("fc.yaml", _read(folder, "fc"), when_key="when", situations=SITUATIONS, conversation=True),
        bench={
            ability: _templates(
                f"bench.yaml, {ability}", entries, filled=frozenset({"options"} if ability in ("df_c", "df_t") else ())
            )
            for ability, entries in bench.items()
        },
    )


@cache
def libraries() -> Libraries:
    """Return the package's own template libraries, read once."""
    return load_libraries(files("dfa_instruct.instruct.templates"))


def _read(folder: Traversable, name: str) -> Any:
    try:
        return yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise TemplateError(f"{name}.yaml: cannot be read as YAML: {' '.join(str(error).split())}") from error


def _templates(
    where: str,
    entries: Any,
    when_key: str = "",
    situations: dict[str, frozenset[str]] | None = None,
    filled: frozenset[str] = frozenset(),
    conversation: bool = False,
) -> tuple[Template, ...]:
    """Check a library's entries; `filled` are the placeholders that any of them may use."""
    if not isinstance(entries, list) or not entries:
        raise TemplateError(f"{where}: expected a list of templates")
    keys = {"id"} | ({when_key} if when_key else set()) | ({"questions", "answers"} if conversation else {"question"})
    may = {"followups"} if conversation else set()
    templates: list[Template] = []
    for number, entry in enumerate(entries, start=1):
        name = entry.get("id", f"template {number}") if isinstance(entry, dict) else f"template {number}"
        if not isinstance(entry, dict) or not keys <= set(entry) <= keys | may:
            found = ", ".join(map(str, entry)) if isinstance(entry, dict) else repr(entry)
            raise TemplateError(f"{where}, {name}: expected the keys {', '.join(sorted(keys))}, found {found}")
        when = entry.get(when_key, "")
        if situations is not None and when not in situations:
            raise TemplateError(f"{where}, {name}, {when_key}: {when!r} is none of {', '.join(situations)}")
        allowed = filled | (situations[when] if situations is not None else frozenset())
        texts: dict[str, tuple[str, ...]] = {}
        for key in sorted(set(entry) - {"id", when_key}):
            value = entry[key] if conversation else [entry[key]]
            if not isinstance(value, list) or not value or not all(isinstance(v, str) and v.strip() for v in value):
                raise TemplateError(f"{where}, {name}, {key}: expected text, found {entry[key]!r}")
            for text in value:
                try:
                    unknown = {
                        field for _, field, _, _ in string.Formatter().parse(text) if field is not None
                    } - allowed
                except ValueError as error:
                    raise TemplateError(f"{where}, {name}, {key}: {error} in {text!r}") from error
                if unknown:
                    raise TemplateError(f"{where}, {name}, {key}: nothing fills {', '.join(sorted(unknown))}")
            texts["questions" if key == "question" else key] = tuple(value)
        if any(name == template.id for template in templates):
            raise TemplateError(f"{where}, {name}: this id is there twice")
        templates.append(Template(id=name, when=when, **texts))
    return tuple(templates)


def phrase(question: str, rng: np.random.Generator) -> str:
    """Choose one of each `(this|that)` in a question."""
    while found := ALTERNATIVES.search(question):
        choices = found[1].split("|")
        question = question[: found.start()] + choices[rng.integers(len(choices))] + question[found.end() :]
    return question
