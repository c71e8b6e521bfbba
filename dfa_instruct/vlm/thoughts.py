"""Splitting off the thought that some models write before their answer, marked by <think> or similar."""

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
    """Split a text into the thought before the answer and the answer, which is empty if the thought was cut."""
    if closed := [*_CLOSED.finditer(text)]:
        thought = _CLOSED.sub("\n", _OPENED.sub("", text[: closed[-1].start()]))
        return thought.strip(), text[closed[-1].end() :].strip()
    if opened := _OPENED.search(text):
        return text[opened.end() :].strip(), ""
    return "", text.strip()


def has_thought_mark(text: str) -> bool:
    """Return whether a text or a chat template contains the mark of a thought."""
    return _OPENED.search(text) is not None or _CLOSED.search(text) is not None


def opening_mark(prompt: str) -> str:
    """Return the mark at the end of a prompt that opens the answer's thought; empty if there is none."""
    mark = re.search(rf"(?:{_OPENED.pattern})\s*$", prompt, re.IGNORECASE)
    return mark[0] if mark else ""
