"""Read from a description in free words which regions it calls faulty, and how."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from dfa_instruct.records import Finding
from dfa_instruct.vocabulary import ArtifactKind, Region

_REGIONS: Final[dict[Region, str]] = {
    "forehead": r"fore ?head",
    "hairline": r"hair ?lines?|hair|bangs|fringe",
    "eyebrows": r"eye ?brows?|brows?",
    "eyes": r"eyes?|eyelids?|eyelash(?:es)?|pupils?|irises|iris|gaze",
    "nose": r"nose|nostrils?",
    "cheeks": r"cheeks?|cheekbones?",
    "mouth": r"mouth|lips?|teeth|tooth|smile",
    "chin": r"chin",
    "jawline": r"jaw(?: ?line)?|contour of the face|face contour",
}
_ARTIFACTS: Final[dict[ArtifactKind, str]] = {
    "colour": r"colou?r\w*|tones?|hues?|tint\w*|saturat\w+|complexion|discolou?r\w*|too (?:pale|red|dark|bright)|"
    r"(?:bright|dark|redd|pal)er",
    "texture": r"textures?|smooth\w*|rough\w*|grain\w*|waxy|plastic|patterns?|pores",
    "sharpness": r"sharp\w*|oversharpen\w*|blurr?\w*|details?|focus|fuzzy|soft",
    "geometry": r"shapes?|distort\w*|deform\w*|position\w*|asymmetr\w*|misalign\w*|proportion\w*|geometry|warp\w*|"
    r"misplaced|wrong place|not align(?:ed)?|looke?s? curved|crooked|overlap\w*|(?:overly|too) (?:large|small|big|wide|"
    r"narrow|long|short|thick|thin|pointed|squared?|round)",
    "boundary": r"edges?|seams?|blend\w*|boundar(?:y|ies)|transitions?|borders?|halo",
}
_NATURAL: Final = re.compile(
    r"\b(?:no|nothing|none|without|free of|never|naturally)\b|\b(?:looks?|appears?|seems?|is|are|"
    r"remains?)(?: \w+){0,2} (?:natural|consistent|normal|fine|right|real|realistic|intact|even|clean|correct)\b|"
    r"\b(?:matches|match|fits|fit|agrees?)\b"
)
"""Words that call a region natural, unless the sentence also has a word for a fault."""
_FAULTY: Final = re.compile(
    r"\b(?:not|n't|don't|doesn't) (?:\w+ ){0,2}(?:match|fit|agree|natural|consistent|normal|right|real|even|clean|"
    r"blend)\b|\b(?:unnatural\w*|inconsistent\w*|wrong\w*|odd\w*|strange\w*|artificial|irregular\w*|mismatch\w*|"
    r"rigid|lifeless|broken|flawed|stains?)\b|"
    r"(?<!not )(?<!never )\b(?:looks?|appears?|seems?|is|are)(?: (?!not|never)\w+){0,2} (?:fake|unreal(?:istic)?)\b"
)
_ABSENCE: Final = re.compile(
    r"\b(?:no|not any|nothing|none|without|free of)\b(?: [\w]+){0,4}? ?(?:artifacts?|artefacts?|traces?|flaws?|signs?|"
    r"regions?|anomal(?:y|ies)|inconsistenc(?:y|ies)|irregularit(?:y|ies)|unusual|wrong|odd|suspicious|evidence|distortions?)\b|"
    r"\b(?:all|every|everything|whole)\b.*\b(?:natural|consistent|agree|normal|fine)\b"
)

_SENTENCE_END: Final = re.compile(
    r"[.!?;\n]+(?:\s|$)|(?<!because)(?<!of)(?<!around)(?<!at)(?<!in)(?<!on)(?<!near)(?<!and)(?<!between)(?<!,)"
    r"(?<!is)(?<!are)(?<!look)(?<!looks)(?<!appear)(?<!appears)(?<!seem)(?<!seems) "
    r"(?=the (?:person['’]s|person has|eyes|eyebrows|nose|mouth|lips|teeth|chin|jaw\w*|forehead|cheeks|hair\w*)\b"
    r"(?: \w+)? (?:looke?s?|appears?|seems?|is|are|lacks?|has|have|do|does)\b|there (?:is|are|area)\b|overly )",
    re.IGNORECASE,
)
"""The end of a sentence, also where people leave out the full stop: "overly large mouth the eyes look blurred"."""

_Read = TypeVar("_Read", bound=str)

Claim = tuple[Region, ArtifactKind | None]
"""A region that an answer calls faulty, and the kind of artifact; None if the answer does not name a kind."""


def normalize(text: str) -> str:
    """Return a text in lower case, without Markdown, quotation marks, hyphens and contractions."""
    text = re.sub(r"[*`\"“”#>\[\]$✅❌]", "", text.lower().replace("’", "'"))
    text = re.sub(r"\s*[—–]\s*|\s+-+\s+", ", ", text)
    text = re.sub(r"[ \t_\-‐-―…]+", " ", text)
    text = re.sub(r"\b(?:can't|cannot)\b", "can not", text).replace("n't", " not")
    text = re.sub(r"\b(it|that|this|there|he|she|what|here)'s\b", r"\1 is", text)
    text = re.sub(r"\bi'm\b", "i am", text).replace("'", " ")
    text = re.sub(
        r"\b(?:i have |there is )?no (?:doubt|question)\b(?: that| about it)?[:,]?|"
        r"\b(?:without (?:a |any )?doubt|undoubtedly)\b,?",
        "",
        text,
    )
    return re.sub(r"[ \t]+", " ", text).strip(" ,:").strip()


def _found(names: Mapping[_Read, str], text: str) -> list[_Read]:
    """Return the names whose regular expressions match anywhere in a text."""
    return [name for name, words in names.items() if re.search(rf"\b(?:{words})\b", text)]


def named_regions(text: str) -> list[Region]:
    """Return the regions that a text names, in the vocabulary's order."""
    return _found(_REGIONS, normalize(text))


