"""Finding the label that sentences state without any doubt.

Language can reverse a verdict in more ways than can be listed ("too perfect to be real", "whoever calls it a fake is
wrong"). So verdicts are not searched for within a sentence: a whole clause must have one of a few plain forms. Other
clauses may only give reasons, without any word that could affect the verdict. What follows a yes or a no must not
contradict it.
"""

from __future__ import annotations

import re
from typing import Final

from dfa_instruct.vocabulary import Label

_FORGED: Final = (
    r"(?:(?:a |the product of (?:a )?)?(?:deep ?fakes?|fakes?|forger(?:y|ies)|manipulation|face swap)|faked|forged|"
    r"manipulated|altered|edited|tampered(?: with)?|doctored|falsified|synthetic|synthesi[sz]ed|generated|photoshopped|"
    r"face swapped|artificial|computer made)"
)
_BONA_FIDE: Final = (
    r"(?:real|genuine|authentic|bona fide|un(?:altered|edited|manipulated|modified|tampered|doctored|forged)|"
    r"(?:photo|photograph|picture|image) of a (?:real|genuine) (?:person|face|human being))"
)
_NOUN: Final = r"(?:human )?(?:face|image|picture|photo|photograph|portrait|person|human(?: being)?|one|man|woman)"
_HERE: Final = (
    r"(?: (?:shown |depicted )?(?:in|on|of) (?:the|this) (?:image|picture|photo|photograph|portrait|face)| here)"
)
_SUBJECT: Final = (
    rf"(?:it|this|that|he|she|(?:the|this|that) {_NOUN}(?: shown| depicted| itself)?{_HERE}?|what (?:i|we) see)"
)
_TO_BE: Final = r"(?: to be| to have been| like)?"
_IS: Final = rf"(?:(?:is|was|has been|have been)(?: likely to be)?|must be|(?:looks|appears|seems){_TO_BE})"
_IS_NOT: Final = rf"(?:(?:is|was) not|(?:has|have) not been|(?:is|was) no|does not (?:look|appear|seem){_TO_BE})"
_SURELY: Final = (
    r"(?:(?:very|quite|clearly|definitely|probably|(?:most |very |highly )?likely|almost certainly|certainly|entirely|"
    r"completely|fully|totally|wholly|digitally|artificially|indeed|obviously|evidently|actually|absolutely|plainly|ai|"
    r"computer|machine) )*"
)
_TAIL: Final = (
    rf"(?: by (?:an? )?(?:ai|computer|software|machine|someone|somebody)| with (?:software|ai)| at all|{_HERE}|"
    r" (?:around|near|at|on|in) the \w+(?: and (?:the )?\w+)?)?"
)
_LINKING: Final = r"so|thus|therefore|hence|overall|in conclusion|clearly"
_LEAD: Final = (
    rf"(?:(?:{_LINKING}|in my (?:opinion|view|judge?ment)|"
    r"i (?:firmly |strongly )?(?:think|believe|conclude|would say)|i can confirm|i am afraid|it is (?:clear|evident|"
    r"obvious)|i am (?:(?:quite|very|fairly|pretty|absolutely|completely) )?(?:sure|certain|confident|convinced)|"
    r"based on (?:the|this) (?:provided |given )?(?:image|picture|photo|photograph)(?: provided| given| alone)?|"
    r"it (?:is|seems|appears)(?: (?:very |highly |most )?likely)?(?= that))(?:,? that|,)? )*"
)
_OPINION: Final = r"i (?:do not (?:think|believe)|(?:highly |strongly |seriously )?doubt)(?: that)? "
_KINDS: Final = (
    r"(?:(?:facial|face|digital|image|ai|deepfake|computer) )*"
    r"(?:manipulations?|forger(?:y|ies)|tampering|alterations?|editing|deepfakes?|falsification|generation)"
)
_SIGNS: Final = (
    r"(?:(?:clear|visible|obvious|apparent|evident|strong|definite|convincing|noticeable|detectable|unmistakable) )*"
    r"(?:signs?|evidence|traces?|indications?|marks?|indicators?)"
)
_SHOWS: Final = r"(?:shows|has|contains|exhibits|displays|bears)"
_OF: Final = rf" (?:of {_KINDS}|that {_SUBJECT} (?:is|was|has been) {_SURELY}{_FORGED})"


def _called(verdict: str) -> str:
    """Return a regular expression for what follows "it is"."""
    return rf"{_SURELY}(?:an? )?{_SURELY}{verdict}(?:(?: and|,) {_SURELY}{verdict})?(?: {_NOUN})?{_TAIL}"


