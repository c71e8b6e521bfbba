"""Parse a language model's answer into claims or conversation turns, or explain what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from dfa_instruct.records import Finding
from dfa_instruct.vocabulary import ARTIFACTS, FC_QUESTIONS, REGIONS, Ability, Region

MAX_WORDS: Final = 60
"""The longest sentence of a claim and the longest question, in words."""
MAX_WORDS_ANSWER: Final = 120
KEYS: Final[dict[Ability, tuple[str, tuple[str, ...]]]] = {
    "ad": ("artifacts", ("region", "artifact", "sentence")),
    "fc": ("turns", ("question", "answer")),
}
"""Ability → the key of the list in an answer, and the keys of each entry."""

_REFUSAL: Final = re.compile(
    r"^\W*(i['’]?m|i am|we['’]?re)( very| really| so)? (sorry|unable|not able)|^\W*sorry\b"
    r"|\bi (can['’]?t|cannot|won['’]t) (help|assist|comply|do that|provide|identify|analy[sz]e|fulfil)",
    re.IGNORECASE,
)
_OTHER_PICTURE: Final = re.compile(
    r"\b(second|other|original|bona fide) (picture|image|photo|face)"
    r"|\b(compared (to|with)|unlike) the (second|other|original)",
    re.IGNORECASE,
)
"""Phrases about the bona fide picture, which the reader of a description does not see."""
LANGUAGES: Final = "ar bg bn cs da de el en es fa fi fr he hi hu id it ja ko nl no pl pt ro ru sv ta th tr uk ur vi zh"
"""The languages to choose from. Without rarer languages, short English sentences are recognised more reliably."""
MIN_CONFIDENCE: Final = 0.6
"""The lowest probability at which a text counts as foreign. No English sentence of the templates reaches it."""


class NotUnderstoodError(ValueError):
    """An answer cannot be used. The message is sent back to the model when it is asked again."""


def is_refusal(text: str) -> bool:
    """Return whether a text refuses to answer."""
    return "{" not in text and _REFUSAL.search(text[:300]) is not None


@cache
def _language_identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=MIN_CONFIDENCE)
    identifier.set_languages(LANGUAGES.split())
    return identifier


def is_foreign(text: str) -> bool:
    """Return whether a text is in another language than English. A single word is usually too short to tell."""
    language, _ = _language_identifier().classify(text)
    return language not in ("en", "und")


def read_answer(ability: Ability, text: str) -> list[dict[str, Any]]:
    """Parse an answer. The JSON may be surrounded by prose or a code fence.

    Returns:
        For `ad`: claims with `region`, `artifact` and `sentence`. For `fc`: turns with `question` and `answer`.

    Raises:
        NotUnderstoodError: The answer has the wrong form, contains unknown regions or artifacts, has the wrong number
            of turns, or is not in English.
    """
    key, entry_keys = KEYS[ability]
    entries = _first_json_object(text).get(key)
    if not isinstance(entries, list) or not entries:
        raise NotUnderstoodError(f"Your answer has no list {key!r}, or the list is empty.")
    parsed = []
    for number, entry in enumerate(entries, start=1):
        values = [entry.get(k) for k in entry_keys] if isinstance(entry, dict) else [None]
        texts = [one_line(value) for value in values if isinstance(value, str)]
        if len(texts) < len(entry_keys) or not all(texts):
            raise NotUnderstoodError(f"Entry {number} of {key!r} does not have the texts {', '.join(entry_keys)}.")
        parsed.append(dict(zip(entry_keys, texts, strict=True)))
    if ability == "ad":
        check_claims(parsed)
    else:
        _check_turns(parsed)
    if any(is_foreign(entry[k]) for entry in parsed for k in entry_keys if k not in ("region", "artifact")):
        raise NotUnderstoodError("Your answer is not in English.")
    return parsed


def one_line(text: str) -> str:
    """Return a text on one line, without unprintable characters such as control codes and lone surrogates."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _first_json_object(text: str) -> dict[str, Any]:
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
    """Check claims, and normalise the spelling of their regions and artifacts in place.

    Raises:
        NotUnderstoodError: A region or artifact is unknown or appears twice, or a sentence is too long, is not plain
            text, or mentions another picture.
    """
    seen = set()
    for claim in claims:
        for key, known in (("region", REGIONS), ("artifact", ARTIFACTS)):
            claim[key] = claim[key].lower().strip()
            if claim[key] not in known:
                raise NotUnderstoodError(f"The {key} {claim[key][:40]!r} is none of {', '.join(known)}.")
        region, artifact, sentence = claim["region"], claim["artifact"], claim["sentence"]
        if (region, artifact) in seen:
            raise NotUnderstoodError(f"The artifact {artifact} of the region {region} appears twice.")
        seen.add((region, artifact))
        if len(sentence.split()) > MAX_WORDS or "**" in sentence:
            raise NotUnderstoodError(f"The sentence about the {region} is too long, or is not plain text.")
        if _OTHER_PICTURE.search(sentence):
            raise NotUnderstoodError(f"The sentence about the {region} mentions a picture that its reader never sees.")


def _check_turns(turns: list[dict[str, Any]]) -> None:
    if len(turns) != FC_QUESTIONS:
        raise NotUnderstoodError(f"There must be {FC_QUESTIONS} turns, not {len(turns)}.")
    if len({turn["question"].lower() for turn in turns}) < FC_QUESTIONS:
        raise NotUnderstoodError("A question appears twice.")
    if any(len(t["question"].split()) > MAX_WORDS or len(t["answer"].split()) > MAX_WORDS_ANSWER for t in turns):
        raise NotUnderstoodError("A question or an answer is too long.")


def claims_to_findings(claims: Iterable[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Merge the claims about each region into one finding. The regions keep the order of their first claim."""
    claims_by_region: dict[Region, list[Mapping[str, Any]]] = {}
    for claim in claims:
        claims_by_region.setdefault(claim["region"], []).append(claim)
    findings = []
    for region, merged in claims_by_region.items():
        sentences = dict.fromkeys(_as_sentence(claim["sentence"]) for claim in merged)  # without repetitions
        findings.append(Finding(region, tuple(claim["artifact"] for claim in merged), " ".join(sentences)))
    return tuple(findings)


def findings_to_claims(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Split findings into claims, one for each artifact, each with the finding's sentence."""
    return [
        {"region": finding.region, "artifact": kind, "sentence": finding.sentence}
        for finding in findings
        for kind in finding.artifacts
    ]


def _as_sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")