def parse_claims(text: str) -> list[Claim] | None:
    """Read an artifact description.

    Returns:
        The regions that it calls faulty, with the kinds of artifacts, in the order of the text. An empty list if it
        says that there is no artifact; None if it says nothing about artifacts.
    """
    claims: list[Claim] = []
    denies = False
    for sentence in re.split(
        r"[\n;!?]|(?<=[^\d])\.(?=\s|$)|\bbut\b|\byet\b|\bwhile\b|\bhowever\b|, and the ", text.lower()
    ):
        sentence = re.sub(r"^(?:yes|no), |^\d+[.)] ", "", normalize(sentence))
        faulty = _FAULTY.search(sentence) is not None
        if _ABSENCE.search(sentence):
            denies = True
            continue
        if not faulty and _NATURAL.search(sentence):
            continue
        kinds: list[ArtifactKind | None] = [*_found(_ARTIFACTS, sentence)] or ([None] if faulty else [])
        claims += [(region, kind) for region in _found(_REGIONS, sentence) for kind in kinds]
    return list(dict.fromkeys(claims)) if claims or denies else None


def read_findings(text: str, about: str = "") -> tuple[Finding, ...]:
    """Read what a person has written about a forged face.

    Args:
        text: The words.
        about: The part of the face that they are about. It counts for sentences that name no region with a fault.

    Returns:
        One finding for each region that is called faulty. Its sentence is a part of the text, word for word; its
        artifacts are empty if the words do not tell the kind.
    """
    findings = []
    for sentence in filter(None, (part.strip() for part in _SENTENCE_END.split(text))):
        claims = parse_claims(sentence) or (parse_claims(f"{about} {sentence}") if about else None)
        for region in dict.fromkeys(region for region, _ in claims or []):
            kinds = tuple(kind for of, kind in claims or [] if of == region and kind is not None)
            findings.append(Finding(region, kinds, sentence))
    return merge_findings(findings)


def merge_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Merge the findings about each region, with the sentence that tells most kinds of artifacts, or the longest."""
    by_region: dict[Region, list[Finding]] = {}
    for finding in findings:
        by_region.setdefault(finding.region, []).append(finding)
    return tuple(
        Finding(
            region,
            tuple(dict.fromkeys(kind for finding in found for kind in finding.artifacts)),
            max(found, key=lambda finding: (len(finding.artifacts), len(finding.sentence))).sentence,
        )
        for region, found in by_region.items()
    )
