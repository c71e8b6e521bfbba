"""A conversation: its history, and that the key-value cache changes no answer."""

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
    first = "".join(conversation.stream(QUESTIONS[0])).strip()
    conversation.ask("Describe the artifacts in this face.")
    assert [m["role"] for m in conversation.messages] == ["user", "assistant", "user", "assistant"]
    assert conversation.messages[1]["content"] == first


def test_the_cache_saves_tokens_and_changes_no_answer(model: DfaGpt, face: Image.Image) -> None:
    images: list[int] = []
    tokens: list[int] = []
    hooks = [
        model.model.model.vision_tower.register_forward_hook(lambda *_: images.append(1)),
        model.model.get_input_embeddings().register_forward_hook(lambda _, given, __: tokens.append(given[0].numel())),
    ]
    read, answers = {}, {}
    for use_cache in (True, False):
        conversation = Conversation(model, face, use_cache)
        answers[use_cache] = [conversation.ask(question) for question in QUESTIONS]
        read[use_cache] = (len(images), sum(tokens))
        images.clear()
        tokens.clear()
    for hook in hooks:
        hook.remove()
    assert answers[True] == answers[False] and all(answers[True])
    assert read[True][0] == 1 and read[False][0] == len(QUESTIONS)
    generated = sum(len(model.processor.tokenizer(answer)["input_ids"]) + 1 for answer in answers[True])
    assert read[True][1] < read[False][1] - 4 * 64  # four copies of the image
    assert read[True][1] < 64 + 60 + 5 * 30 + 2 * generated


@pytest.mark.parametrize("begin", ["Yes", "No"])
def test_an_answer_begins_with_the_given_words(model: DfaGpt, face: Image.Image, begin: str) -> None:
    pieces = list(Conversation(model, face).stream("Is this face forged?", begin))
    assert pieces[0] == begin and "".join(pieces).startswith(begin)


@pytest.mark.parametrize("asked", ["<image> Is it forged?", "<im<image>age> Is it forged?", "Is <image><image> it?"])
def test_an_image_token_in_a_question_is_removed(model: DfaGpt, face: Image.Image, asked: str) -> None:
    conversation = model.chat(face)
    assert conversation.ask(asked) and conversation.ask(asked)
    assert "<image>" not in conversation.messages[0]["content"]
    assert len(conversation.messages) == 4


def test_an_unfinished_turn_is_discarded(model: DfaGpt, face: Image.Image) -> None:
    expected = model.chat(face).ask(QUESTIONS[0])
    conversation = model.chat(face)
    next(conversation.stream("What is wrong with the eyes?"))
    assert conversation.messages == []
    assert conversation.ask(QUESTIONS[0]) == expected


def test_closing_an_answer_stops_the_generation(model: DfaGpt, face: Image.Image) -> None:
    steps: list[int] = []

    def slow(*_: object) -> None:
        steps.append(1)
        time.sleep(0.02)

    hook = model.model.lm_head.register_forward_hook(slow)
    model.chat(face).ask("Describe the artifacts in this face.")
    complete = len(steps)
    steps.clear()
    answer = model.chat(face).stream("Describe the artifacts in this face.")
    next(answer)
    answer.close()
    hook.remove()
    assert len(steps) < complete / 2


def test_a_forgotten_turn_can_be_asked_again(model: DfaGpt, face: Image.Image) -> None:
    conversation = model.chat(face)
    conversation.ask(QUESTIONS[0])
    second = conversation.ask("And the eyes?")
    conversation.forget(turns=1)
    assert len(conversation.messages) == 2
    assert conversation.ask("And the eyes?") == second
    conversation.forget(turns=2)
    assert conversation.messages == [] and conversation.ask(QUESTIONS[0])


def test_a_conversation_longer_than_the_context_is_refused(model: DfaGpt, face: Image.Image) -> None:
    conversation = model.chat(face)
    with pytest.raises(ContextError, match=r"\d{4,} tokens.* 2048"):
        conversation.ask("and the eyes " * 1000)
    assert conversation.messages == []
    assert conversation.ask(QUESTIONS[0])


def test_an_error_in_the_model_is_raised(model: DfaGpt, face: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**arguments: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    conversation = model.chat(face)
    monkeypatch.setattr(model.model, "generate", fail)
    with pytest.raises(torch.OutOfMemoryError):
        conversation.ask(QUESTIONS[0])
    monkeypatch.undo()
    assert conversation.ask(QUESTIONS[0])
