"""Reading verdicts and categories from a model's answers, without guessing.

An answer is read only if it has a strict form: yes or no at the start, a marked final answer (see `final_answer`), a
letter, or sentences that all clearly state the same verdict (see `statements`). Any other answer gives None. The bench
then asks again for one word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from dfa_instruct.annotate.claims import normalize, parse_claims
from dfa_instruct.bench.tasks.final_answer import marked_answers
from dfa_instruct.bench.tasks.statements import contradicts, is_undecided, split_yes_no, stated_label
from dfa_instruct.instruct.options import LETTERS
from dfa_instruct.vlm.thoughts import split_thought
from dfa_instruct.vocabulary import CATEGORIES, OPPOSITE, Category, Label

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
_DENIAL: Final = re.compile(r"\b(?:not|no|never|without|neither|nor|rather than|instead of|unlike|nothing|none)\b")
_DOUBTFUL: Final = re.compile(
    r"\?|\b(?:but|however|although|though|while|doubt\w*|unlikely|would|typical\w*|usually|wrong|false|mistaken|first|"
    r"seems? like|might|may|could|perhaps|possibly|rule[ds]? out|exclude\w*|both|far from|too|hardly|except|until)\b"
)
"""Words that leave open whether an answer chooses what it names."""
_NOT_BUT: Final = re.compile(r"\bnot ([^.!?]*?),? but ")

_CONFIDENCE: Final = re.compile(
    r"\b(?:sure|certain (?:of|that|about)|certainty|confiden\w+|mistaken?|mistakes|errors?|err|reliab\w+|rely|trust\w*|"
    r"doubts?|be wrong|supports? (?:the|this|my) verdict)\b"
)


_Read = TypeVar("_Read", bound=str)


def parse_yes_no(text: str, cut: bool = False) -> Label | None:
    """Read the answer to "Has this face been forged?", see `parse_verdict`."""
    return parse_verdict(text, "forged", cut)


def parse_verdict(text: str, asked: Label | None, cut: bool = False) -> Label | None:
    """Read the answer to a question of DF-D.

    Args:
        text: The answer. A thought before it is ignored.
        asked: The label that the answer yes means. None: the question is not one of yes or no.
        cut: Whether the answer was cut. Then only yes or no at its start is read.

    Returns:
        The label. None if the answer is empty or undecided, contradicts itself, or has none of the strict forms. For
        example, "No, this face is forged" contradicts itself if the question was whether the face is forged, but not if
        the question was whether it is real.
    """

    def read(answer: str) -> Label | None:
        answer = normalize(answer)
        split = split_yes_no(answer)
        if split is None:
            return None if cut else stated_label(answer)
        word, rest = split
        if asked is None:
            return None if cut else stated_label(rest)
        label = asked if word == "yes" else OPPOSITE[asked]
        return None if contradicts(label, rest) else label

    return _read_final(text, read, cut)


def _read_final(text: str, read: Callable[[str], _Read | None], cut: bool) -> _Read | None:
    """Read the marked final answers, which must all agree, or the whole answer if nothing is marked."""
    _, answer = split_thought(text)
    answer = re.sub(r"^assistant\b\s*:?\s*", "", answer, flags=re.IGNORECASE)
    marked = None if cut else marked_answers(answer)
    found = {read(answer)} if marked is None else {_read_final(part, read, cut) for part in marked}
    return found.pop() if len(found) == 1 else None


def parse_category(text: str, options: Sequence[str], cut: bool = False) -> Category | None:
    """Read the answer to a question of DF-C.

    Args:
        text: The answer: a letter, the name of a category, or a sentence with either.
        options: The names of the categories in the order of their letters.
        cut: Whether the answer was cut. Then only a letter at its start is read.

    Returns:
        The category if exactly one is named and not negated, else None.
    """
    categories = {name: category for category, name in CATEGORIES.items()}
    return _parse_choice(text, [categories[option.lower()] for option in options], _NAMES, cut)


def parse_option(text: str, options: Sequence[str], cut: bool = False) -> str | None:
    """Read the answer to a question with any lettered options, such as techniques; see `parse_category`."""
    return _parse_choice(text, options, {option: re.escape(normalize(option)) for option in options}, cut)


def _parse_choice(text: str, options: Sequence[_Read], names: Mapping[_Read, str], cut: bool) -> _Read | None:
    """Read the answer to a question with lettered options; `names` are regular expressions of the options' names."""

    def read(answer: str) -> _Read | None:
        answer = _NOT_BUT.sub(r"not \1. ", normalize(answer))
        if is_undecided(answer) or _DOUBTFUL.search(answer):
            return None
        letters = [next(filter(None, match)) for match in _LETTER.findall(answer)]
        found = {option for letter, option in zip(LETTERS.lower(), options, strict=False) if letter in letters}
        if cut:
            return found.pop() if len(found) == 1 and _LETTER.match(answer) else None
        label = stated_label(answer)
        found |= {name for name, words in names.items() if _is_named(words, answer) or name == label == "bona_fide"}
        return found.pop() if len(found) == 1 else None

    return _read_final(text, read, cut)


def _is_named(name: str, text: str) -> bool:
    """Return whether a normalized text names something without denying it in the same clause."""
    return any(
        not _DENIAL.search(re.split(r"[.,:;!?\n()]", text[: match.start()])[-1])
        for match in re.finditer(rf"(?<!\w)(?:{name})(?!\w)", text)
    )


def label_of(category: Category | None) -> Label | None:
    """Return the label that a category implies."""
    return None if category is None else "bona_fide" if category == "bona_fide" else "forged"


def described_label(text: str) -> Label | None:
    """Return the label that an artifact description implies, or None if the text says nothing about artifacts.

    A description of any artifact implies a forgery.
    """
    claims = parse_claims(text)
    if claims is None:
        return None
    return "forged" if claims or stated_label(normalize(text)) == "forged" else "bona_fide"


def mentions_confidence(text: str) -> bool:
    """Return whether an answer says how reliable a verdict is."""
    return _CONFIDENCE.search(normalize(text)) is not None
