r"""Finding the final answer that a model marks in its text: <answer>, \boxed, JSON, "Final answer: …"."""

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

_ANSWER_KEY: Final = re.compile(
    r"(?:final_)?answer|verdict|label|prediction|result|decision|conclusion|classification|class|category|response|"
    r"option|choice|letter"
)
"""A key of a JSON object whose value is an answer in any words."""
_FORGED_KEY: Final = re.compile(
    r"forged|fake|deepfake|manipulated|synthetic|tampered|forgery|altered|(?:ai_)?generated|edited"
)
"""A key whose value true means forged."""
_BONA_FIDE_KEY: Final = re.compile(r"real|authentic|genuine|bona_fide|original")
"""A key whose value true means bona fide."""


def marked_answers(text: str) -> list[str] | None:
    """Return the final answers that a text marks by a tag, a box or JSON; None if it marks none.

    If the content is missing, cut off or of another kind, the string is empty.
    """
    if tagged := _TAGGED.findall(text):
        return [content or boxed for _, content, _, boxed in tagged]
    if _UNCLOSED.search(text):
        return [""]
    if boxed := _BOXED.findall(text):
        return [_COMMAND.sub(r"\1", content) for content in boxed]
    if "\\boxed" in text or re.search(r"^\s*\{|\{\s*\"|```json", text):
        return _json_answers(text)
    if labels := [*_LABELLED.finditer(text)]:
        ends = [label.start() for label in labels[1:]] + [len(text)]
        return [text[label.end() : end] for label, end in zip(labels, ends, strict=True)]
    lines = [line for line in text.splitlines() if line.strip()]
    alone = [line for line in lines if _ALONE.fullmatch(line)]
    if len(lines) > 1 and alone == lines[-1:] and "?" not in text:
        # A yes or no at the start and another one at the end are two answers.
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
    answers = [
        _json_answer(str(key).lower().strip().replace(" ", "_").removeprefix("is_"), value)
        for key, value in found.items()
    ]
    return [answer for answer in answers if answer is not None] or [""]


def _json_answer(key: str, value: Any) -> str | None:
    """Return the answer that a JSON entry gives; None if its key is not one of an answer."""
    words = {True: "yes", False: "no", "true": "yes", "false": "no"}
    value = value.strip().lower().rstrip(".") if isinstance(value, str) else value
    value = words.get(value, value) if isinstance(value, str | bool) else ""
    if _ANSWER_KEY.fullmatch(key):
        return value
    means_forged = _FORGED_KEY.fullmatch(key) is not None
    if not means_forged and not _BONA_FIDE_KEY.fullmatch(key):
        return None
    is_forged = {"yes": means_forged, "no": not means_forged}
    return ("forged" if is_forged[value] else "bona fide") if value in is_forged else ""
