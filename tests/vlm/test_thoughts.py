"""Splitting the thought off an answer."""

from __future__ import annotations

import pytest

from dfa_instruct.vlm.thoughts import split_thought


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("Yes", "", "Yes"),
        ("<think>a</think>b", "a", "b"),
        ("a\n</think>\n\nb", "a", "b"),
        ("<think>a", "a", ""),
        ("<thinking>a</thinking><answer>b</answer>", "a", "<answer>b</answer>"),
        ("<think>a</think><think>b</think>c", "a\nb", "c"),
    ],
)
def test_thoughts_are_split_off(text: str, thought: str, answer: str) -> None:
    assert split_thought(text) == (thought, answer)
