"""A question about a picture, possibly after other turns, and a model's answer to it."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import PIL.Image

from dfa_instruct.sources.pictures import BadPictureError, read_image, to_rgb

Picture = bytes | PIL.Image.Image
"""An encoded image, which is not decoded before a model uses it, or an image."""
PLAIN_PNG: Final = re.compile(rb"\x89PNG.{20}\x08\x02", re.DOTALL)
"""The start of an 8-bit RGB PNG. Different readers decode other PNG files differently."""
THOUGHT_TOKENS: Final = 4096
"""The additional tokens for the thought of a model that thinks before it answers."""
CUT: Final = "length"
"""The finish reason of an answer that reached its maximum number of tokens."""
REFUSED: Final = "[refused by the server]"
"""Replaces an answer that a server's policy withholds. It counts as wrong."""


def picture_of(image: Any) -> Picture:
    """Return a dataset's image (`{"bytes", "path"}` or Pillow's) without decoding it."""
    if isinstance(image, dict):
        return bytes(image["bytes"])
    file = getattr(image, "fp", None)
    return file.getvalue() if isinstance(file, io.BytesIO) else image


def decoded(picture: Picture) -> PIL.Image.Image:
    """Return a picture as an RGB image.

    Raises:
        BadPictureError: The picture cannot be decoded. The message contains its SHA-256 digest.
    """
    try:
        return PIL.Image.fromarray(read_image(picture, smallest=1) if isinstance(picture, bytes) else to_rgb(picture))
    except BadPictureError as error:
        raise BadPictureError(f"the picture with SHA-256 {digest(picture)}: {error}") from error


def png(picture: Picture) -> bytes:
    """Return a picture as an RGB PNG file; such a file is returned unchanged."""
    if isinstance(picture, bytes) and PLAIN_PNG.match(picture) and b"eXIf" not in picture:
        return picture
    file = io.BytesIO()
    decoded(picture).save(file, format="PNG")
    return file.getvalue()


def digest(picture: Picture) -> str:
    """Return the SHA-256 digest of a picture's bytes."""
    pixels = picture if isinstance(picture, bytes) else picture.tobytes() + repr(picture.size).encode()
    return hashlib.sha256(pixels).hexdigest()


@dataclass(frozen=True)
class Chat:
    """A question about a picture.

    Attributes:
        picture: The picture.
        turns: Question, answer, question, and so on. The last one is asked now.
        tokens: The maximum number of tokens of an answer, without a thought before it.
        choices: Words for which the log probability is wanted that the answer starts with them.
    """

    picture: Picture
    turns: tuple[str, ...]
    tokens: int
    choices: tuple[str, ...] = ()

    @cached_property
    def picture_digest(self) -> str:
        """The digest of the picture."""
        return digest(self.picture)

    @cached_property
    def key(self) -> str:
        """A digest that is equal for equal chats."""
        asked = json.dumps([self.picture_digest, self.turns, self.tokens, self.choices])
        return hashlib.sha256(asked.encode()).hexdigest()


@dataclass(frozen=True)
class Answer:
    """A model's answer.

    Attributes:
        text: The answer.
        first: The log probability of each choice as the answer's first token; empty if it is unknown.
        thought: The text before the answer.
        finish_reason: "length" if the answer was cut, else "stop" or another reason that a server gives.
        fingerprint: The fingerprint that a server reports of its own state.
    """

    text: str
    first: tuple[float, ...] = ()
    thought: str = ""
    finish_reason: str = ""
    fingerprint: str = ""

    @property
    def is_cut(self) -> bool:
        """Whether the answer reached its maximum number of tokens."""
        return self.finish_reason == CUT

    @property
    def is_complete(self) -> bool:
        """Whether the answer is neither cut nor empty."""
        return bool(self.text) and not self.is_cut


Keep = Callable[[int, Answer], None]
"""A function that receives the index of a chat and its answer, as soon as there is one."""


@dataclass
class TokenBudget:
    """The maximum numbers of tokens of answers. They rise once the model is known to think before it answers.

    Attributes:
        limit: The maximum number of tokens of any answer, including a thought; chats are made with this number. None:
            each chat has its own maximum.
        thinks: Whether the model thinks before it answers.
    """

    limit: int | None = None
    thinks: bool = False

    def tokens(self, chat: Chat) -> int:
        """Return the maximum number of tokens of the answer to a chat."""
        return chat.tokens + (THOUGHT_TOKENS if self.thinks and self.limit is None else 0)

    def needs_more(self, chat: Chat, answer: Answer, given: int) -> bool:
        """Return whether an answer was cut within its thought at `given` tokens, and would get more of them now."""
        if not answer.is_cut or (answer.text and not answer.thought):
            return False
        self.thinks = True
        return self.tokens(chat) > given


def fold_case(word: str) -> str:
    """Return a word without case for comparison with a token; a single letter keeps its case ("a" is an article)."""
    return word if len(word) == 1 else word.casefold()