_VERDICTS: Final[tuple[tuple[Label, Label, str], ...]] = (
    ("forged", "bona_fide", _FORGED),
    ("bona_fide", "forged", _BONA_FIDE),
)
"""A label, the opposite label, and words for the first."""
_FORMS: Final[tuple[tuple[Label, re.Pattern[str]], ...]] = tuple(
    (label, re.compile(_LEAD + form))
    for label, form in (
        *(
            (which, form)
            for which, other, verdict in _VERDICTS
            for which, form in (
                (which, rf"(?:{_SUBJECT} {_IS} )?{_called(verdict)}"),
                (which, rf"{_SUBJECT} shows an? {_SURELY}{verdict} {_NOUN}(?: s face)?(?: as the camera saw it)?"),
                (
                    other,
                    rf"(?:(?:{_SUBJECT} )?{_IS_NOT}|not) (?:actually |been |digitally |ai |"
                    rf"computer )*(?:an? )?{verdict}(?: {_NOUN})?{_TAIL}",
                ),
                (other, rf"{_OPINION}{_SUBJECT} {_IS} {_called(verdict)}"),
            )
        ),
        (
            "forged",
            rf"(?:{_SUBJECT} {_SHOWS}|there (?:is|are)|i (?:can )?(?:see|notice|find|detect)) {_SIGNS}{_OF}{_TAIL}",
        ),
        (
            "bona_fide",
            rf"(?:{_SUBJECT} {_SHOWS} no|there (?:is|are) (?:no|not any)|"
            rf"{_SUBJECT} does not (?:show|have|contain|exhibit|display|bear)(?: any)?|i (?:see|notice|find|detect) no|"
            rf"i (?:do|can|could) not (?:see|notice|find|detect)(?: any)?|no) (?:{_SIGNS}{_OF}|{_KINDS}){_TAIL}"
            r"(?: (?:is|are|was|were) (?:visible|present|found|detected|apparent|evident)| (?:visible|found|"
            r"detected))?",
        ),
        (
            "bona_fide",
            rf"(?:nothing{_HERE}? (?:suggests|indicates)|i (?:have|see|find) no reason to (?:believe|think|suspect|"
            rf"say))(?: that)? {_SUBJECT} {_IS} {_called(_FORGED)}",
        ),
    )
)
"""The label that a clause states, and the form of the clause."""

_ANY_FORGED: Final = (
    r"\b(?:deep ?fakes?|fak(?:e|es|ed|ery|ing)|forg\w+|manipulat\w+|alter(?:ed|ations?|ing)?|edit(?:ed|ing|s)?|"
    r"tamper\w*|doctor\w*|falsif\w+|synthe\w+|generat\w+|photoshop\w*|retouch\w*|swap\w*|reenact\w*|composites?|cgi|"
    r"artificial\w*|ai|phony|bogus|counterfeit|fabricat\w+|computer\w*|machine\w*|render\w*|hoax|morph\w*|falso|"
    r"artifacts?|inconsisten\w+|unnatural\w*|unreal\w*|suspicious\w*)\b"
)
_ANY_BONA_FIDE: Final = (
    r"\b(?:real|genuine\w*|authentic\w*|bona fide|legit\w*|un(?:altered|edited|manipulated|modified|tampered|doctored|"
    r"touched|retouched|forged))\b"
)
_ALL_NATURAL: Final = (
    r"\b(?:face|it|image|photo|photograph|picture|portrait|person|everything|all|skin)\b(?: \w+){0,4} "
    r"(?:natural\w*|normal\w*|consistent|plausible|original|true|human|realistic)\b"
)
"""Words that say that the whole face is natural, which contradicts a forgery."""
_BEARING: Final = re.compile(
    rf"{_ANY_FORGED}|{_ANY_BONA_FIDE}|\b(?:natural\w*|realis\w+|original\w*|true|truth|human|exists?|actual|perfect\w*|"
    r"(?:yes|no)\b(?! \w)|nope|not so|wrong|false|mistake\w*|incorrect|kidding|jok\w+|lies?|opposite|contrary|said|"
    r"says?|claims?|thinks?|thought|believes?|would|if|unless|were|except|until|however|despite|yet|otherwise|still|"
    r"though|although|while|pretend\w*|might|may|could|maybe|perhaps|possibl[ye]|whether|either)\b"
)
"""Words that may affect a verdict."""
_FEATURE: Final = re.compile(
    r"\b(?:eyes?|eyelids?|pupils?|iris(?:es)?|gaze|nose|nostrils?|mouth|lips?|teeth|tooth|smile|chin|jaw\w*|cheek\w*|"
    r"forehead|hair\w*|eyebrows?|brows?|ears?|neck|skin|pores?|wrinkles?|complexion|features?|regions?|textures?|"
    r"light\w*|shad(?:ow|ing)\w*|reflect\w*|background|edges?|seams?|borders?|boundar\w+|blend\w*|details?|colou?r\w*|"
    r"tones?|grain|noise|a?symmetr\w*|contours?|expression|pixels?|sharp\w*|blurr?\w*|focus|proportions?|perspective)\b"
)
"""The subjects of sentences that give a reason."""
_NEGATION: Final = re.compile(
    r"\b(?:not|no|never|nothing|none|nobody|nowhere|neither|nor|without|hardly|barely|scarcely|unlikely|improbable|"
    r"lacks?|lacking|absence|absent|free (?:of|from)|fail(?:s|ed)?|doubt\w*|rather than|instead of|unlike|far from|"
    r"anything but|less|little|impossible|too(?: \w+){1,3} (?:to|for))\b"
)
_DENIED: Final = re.compile(
    r"^(?: \w+){0,6} (?:is|are|was|were|would be)(?: \w+)? (?:wrong|false|mistaken|untrue|incorrect|unfounded|"
    r"baseless)\b"
)
_CONCEDED: Final = re.compile(r"^\W*(?:even )?(?:although|though|despite|unlike|while)\b")
_ONLY_LOOKS: Final = re.compile(r"\b(?:looks?|seems?|appears?|parts?|most|some|unlike)\b")
_CUT: Final = re.compile(
    r"[.!;\n]+|, (?=(?:it|this|that|the|he|she|they|which|and|so)\b)|"
    r"(?=\b(?:but|yet|however|although|though|while|whereas|because|since|despite|unlike|so)\b)"
)
"""The boundaries at which a negation ends."""
_CLAUSES: Final = re.compile(
    r",? (?:and|so) (?=(?:it|this|the|i|there|no|not|has|is|was|does)\b)|, (?=(?:it|this|the \w+) )|,? but |"
    r",? (?:even )?(?:al)?though |,? (?:because|since) "
)
_OPENING: Final = re.compile(rf"(?:^|(?<=[.!;\n] ))({_LINKING}|in my \w+|based on [a-z ]{{1,40}}),")
"""Words at the start of a statement, followed by a comma that does not end a clause."""
_CONTRAST: Final = re.compile(r"\b(?:but|although|though)\b")

