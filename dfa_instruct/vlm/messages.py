"""The layout of a conversation about an image: for chat templates, for servers, and as text.

Everywhere else, a conversation is a list of text messages, `{"role": "user" or "assistant", "content": text}`. Only
this module knows where the image is placed.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

Message = dict[str, Any]

SYSTEM_PROMPT: Final = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
IMAGE_TOKEN: Final = "<image>"
CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{{ '" + SYSTEM_PROMPT.replace("'", "\\'") + "' }}"
    "{% for message in messages %}"
    "{% if message['content'] is string %}{% set text = message['content'] %}{% set images = 0 %}"
    "{% else %}"
    "{% set text = message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join %}"
    "{% set images = message['content'] | selectattr('type', 'equalto', 'image') | list | length %}"
    "{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{{ (' ' if loop.first else '') + 'USER: ' + '" + IMAGE_TOKEN + "\\n' * images + text }}"
    "{% else %}"
    "{{ ' ASSISTANT:' }}{% generation %}{{ ' ' + text + eos_token }}{% endgeneration %}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
"""LLaVA-1.5's `vicuna_v1` conversation, with BOS, the system prompt, and an end-of-sequence token after every answer.

The template published with the converted checkpoints lacks all three. `{% generation %}` marks the tokens that the loss
includes: the answer with its leading space, and `</s>`.
"""


def chatml_template(image_token: str) -> str:
    """Return a ChatML template with `{% generation %}` around each answer and its end token, as in `CHAT_TEMPLATE`.

    The loss includes only these tokens. The images of a message come before its text, each on a line of its own.
    """
    return (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
        "{% if message['content'] is string %}{% set text = message['content'] %}{% set images = 0 %}"
        "{% else %}"
        "{% set text = message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join %}"
        "{% set images = message['content'] | selectattr('type', 'equalto', 'image') | list | length %}"
        "{% endif %}"
        "{% if message['role'] == 'assistant' %}{% generation %}{{ text + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ '" + image_token + "\\n' * images + text + '<|im_end|>' }}{% endif %}"
        "{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


def dialogue(texts: Sequence[str]) -> list[Message]:
    """Return the messages of a conversation: question, answer, question, and so on."""
    return [{"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(texts)]


def with_image(messages: Sequence[Message], image: Any = None) -> list[Message]:
    """Return messages in the form for chat templates, with the image before the text of the first one.

    Args:
        messages: Text messages.
        image: The image, for a processor that prepares it. None: only its place is marked.
    """
    converted = [
        {"role": message["role"], "content": [{"type": "text", "text": message["content"]}]} for message in messages
    ]
    converted[0]["content"].insert(0, {"type": "image"} if image is None else {"type": "image", "image": image})
    return converted


def image_url(png: bytes) -> dict[str, Any]:
    """Return a PNG file as a part of a message for OpenAI-compatible servers."""
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png).decode()}"}}


def render(processor: Any, messages: Sequence[Message], *, whole: bool = False) -> str:
    """Render a conversation about an image with the model's chat template.

    Args:
        processor: The model's processor. Its chat template is a program that may come from a stranger.
        messages: Text messages. If the last one is an answer, the text ends with it, so that the model continues it.
        whole: Render the conversation as in training, with the end token of its last answer.

    Returns:
        The text, in which one image token represents the image.

    Raises:
        ValueError: The template fails, or does not contain the image exactly once.
    """
    continued = not whole and messages[-1]["role"] == "assistant"
    try:
        text = processor.apply_chat_template(
            with_image(messages),
            tokenize=False,
            add_generation_prompt=not whole and not continued,
            continue_final_message=continued,
        )
    except Exception as error:
        raise ValueError(f"the model's chat template cannot be used: {error}") from error
    if text.count(processor.image_token) != 1:
        raise ValueError("the model's chat template cannot be used: it does not show the picture once")
    return str(text)
