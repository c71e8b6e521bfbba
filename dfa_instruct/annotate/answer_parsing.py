"""Reading what a language model answered: claims about regions, or the turns of a conversation, or what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from dfa_instruct.records import Finding
from dfa_instruct.vocabulary import ARTIFACTS, FC_QUESTIONS, REGIONS, Ability, ArtifactKind, Region

MOST_WORDS: Final = 60
"""In one sentence about a region, or one question."""
MOST_WORDS_ANSWER: Final = 120

_REFUSAL: Final = re.compile(
    r"^\W*(i['’]?m|i am|we['’]?re)( very| really| so)? (sorry|unable|not able)|^\W*sorry\b"
    r"|\bi (can['’]?t|cannot|won['’]t) (help|assist|comply|do that|provide|identify|analy[sz]e|fulfil)",
    re.IGNORECASE,
)
_ONLY_ENGLISH: Final = frozenset(
    [
        "the",
        "and",
        "this",
        "that",
        "with",
        "has",
        "have",
        "not",
        "does",
        "looks",
        "look",
        "appears",
        "seems",
        "it",
        "its",
    ]
)
"""Words that English texts are full of, and those of its neighbours are not."""
_ENGLISH: Final = _ONLY_ENGLISH | {"are", "is", "of", "to", "a", "no", "do", "in", "on", "at", "too"}
_OTHER_PICTURE: Final = re.compile(
    r"\b(second|other|original|bona fide) (picture|image|photo|face)"
    r"|\b(compared (to|with)|unlike) the (second|other|original)",
    re.IGNORECASE,
)
"""What may not be said to somebody who sees the forgery alone."""
_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


class NotUnderstoodError(ValueError):
    """An answer that is of no use as it is; the message is the complaint with which it is asked again."""


def is_refusal(text: str) -> bool:
    """Tell whether a text says that nothing will be answered."""
    return "{" not in text and _REFUSAL.search(text[:300]) is not None


def read_answer(ability: Ability, text: str) -> list[dict[str, Any]]:
    """Read an answer: claims with region, artifact and sentence; or turns with question and answer.

    JSON may stand in a fence or amid prose, as it does where a server knows nothing of structured output.

    Raises:
        NotUnderstoodError: another form, other words than those given, another number of turns, another language.
    """
    key, keys = (
        ("artifacts", ("region", "artifact", "sentence")) if ability == "ad" else ("turns", ("question", "answer"))
    )
    entries = _json(text).get(key)
    if not isinstance(entries, list) or not entries:
        raise NotUnderstoodError(f"Your answer has no list {key!r}, or an empty one.")
    read = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(k), str) and one_line(entry[k]) for k in keys):
            raise NotUnderstoodError(f"Entry {number} of {key!r} does not have the texts {', '.join(keys)}.")
        read.append({k: one_line(entry[k]) for k in keys})
    if ability == "ad":
        check_claims(read)
    else:
        _check_turns(read)
    _check_language([entry[k] for entry in read for k in keys if k not in ("region", "artifact")])
    return read


def one_line(text: str) -> str:
    """Return a text in one line, without what no reader sees: control characters, halves of an emoji."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _json(text: str) -> dict[str, Any]:
    """Return the first JSON object of a text."""
    begin = text.find("{")
    if begin < 0:
        raise NotUnderstoodError("Your answer holds no JSON.")
    try:
        found, _ = json.JSONDecoder().raw_decode(text[begin:])
    except (ValueError, RecursionError) as error:
        raise NotUnderstoodError("Your answer is not valid JSON, or was cut off before its end.") from error
    assert isinstance(found, dict)
    return found


def check_claims(claims: list[dict[str, Any]]) -> None:
    """Bring regions and artifacts to their own spelling.

    Raises:
        NotUnderstoodError: one is none of ours or comes twice, or a sentence is long or is about another picture.
    """
    seen = set()
    for claim in claims:
        for key, known in (("region", REGIONS), ("artifact", ARTIFACTS)):
            claim[key] = claim[key].lower().strip()
            if claim[key] not in known:
                raise NotUnderstoodError(f"The {key} {claim[key][:40]!r} is none of {', '.join(known)}.")
        if (claim["region"], claim["artifact"]) in seen:
            raise NotUnderstoodError(f"The artifact {claim['artifact']} of the region {claim['region']} comes twice.")
        seen.add((claim["region"], claim["artifact"]))
        if len(claim["sentence"].split()) > MOST_WORDS or "**" in claim["sentence"]:
            raise NotUnderstoodError(f"The sentence about the {claim['region']} is too long, or is not plain text.")
        if _OTHER_PICTURE.search(claim["sentence"]):
            raise NotUnderstoodError(
                f"The sentence about the {claim['region']} mentions a picture that its reader never sees."
            )


def _check_turns(turns: list[dict[str, Any]]) -> None:
    if len(turns) != FC_QUESTIONS:
        raise NotUnderstoodError(f"There must be {FC_QUESTIONS} turns, not {len(turns)}.")
    if len({turn["question"].lower() for turn in turns}) < FC_QUESTIONS:
        raise NotUnderstoodError("A question comes twice.")
    if any(len(t["question"].split()) > MOST_WORDS or len(t["answer"].split()) > MOST_WORDS_ANSWER for t in turns):
        raise NotUnderstoodError("A question or an answer is too long.")


def _check_language(texts: list[str]) -> None:
    """Refuse texts in which the words that English cannot do without are rare, and foreign letters are not."""
    words = [[word.lower() for word in _WORD.findall(text)] for text in texts]
    every = [word for of_text in words for word in of_text]
    letters = [c for text in texts for c in text if c.isalpha()]
    if (
        sum(word in _ENGLISH for word in every) < 0.12 * len(every)
        or _ONLY_ENGLISH.isdisjoint(every)
        or any(len(of_text) > 7 and _ENGLISH.isdisjoint(of_text) for of_text in words)
        or sum(not c.isascii() for c in letters) > 0.02 * len(letters)
    ):
        raise NotUnderstoodError("Your answer is not in English.")


def findings(claims: Iterable[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Bring the claims about one region together, in the order in which the regions first appear."""
    groups: dict[Region, list[Mapping[str, Any]]] = {}
    for claim in claims:
        groups.setdefault(claim["region"], []).append(claim)
    found = []
    for region, of_region in groups.items():
        kinds: tuple[ArtifactKind, ...] = tuple(claim["artifact"] for claim in of_region)
        sentences = dict.fromkeys(_sentence(claim["sentence"]) for claim in of_region)  # one may state two artifacts
        found.append(Finding(region, kinds, " ".join(sentences)))
    return tuple(found)


def claims_of(found: tuple[Finding, ...]) -> list[dict[str, Any]]:
    """Take findings apart again: a claim for each artifact, with the sentence that states it."""
    return [
        {"region": finding.region, "artifact": kind, "sentence": finding.sentence}
        for finding in found
        for kind in finding.artifacts
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")