_UNDECIDED: Final = re.compile(
    r"\b(?:not able|unable|impossible|difficult|hard|can not|could not)(?: \w+){0,3}? "
    r"(?:tell|say|determine|decide|know|judge|confirm|verify|conclude|assess|identify|answer|help|assist|certain\w*)\b|"
    r"\b(?:not (?:\w+ )?(?:sure|certain)|unsure|uncertain|unclear|do not know|no idea|as an ai)\b"
)
_HEDGED: Final = re.compile(
    r"\b(?:might|may|could|maybe|perhaps|possibl[ye]|whether|either|if|depends|yes or no|yes and no|or not|unless)\b"
)
_TURNED: Final = re.compile(
    r"\?|\b(?:wait|actually|second thought|kidding|jok\w+|iron\w+|correction|scratch that|take (?:that|it) back|hmm+|"
    r"nope|never ?mind|reject\w*|otherwise|opposite|reverse|what \w+(?: \w+)? would|in (?:a|some) sense|sort of|"
    r"kind of|partly|partially|technically|more or less|not (?:only|just|merely|entirely|exactly|completely|fully|"
    r"quite))\b"
)
"""Words that take back a yes or a no, or a part of it."""
_OFFER: Final = re.compile(
    r"(?<=[.!\n])\s*(?:would|do|can|could|should|shall|may|is there anything|what else|how can)\b[^.!?\n]*\?\s*$"
)
"""A question to the reader at the end of an answer."""
_YES_NO: Final = re.compile(
    r"(?P<word>yes|no)(?:(?=\s*$)|\s*[.,!;:()\n]+\s*| (?=(?:it|this|the|that|there|i|he|she|they|we|because|as)\b))"
)
_OTHER_YES_NO: Final = re.compile(r"\b(yes|no)\b(?=\s*(?:$|[.,!;:)\n]))")
_SAYING: Final = (
    r"(?:(?:so|well|i would say|i (?:think|believe)|probably|(?:most )?likely|definitely|certainly)[,:]? )+"
)
_GROUNDS: Final = re.compile(
    rf"^\W*$|^[\d.% ]+|{_ANY_FORGED}|{_ANY_BONA_FIDE}|{_FEATURE.pattern}|\b(?:sure|certain\w*|definitely|clearly|"
    rf"absolutely|"
    r"obviously|confiden\w+|probably|likely|at all|never|(?:it|this) (?:is|was|has|does|looks)|face (?:has been|"
    r"was)|think so|doubt\w*|natural\w*|yes|no|visib\w+|signs?|traces?|evidence|i can see)\b"
)
"""What may follow a yes or a no that answers this question, and not another one as in "Yes, I see the picture"."""
_PREDICATE_NOUN: Final = re.compile(
    rf"(?:{_SUBJECT} (?:is|was) (?:(?:just|only|simply|all|really|more|rather|mostly|mainly|indeed) )*"
    r"(?:an?|the|about|what|where|how|up to|down to)|an? \w+ of)\b[^.!;\n]*"
)
"""A sentence that says what the image shows or what matters. Unless it is a verdict, the yes or no before it may answer
another question, as in "Yes, this is a picture of a man" or "Yes, it is a question of lighting"."""
_COURTESY: Final = re.compile(
    r"(?:of course|sure\b|please|let (?:me|us)|happy to|what|how|i (?:can|could|will|would) (?:be|help|analy|assist|"
    r"describe|look|do|provide|examine|try|answer|gladly|take))"
)
_ENGLISH: Final = re.compile(
    r"\b(?:the|this|that|it|is|a|an|i|there|of|to|not|has|does|face|image|photo|picture|in|on|and|or|because|with|"
    r"my|no|by|"
    r"confidence|sure|definitely|clearly|fake|forged|real|genuine|deepfake|manipulated|bona|doubt|signs?|certain\w*)\b"
)


