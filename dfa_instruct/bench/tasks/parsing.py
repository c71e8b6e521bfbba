"""Reading a verdict out of a model's answer, without ever guessing.

An answer is read where it has a strict form: a yes or a no first, a marked final answer (see `final_answer`), a letter,
or sentences of which each states one and the same verdict beyond doubt (see `statements`). Any other gives None: then a
bench asks again for one word, and where nobody can be asked it counts as not said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from dfa_instruct.bench.tasks.final_answer import marked_answers
from dfa_instruct.bench.tasks.statements import contradicts, is_undecided, plain, stated_label, yes_or_no
from dfa_instruct.vlm.thoughts import split_thought
from dfa_instruct.vocabulary import CATEGORIES, ArtifactKind, Category, Label, Region

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
"""What leaves open whether something that an answer names is its choice."""
_NOT_BUT: Final = re.compile(r"\bnot ([^.!?]*?),? but ")

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

_Read = TypeVar("_Read", bound=str)

Claim = tuple[Region, ArtifactKind | None]
"""A region that an answer calls faulty, and how; None: it does not say how."""


def parse_yes_no(text: str, cut: bool = False) -> Label | None:
    """Read the answer to "Has this face been forged?": Yes, or a sentence that says so, is "forged".

    Args:
        text: the answer; a thought before it is passed over.
        cut: it ends where the model might have gone on, so that only a yes or a no at its beginning counts.

    Returns:
        None: the answer is empty, undecided, contradicts itself, or has none of the forms that leave no doubt.
    """
    return parse_verdict(text, "forged", cut)


def parse_verdict(text: str, asked: Label | None, cut: bool = False) -> Label | None:
    """Read the answer to any DF-D question; `asked` is the label that makes the answer a yes, None where none does.

    See `parse_yes_no` for the rest. "No, this face is forged" is a verdict where it was asked whether the face is real,
    and none where it was asked whether it is forged.
    """
    return _read(text, lambda said: _verdict(said, asked, cut), cut)


def _read(text: str, read: Callable[[str], _Read | None], cut: bool = False) -> _Read | None:
    """Read what is marked as the final answer, where anything is, else the whole answer."""
    _, answer = split_thought(text)
    answer = re.sub(r"^assistant\b\s*:?\s*", "", answer, flags=re.IGNORECASE)
    marked = None if cut else marked_answers(answer)
    found = {read(answer)} if marked is None else {_read(said, read) for said in marked}
    return found.pop() if len(found) == 1 else None


def _verdict(text: str, asked: Label | None, cut: bool) -> Label | None:
    text = plain(text)
    answer = yes_or_no(text)
    if answer is None:
        return None if cut else stated_label(text)
    word, rest = answer
    if asked is None:
        return None if cut else stated_label(rest)
    other: Label = "bona_fide" if asked == "forged" else "forged"
    label = asked if word == "yes" else other
    return None if contradicts(label, rest) else label


def parse_category(text: str, options: Sequence[str], cut: bool = False) -> Category | None:
    """Read the answer to a question with lettered options.

    Args:
        text: the answer: a letter, a category's name, or a sentence with either.
        options: the categories' names in the order of their letters, A first.
        cut: it ends where the model might have gone on, so that only a letter at its beginning counts.

    Returns:
        The one category that is named (a negated one is not), or None.
    """
    of_name = {name: category for category, name in CATEGORIES.items()}
    return _parse_choice(text, [of_name[option.lower()] for option in options], _NAMES, cut)


def parse_option(text: str, options: Sequence[str], cut: bool = False) -> str | None:
    """Read the answer to a question with lettered options of any words, techniques for example.

    Returns the one option whose letter or name is given (a negated one is not), or None; `cut` as for `parse_category`.
    """
    return _parse_choice(text, options, {option: re.escape(plain(option)) for option in options}, cut)


def _parse_choice(text: str, options: Sequence[_Read], names: Mapping[_Read, str], cut: bool) -> _Read | None:
    """Read the answer to a question with lettered options; `names` has a pattern for whatever it may name instead."""

    def read(said: str) -> _Read | None:
        text = _NOT_BUT.sub(r"not \1. ", plain(said))
        if is_doubtful(text):
            return None
        letters = [next(filter(None, match)) for match in _LETTER.findall(text)]
        found = {option for letter, option in zip("abcde", options, strict=False) if letter in letters}
        if cut:
            return found.pop() if len(found) == 1 and _LETTER.match(text) else None
        label = stated_label(text)
        found |= {name for name, words in names.items() if _named(words, text) or (name == label == "bona_fide")}
        return found.pop() if len(found) == 1 else None

    return _read(text, read, cut)


def is_doubtful(text: str) -> bool:
    """Tell whether a plain text leaves open, denies or only considers what it names."""
    return is_undecided(text) or _DOUBTFUL.search(text) is not None


def _named(name: str, text: str) -> bool:
    """Tell whether a plain text names something, and does not deny it in the same clause."""
    return any(
        not _DENIAL.search(re.split(r"[.,:;!?\n()]", text[: match.start()])[-1])
        for match in re.finditer(rf"(?<!\w)(?:{name})(?!\w)", text)
    )


def label_of(category: Category | None) -> Label | None:
    """Return the label that a category implies."""
    return None if category is None else "bona_fide" if category == "bona_fide" else "forged"


def _words_of(names: dict[Any, str], text: str) -> list[Any]:
    return [name for name, words in names.items() if re.search(rf"\b(?:{words})\b", text)]


def named_regions(text: str) -> list[Region]:
    """Return the regions that a text names, in the vocabulary's order."""
    return _words_of(_REGIONS, plain(text))


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
        sentence = re.sub(r"^(?:yes|no), |^\d+[.)] ", "", plain(sentence))
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
    return "forged" if claims or stated_label(plain(text)) == "forged" else "bona_fide"


def speaks_of_confidence(text: str) -> bool:
    """Tell whether an answer says how far a verdict may be relied on."""
    return _CONFIDENCE.search(plain(text)) is not None
