"""Reading a verdict out of a model's answer, without ever guessing.

An answer is read when it commits itself to exactly one verdict. One that commits itself to none or to several, or
that only says what might be, gives None, and the metrics count it as wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from dfa_instruct.vocabulary import CATEGORIES, ArtifactKind, Category, Label, Region

_VERDICT = (
    r"(?P<forged>(?:deep ?)?fakes?|faked|forged|forger(?:y|ies)|(?:manipulat|alter|edit|tamper|doctor|falsif)\w+|"
    r"synthetic|synthesi[sz]ed|(?:ai |computer |artificially )?generated)"
    r"|(?P<bona_fide>bona ?fide|real|genuine|authentic|un(?:altered|edited|manipulated|modified|tampered|doctored))"
)
_PREDICATE = (
    r"(?:\w+'s|is|isn't|are|aren't|was|wasn't|were|been|has|hasn't|have|appears?|looks?|seems?|shows?|contains?|"
    r"(?:signs?|evidence|traces?|indications?|marks?) of)"
)
_CLAIM: Final = re.compile(
    rf"(?P<before>(?:[\w']+ ){{0,5}}){_PREDICATE}(?P<between>(?: [\w']+){{0,4}}?) (?:{_VERDICT})\b"
)
"""What is said of the face: "it is not a real one", "shows no signs of manipulation". A word alone claims nothing."""

_WORD: Final = re.compile(
    rf"(?P<before>(?:(?:a|an|the|this|it|probably|likely|definitely|clearly|not|no) )*)(?P<between>)(?:{_VERDICT})"
    r"(?: (?:face|image|photo|photograph|picture|person))?"
)
"""The verdict as the whole of a clause: "fake", "a genuine photo", "not forged"."""

_NEGATION: Final = re.compile(r"\b(?:not|no|never|without|neither|nor|cannot|rather than|instead of|unlike)\b|n't\b")
_UNDECIDED: Final = re.compile(
    r"\b(?:cannot|can't|can not|couldn't|unable|impossible|difficult|hard)\b(?: \w+){0,3}? "
    r"(?:tell|say|determine|decide|know|judge|confirm|verify|conclude|assess|identify|answer|help|assist)\b|"
    r"\b(?:not sure|unsure|uncertain|unclear|whether|don't know|no idea|no way|no one|either|yes and no|yes or no|"
    r"might|may|could|maybe|perhaps|possibly)\b"
)
_PREAMBLE: Final = re.compile(r"^(?:(?:the|my|final|short|correct) )*(?:answer|verdict|assistant)(?: is)?:? ")
_YES_NO: Final = re.compile(
    r"(?P<word>yes|no)\b(?! (?:visible |clear |obvious )?(?:signs?|evidence|traces?|manipulation))"
)

_NAMES: Final[dict[Category, str]] = {
    "bona_fide": r"bona ?fide",
    "face_swapping": r"(?:face|facial) ?swap(?:s|ped|ping)?|swapped face",
    "face_reenactment": r"(?:(?:face|facial) )?re ?enact(?:ment|ed)",
    "face_editing": r"(?:face|facial) (?:attribute )?edit(?:ing|ed|s)?|edited face",
    "entire_face_synthesis": r"(?:entire|whole|full|complete)(?:ly)? (?:face |facial )?synthe(?:sis|si[sz]ed|tic)",
}
_LETTER: Final = re.compile(
    r"^\(?([a-e])(?:[):]|\.(?!\w)|$)|\(([a-e])\)|"
    r"\b(?:option|answer|choice|letter|choose|pick|select)(?: is)?:? \(?([a-e])(?=[).,:]|$)"
)

_REGIONS: Final[dict[Region, str]] = {
    "forehead": r"forehead",
    "hairline": r"hair ?line|hair",
    "eyebrows": r"eye ?brows?|brows?",
    "eyes": r"eyes?|eyelids?|eyelash(?:es)?|pupils?|irises|iris|gaze",
    "nose": r"nose|nostrils?",
    "cheeks": r"cheeks?|cheekbones?",
    "mouth": r"mouth|lips?|teeth|tooth|smile",
    "chin": r"chin",
    "jawline": r"jaw(?: ?line)?|contour of the face|face contour",
}
_ARTIFACTS: Final[dict[ArtifactKind, str]] = {
    "colour": r"colou?r\w*|tones?|hues?|tint\w*|saturat\w+|complexion|discolou?r\w*|too (?:pale|red|dark|bright)",
    "texture": r"textures?|smooth\w*|rough\w*|grain\w*|waxy|plastic|patterns?|pores",
    "sharpness": r"sharp\w*|oversharpen\w*|blurr?\w*|details?|focus|fuzzy|soft",
    "geometry": r"shapes?|distort\w*|deform\w*|position\w*|asymmetr\w*|misalign\w*|proportion\w*|geometry|warp\w*",
    "boundary": r"edges?|seams?|blend\w*|boundar(?:y|ies)|transitions?|borders?|halo",
}
_SOUND: Final = re.compile(
    r"\b(?:no|nothing|none|without|free of|never)\b|"
    r"\b(?:looks?|appears?|seems?|is|are|remains?)(?: \w+){0,2} "
    r"(?:natural|consistent|normal|fine|right|real|realistic|intact|even|clean|correct)\b|"
    r"\b(?:matches|match|fits|fit|agrees?)\b"
)
"""What calls a region sound, where no word of a fault stands beside it."""
_FAULT: Final = re.compile(
    r"\b(?:not|n't|don't|doesn't) (?:\w+ ){0,2}"
    r"(?:match|fit|agree|natural|consistent|normal|right|real|even|clean|blend)\b|"
    r"\b(?:unnatural\w*|inconsistent\w*|wrong\w*|odd\w*|strange\w*|artificial|irregular\w*|mismatch\w*)\b"
)
_ABSENCE: Final = re.compile(
    r"\b(?:no|not any|nothing|none|without|free of)\b(?: [\w]+){0,4}? ?(?:artifacts?|artefacts?|traces?|flaws?|signs?|"
    r"regions?|anomal(?:y|ies)|inconsistenc(?:y|ies)|irregularit(?:y|ies)|unusual|wrong|odd|suspicious|evidence|distortions?)\b|"
    r"\b(?:all|every|everything|whole)\b.*\b(?:natural|consistent|agree|normal|fine)\b"
)
_CONFIDENCE: Final = re.compile(
    r"\b(?:sure|certain (?:of|that|about)|certainty|confiden\w+|mistaken?|mistakes|errors?|err|reliab\w+|rely|trust\w*|"
    r"doubts?|be wrong|supports? (?:the|this|my) verdict)\b"
)

Claim = tuple[Region, ArtifactKind | None]
"""A region that an answer calls faulty, and how; None: it does not say how."""


def _plain(text: str) -> str:
    """Lower the case, one space for every gap, hyphen and underscore, no Markdown and no quotation marks."""
    text = re.sub(r"[*`\"“”#>]", "", text.lower().replace("’", "'"))
    text = re.sub(r"[ \t_\-‐-―]+", " ", text).strip(" \n.,:")
    return re.sub(r"\b(?:there is )?no doubt(?: that)?|\bwithout (?:a |any )?doubt\b", "", text).strip(" ,")


def _undecided(text: str) -> bool:
    return _UNDECIDED.search(re.split(r"[.!?\n]", text)[0]) is not None


def _clauses(text: str) -> Iterator[str]:
    for clause in re.split(r"[.,:;!?\n()]|\b(?:but|and|because|since|so)\b", text):
        if not _UNDECIDED.search(clause):
            yield clause.strip()


def _claims(text: str) -> set[Label]:
    """All that the sentences say of the face, negations minded."""
    labels: set[Label] = set()
    for clause in _clauses(text):
        word = _WORD.fullmatch(clause)
        for claim in [word] if word else _CLAIM.finditer(clause):
            negated = _NEGATION.search(claim[0][: claim.end("between") - claim.start()]) is not None
            labels.add("forged" if (claim["forged"] is not None) != negated else "bona_fide")
    return labels


def parse_yes_no(text: str) -> Label | None:
    """Read the answer to "Has this face been forged?": Yes, or a sentence that says so, is "forged".

    Returns None for an answer that is empty, undecided, or contradicts itself.
    """
    text = _PREAMBLE.sub("", _plain(text))
    if _undecided(text):
        return None
    labels = _claims(text)
    if answer := _YES_NO.match(text):
        labels.add("forged" if answer["word"] == "yes" else "bona_fide")
    return labels.pop() if len(labels) == 1 else None


def parse_verdict(text: str, asked: Label | None) -> Label | None:
    """Read the answer to any DF-D question; `asked` is the label that makes the answer a yes, None where none does.

    Returns None for an answer that is empty, undecided, or contradicts itself: "No, this face is forged" is a verdict
    where it was asked whether the face is real, and none where it was asked whether it is forged.
    """
    text = _PREAMBLE.sub("", _plain(text))
    if _undecided(text):
        return None
    answer = _YES_NO.match(text)
    labels = _claims(text[answer.end() :] if answer else text)
    if answer and asked:
        other: Label = "bona_fide" if asked == "forged" else "forged"
        labels.add(asked if answer["word"] == "yes" else other)
    return labels.pop() if len(labels) == 1 else None


def parse_category(text: str, options: Sequence[str]) -> Category | None:
    """Read the answer to a question with lettered options.

    Args:
        text: the answer: a letter, a category's name, or a sentence with either.
        options: the categories' names in the order of their letters, A first.

    Returns:
        The one category that is named (a negated one is not), or None.
    """
    text = _plain(text)
    if _undecided(text):
        return None
    of_name = {name: category for category, name in CATEGORIES.items()}
    found = {of_name[option.lower()] for option in _lettered(text, options)}
    for clause in _clauses(text):
        for category, name in _NAMES.items():
            for match in re.finditer(rf"\b(?:{name})\b", clause):
                if not _NEGATION.search(clause[: match.start()]):
                    found.add(category)
    if not found and _claims(text) == {"bona_fide"}:
        return "bona_fide"
    return found.pop() if len(found) == 1 else None


def _lettered(text: str, options: Sequence[str]) -> list[str]:
    """Return the options whose letters an answer gives."""
    letters = [next(filter(None, match)) for match in _LETTER.findall(_PREAMBLE.sub("", text)) + _LETTER.findall(text)]
    return [option for letter, option in zip("abcde", options, strict=False) if letter in letters]


def parse_option(text: str, options: Sequence[str]) -> str | None:
    """Read the answer to a question with lettered options of any words, techniques for example.

    Returns the one option whose letter or name is given (a negated one is not), or None.
    """
    text = _plain(text)
    if _undecided(text):
        return None
    found = set(_lettered(text, options))
    for option in options:
        for match in re.finditer(rf"(?<!\w){re.escape(_plain(option))}(?!\w)", text):
            clause = re.split(r"[.,:;!?\n()]|\bbut\b", text[: match.start()])[-1]
            if not _NEGATION.search(clause):
                found.add(option)
    return found.pop() if len(found) == 1 else None


def label_of(category: Category | None) -> Label | None:
    """Return the label that a category implies."""
    return None if category is None else "bona_fide" if category == "bona_fide" else "forged"


def _words_of(names: dict[Any, str], text: str) -> list[Any]:
    return [name for name, words in names.items() if re.search(rf"\b(?:{words})\b", text)]


def named_regions(text: str) -> list[Region]:
    """Return the regions that a text names, in the vocabulary's order."""
    return _words_of(_REGIONS, _plain(text))