def is_undecided(text: str) -> bool:
    """Return whether a normalized text says that it cannot tell, or leaves the verdict open in its first sentence."""
    return _UNDECIDED.search(text) is not None or _HEDGED.search(re.split(r"[.!?\n]", text)[0]) is not None


def stated_label(text: str) -> Label | None:
    """Return the label that a normalized text states; None if another clause states the opposite or may affect it."""
    text = _OFFER.sub("", re.sub(r"\((?:confidence:? )?[\d.]+ ?%?(?: confidence)?\)", "", text)).strip()
    text = _OPENING.sub(r"\1", text)
    if "?" in text or is_undecided(text) or re.search(r"\b(?:anything|nothing|all|none) but\b", text):
        return None
    labels: set[Label] = set()
    has_reason = only_looks = False
    for sentence in re.split(r"[.!;\n]+", text):
        stated = False
        for clause in filter(None, (part.strip(" ,:()") for part in _CLAUSES.split(sentence))):
            if label := next((label for label, form in _FORMS if form.fullmatch(clause)), None):
                labels.add(label)
                stated, only_looks = True, only_looks or _ONLY_LOOKS.search(clause) is not None
            elif _BEARING.search(clause) or not _FEATURE.search(clause) or (stated and _CONTRAST.search(sentence)):
                return None
            else:
                has_reason = True
    # "It looks genuine. The seam at the chin gives it away." states no label.
    return labels.pop() if len(labels) == 1 and not (only_looks and has_reason) else None


def split_yes_no(text: str) -> tuple[str, str] | None:
    """Split a normalized text into the yes or no at its start and the rest.

    Returns:
        None if the text does not start with yes or no, takes it back, or may answer another question.
    """
    text = re.sub(rf"^{_SAYING}(?=(?:yes|no)[.!]*$)", "", _OFFER.sub("", text).strip())
    start = _YES_NO.match(text)
    if start is None:
        return None
    word, rest = start["word"], text[start.end() :]
    others = set(_OTHER_YES_NO.findall(rest)) - {word}
    foreign = len(rest.split()) > 1 and not _ENGLISH.search(rest)
    noun = _PREDICATE_NOUN.match(rest)
    if (
        others
        or foreign
        or (noun and not re.search(rf"{_ANY_FORGED}|{_ANY_BONA_FIDE}", noun[0]))
        or not _GROUNDS.search(rest)
        or _COURTESY.match(rest)
        or _TURNED.search(rest)
        or is_undecided(text)
    ):
        return None
    return word, rest


def contradicts(label: Label, text: str) -> bool:
    """Return whether anything in a normalized text may contradict a label."""
    against = {"forged": (_ANY_BONA_FIDE, _ANY_FORGED), "bona_fide": (_ANY_FORGED, _ANY_BONA_FIDE)}[label]
    for part in filter(None, _CUT.split(text)):
        conceded = _CONCEDED.match(part) and _ONLY_LOOKS.search(part)
        for words, needs_negation in zip(against, (False, True), strict=True):
            for word in re.finditer(words, part):
                negations = len(_NEGATION.findall(part[: word.start()])) + bool(_DENIED.match(part[word.end() :]))
                if negations > 1 or ((negations == 1) == needs_negation and not conceded):
                    return True
        natural = re.search(_ALL_NATURAL, part) if label == "forged" and not conceded else None
        if natural and not _NEGATION.search(part[: natural.end()]):
            return True
    return False
