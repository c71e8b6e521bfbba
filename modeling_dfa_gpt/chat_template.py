"""Choose the chat template to train with. It is saved with the model, which is used with the same template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dfa_instruct.vlm.messages import CHAT_TEMPLATE, dialogue, render
from dfa_instruct.vlm.parts import Family
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.preflight import check_template


def choose_template(processor: Any, family: Family, asked: str | None, ends: Sequence[str]) -> None:
    """Give a base's processor the first chat template that passes `check_template`.

    These are tried: the base's own, TRL's version of it for training, and the family's. Where the tokenizer starts
    texts with a BOS token that the template does not write, the template writes it.

    Args:
        processor: The base's processor.
        family: The base's family.
        asked: The recipe's `chat_template`, which is then the only one. None: the recipe has none.
        ends: The tokens with which the base ends an answer.

    Raises:
        RecipeError: No template passes. The message tells what is wrong with the first one.
    """
    errors = []
    templates = [CHAT_TEMPLATE] if asked else candidates(processor, family)
    for template in templates:
        processor.chat_template = template
        try:
            add_bos(processor)
            check_template(processor, ends)
            return
        except ValueError as error:
            errors.append(error)
    raise RecipeError(str(errors[0]) if errors else "the base has no chat template")


def candidates(processor: Any, family: Family) -> Iterator[str]:
    """Yield the chat templates that a base may be trained with."""
    from trl.chat_template_utils import get_training_chat_template

    own = processor.chat_template
    if own:
        yield own
        processor.chat_template = own
        try:
            for_training = get_training_chat_template(processor)
        except ValueError:  # TRL does not know the template
            for_training = None
        if for_training:
            yield for_training
    if family.training_template:
        yield family.training_template


def add_bos(processor: Any) -> None:
    """Let the chat template write the BOS token if the tokenizer starts texts with it, but the template does not."""
    tokenizer = processor.tokenizer
    starts_with_bos = tokenizer.bos_token and tokenizer("")["input_ids"] == [tokenizer.bos_token_id]
    if starts_with_bos and not render(processor, dialogue(["?"])).startswith(tokenizer.bos_token):
        processor.chat_template = "{{ bos_token }}" + processor.chat_template
