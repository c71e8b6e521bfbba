"""The thought that some models write before their answer: splitting it off.

The marks are those that today's models write: <think> and its like.
"""

from __future__ import annotations

import re
from typing import Final

_NAMES: Final = r"(?:think|thinking|thought|reasoning|analysis|reflection)"
_OPENED: Final = re.compile(
    rf"<{_NAMES}>|◁think▷|\[think\]|<\|begin_of_thought\|>|<\|channel\|>analysis<\|message\|>", re.IGNORECASE
)
_CLOSED: Final = re.compile(
    rf"</{_NAMES}>|◁/think▷|\[/think\]|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>", re.IGNORECASE
)


def split_thought(text: str) -> tuple[str, str]:
    """Split a text into the thought that stands before the answer, and the answer; a thought that is cut has none."""
    if closed := [*_CLOSED.finditer(text)]:
        thought = _CLOSED.sub("\n", _OPENED.sub("", text[: closed[-1].start()]))
        return thought.strip(), text[closed[-1].end() :].strip()
    if opened := _OPENED.search(text):
        return text[opened.end() :].strip(), ""
    return "", text.strip()


def opens_thought(text: str) -> bool:
    """Tell whether a text, or a chat template, has the marks of a thought."""
    return _OPENED.search(text) is not None or _CLOSED.search(text) is not None


def thought_begun(prompt: str) -> str:
    """Return the mark with which a prompt ends, where it opens the thought of the answer to come; else nothing."""
    begun = re.search(rf"(?:{_OPENED.pattern})\s*$", prompt, re.IGNORECASE)
    return begun[0] if begun else ""
