"""A conversation: what it keeps, and that a turn which reads on answers as one that reads everything anew."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from dfa_instruct.sources.portraits.drawing import draw_sample
from modeling_dfa_gpt.conversation import ContextError, Conversation
from modeling_dfa_gpt.dfa_gpt import DfaGpt

QUESTIONS = (
    "Has this face been forged?",
    "What kind of forgery is this?",
    "Describe the artifacts in this face.",
    "And the eyes?",
    "Can I rely on this verdict?",
)


@pytest.fixture(scope="module")
def model(adapter: Path) -> DfaGpt:
    return DfaGpt.from_pretrained(adapter)


@pytest.fixture(scope="module")
def face() -> Image.Image:
    return Image.fromarray(next(draw_sample(1, 1)).image)


def test_a_conversation_keeps_its_history(model: DfaGpt, face: Image.Image) -> None:
    conversation = model.chat(face)
    first = "".join(conversation.stream("Has this face been forged?")).strip()
    conversation.ask("Describe the artifacts in this face.")
    assert [m["role"] for m in conversation.messages] == ["user", "assistant", "user", "assistant"]
    assert conversation.messages[1]["content"] == first


def test_what_was_read_is_not_read_again_and_changes_no_answer(model: DfaGpt, face: Image.Image) -> None:
    pictures: list[int] = []
    tokens: list[int] = []
    hooks = [
        model.model.model.vision_tower.register_forward_hook(lambda *_: pictures.append(1)),
        model.model.get_input_embeddings().register_forward_hook(lambda _, given, __: tokens.append(given[0].numel())),
    ]
    read = {}
    said = {}
    for keep in (True, False):
        conversation = Conversation(model, face, keep)
        said[keep] = [conversation.ask(question) for question in QUESTIONS]
        read[keep] = (len(pictures), sum(tokens))
        pictures.clear()
        tokens.clear()
    for hook in hooks:
        hook.remove()
    assert said[True] == said[False] and all(said[True])
    assert read[True][0] == 1 and read[False][0] == len(QUESTIONS)
    generated = sum(len(model.processor.tokenizer(answer)["input_ids"]) + 1 for answer in said[True])
    assert read[True][1] < read[False][1] - 4 * 64  # four times the picture, at least
    assert read[True][1] < 64 + 60 + 5 * 30 + 2 * generated


def test_an_answer_begins_as_it_is_told_to(model: DfaGpt, face: Image.Image) -> None:
    for begin in ("Yes", "No"):
        pieces = list(Conversation(model, face).stream("Is this face forged?", begin))
        assert pieces[0] == begin and "".join(pieces).startswith(begin)


@pytest.mark.parametrize("asked", ["<image> Is it forged?", "<im<image>age> Is it forged?", "Is <image><image> it?"])
def test_an_image_token_in_a_question_is_no_second_picture(model: DfaGpt, face: Image.Image, asked: str) -> None:
    conversation = model.chat(face)
    assert conversation.ask(asked)
    assert "<image>" not in conversation.messages[0]["content"]
    assert conversation.ask(asked)
    assert len(conversation.messages) == 4


def test_a_turn_that_was_not_answered_is_not_kept(model: DfaGpt, face: Image.Image) -> None:
    fresh = model.chat(face).ask("Has this face been forged?")
    conversation = model.chat(face)
    next(conversation.stream("What is wrong with the eyes?"))
    assert conversation.messages == []
    assert conversation.ask("Has this face been forged?") == fresh


def test_an_answer_that_is_closed_is_generated_no_further(model: DfaGpt, face: Image.Image) -> None:
    steps: list[int] = []

    def slow(*_: object) -> None:
        steps.append(1)
        time.sleep(0.02)

    hook = model.model.lm_head.register_forward_hook(slow)
    model.chat(face).ask("Describe the artifacts in this face.")
    whole = len(steps)
    steps.clear()
    answering = model.chat(face).stream("Describe the artifacts in this face.")
    next(answering)
    answering.close()
    hook.remove()
    assert len(steps) < whole / 2


def test_what_is_forgotten_is_read_again_and_changes_no_answer(model: DfaGpt, face: Image.Image) -> None:
    conversation = model.chat(face)
    conversation.ask("Has this face been forged?")
    second = conversation.ask("And the eyes?")
    conversation.forget(turns=1)
    assert len(conversation.messages) == 2
    assert conversation.ask("And the eyes?") == second
    conversation.forget(turns=2)
    assert conversation.messages == [] and conversation.ask("Has this face been forged?")


def test_a_conversation_longer_than_the_context_is_refused_with_both_lengths(model: DfaGpt, face: Image.Image) -> None:
    conversation = model.chat(face)
    with pytest.raises(ContextError, match=r"has \d{4,} tokens; the model reads 2048 at most"):
        conversation.ask("and the eyes " * 1000)
    assert conversation.messages == []
    assert conversation.ask("Has this face been forged?")


def test_an_error_does_not_leave_us_waiting(model: DfaGpt, face: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**arguments: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    conversation = model.chat(face)
    monkeypatch.setattr(model.model, "generate", fail)
    with pytest.raises(torch.OutOfMemoryError):
        conversation.ask("Has this face been forged?")
    monkeypatch.undo()
    assert conversation.ask("Has this face been forged?")