def parse_claims(text: str) -> list[Claim] | None:
    """Read an artifact description: which regions it calls faulty, and how, in its own order.

    A region that is called sound is no claim. Returns an empty list for an answer that says that there is no artifact,
    None for one that says nothing of artifacts.
    """
    claims: list[Claim] = []
    said = False
    for sentence in re.split(
        r"[\n;!?]|(?<=[^\d])\.(?=\s|$)|\bbut\b|\byet\b|\bwhile\b|\bhowever\b|, and the ", text.lower()
    ):
        sentence = re.sub(r"^(?:yes|no), |^\d+[.)] ", "", _plain(sentence))
        faulty = _FAULT.search(sentence) is not None
        if _ABSENCE.search(sentence):
            said = True
            continue
        if not faulty and _SOUND.search(sentence):
            continue
        kinds: list[ArtifactKind | None] = _words_of(_ARTIFACTS, sentence) or ([None] if faulty else [])
        claims += [(region, kind) for region in _words_of(_REGIONS, sentence) for kind in kinds]
    return list(dict.fromkeys(claims)) if claims or said else None


def described_label(text: str) -> Label | None:
    """Return the label that an artifact description implies: whoever names an artifact calls the face forged."""
    claims = parse_claims(text)
    if claims is None:
        return None
    return "forged" if claims or _claims(_plain(text)) == {"forged"} else "bona_fide"


def speaks_of_confidence(text: str) -> bool:
    """Tell whether an answer says how far a verdict may be relied on."""
    return _CONFIDENCE.search(_plain(text)) is not None
