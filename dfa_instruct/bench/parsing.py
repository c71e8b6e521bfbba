"""Reading a verdict out of a model's answer, without ever guessing.

An answer is read when it commits itself to exactly one verdict. One that commits itself to none or to several, or
that only says what might be, gives None, and the metrics count it as wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from dfa_instruct.vocabulary import CATEGORIES, Category, Label

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
    letters = [next(filter(None, match)) for match in _LETTER.findall(_PREAMBLE.sub("", text)) + _LETTER.findall(text)]
    indices = {ord(letter) - ord("a") for letter in letters}
    found = {of_name[options[i].lower()] for i in indices if i < len(options)}
    for clause in _clauses(text):
        for category, name in _NAMES.items():
            for match in re.finditer(rf"\b(?:{name})\b", clause):
                if not _NEGATION.search(clause[: match.start()]):
                    found.add(category)
    if not found and _claims(text) == {"bona_fide"}:
        return "bona_fide"
    return found.pop() if len(found) == 1 else None
