r"""What of a model's text is its answer: the marks of a final answer are found.

The marks are those that today's models write: <answer>, \boxed, JSON, "Final answer: …".
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

_TAGGED: Final = re.compile(
    r"<(answer|final|final_answer|verdict|conclusion|response)>(.*?)</\1>|<\|begin_of_box\|>()(.*?)<\|end_of_box\|>",
    re.IGNORECASE | re.DOTALL,
)
_UNCLOSED: Final = re.compile(
    r"<(?:answer|final|final_answer|verdict|conclusion|response)>|<\|begin_of_box\|>", re.IGNORECASE
)
_BOXED: Final = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_COMMAND: Final = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_LABELLED: Final = re.compile(
    r"(?:^|(?<=[.!\n]))[ \t*#>_-]*(?:(?:so|thus|therefore|hence|in conclusion),? )?(?:(?:my|the|our) )?"
    r"(?:(?:final|short|correct|one[- ]word)[* ]+)*(?:answer|verdict|conclusion|decision|result|label|prediction)"
    r"(?:[* ]*:[* ]*(?:is:? )?|[* ]+is[* ]*:?[* ]*)",
    re.IGNORECASE,
)
_ALONE: Final = re.compile(r"[\W_]*(yes|no)[\W_]*", re.IGNORECASE)

_OF_ANSWER: Final = frozenset(
    [
        "answer",
        "final_answer",
        "verdict",
        "label",
        "prediction",
        "result",
        "decision",
        "conclusion",
        "classification",
        "class",
        "category",
        "response",
        "option",
        "choice",
        "letter",
    ]
)
_OF_FORGERY: Final = frozenset(
    [
        "forged",
        "fake",
        "deepfake",
        "manipulated",
        "synthetic",
        "tampered",
        "forgery",
        "altered",
        "generated",
        "edited",
        "ai_generated",
    ]
)
_OF_ORIGIN: Final = frozenset(["real", "authentic", "genuine", "bona_fide", "original"])
"""Keys of JSON objects: of an answer in any words, of a yes that means forged, and of one that means bona fide."""


def marked_answers(text: str) -> list[str] | None:
    """Return what a text marks as its final answer, once for each mark, and None where nothing is marked.

    A mark whose content is missing, cut off or of another kind gives an empty text.
    """
    if tagged := _TAGGED.findall(text):
        return [said or boxed for _, said, _, boxed in tagged]
    if _UNCLOSED.search(text):
        return [""]
    if boxed := _BOXED.findall(text):
        return [_COMMAND.sub(r"\1", said) for said in boxed]
    if "\\boxed" in text or re.search(r"^\s*\{|\{\s*\"|```json", text):
        return _json_answers(text)
    if labels := [*_LABELLED.finditer(text)]:
        ends = [label.start() for label in labels[1:]] + [len(text)]
        return [text[label.end() : end] for label, end in zip(labels, ends, strict=True)]
    lines = [line for line in text.splitlines() if line.strip()]
    alone = [line for line in lines if _ALONE.fullmatch(line)]
    if len(lines) > 1 and alone == lines[-1:] and "?" not in text:
        # A yes or no at the beginning and another one at the end are two answers.
        return alone + [line for line in lines[:1] if re.match(r"\W*(?:yes|no)\b", line, re.IGNORECASE)]
    return None


def _json_answers(text: str) -> list[str]:
    """Return the answers in a text's only JSON object."""
    begin = text.find("{")
    try:
        found, end = json.JSONDecoder().raw_decode(text[begin:])
    except (ValueError, RecursionError):
        return [""]
    if not isinstance(found, dict) or "{" in text[begin + end :]:
        return [""]
    said = [
        _of_key(str(key).lower().strip().replace(" ", "_").removeprefix("is_"), value) for key, value in found.items()
    ]
    return [answer for answer in said if answer is not None] or [""]


def _of_key(key: str, value: Any) -> str | None:
    """Return what a JSON entry answers, as a text; None: its key is none of an answer."""
    words = {True: "yes", False: "no", "true": "yes", "false": "no"}
    value = value.strip().lower().rstrip(".") if isinstance(value, str) else value
    value = words.get(value, value) if isinstance(value, str | bool) else ""
    if key in _OF_ANSWER:
        return value
    if key in _OF_FORGERY | _OF_ORIGIN:
        means = {"yes": key in _OF_FORGERY, "no": key in _OF_ORIGIN}
        return ("forged" if means[value] else "bona fide") if value in means else ""
    return None
