"""What a model is asked, a question about a picture, maybe after other turns, and what it answers."""

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
"""An image file, which is not decoded before a model looks at it, or an image."""
PLAIN_PNG: Final = re.compile(rb"\x89PNG.{20}\x08\x02", re.DOTALL)
"""How a PNG of 8 bits in RGB begins. What others are is read differently by different readers."""
THOUGHT_TOKENS: Final = 4096
"""Room for the thought of a model that thinks, beside the answer."""
CUT: Final = "length"
"""The finish reason of an answer that reached the most tokens that it might have."""
REFUSED: Final = "[refused by the server]"
"""Stands for an answer that a server's policy withholds; it is none, and counts as wrong."""


def picture_of(image: Any) -> Picture:
    """Take a dataset's image: `{"bytes", "path"}`, or Pillow's, of which a file that was not read yet stays so."""
    if isinstance(image, dict):
        return bytes(image["bytes"])
    file = getattr(image, "fp", None)
    return file.getvalue() if isinstance(file, io.BytesIO) else image


def decoded(picture: Picture) -> PIL.Image.Image:
    """Return a picture as an image in RGB.

    Raises:
        BadPictureError: it does not decode; the message names it by its SHA-256.
    """
    try:
        return PIL.Image.fromarray(read_image(picture, smallest=1) if isinstance(picture, bytes) else to_rgb(picture))
    except BadPictureError as error:
        raise BadPictureError(f"the picture of SHA-256 {digest(picture)}: {error}") from error


def png(picture: Picture) -> bytes:
    """Return a picture as a PNG file in RGB; one that is such a file stays as it is."""
    if isinstance(picture, bytes) and PLAIN_PNG.match(picture) and b"eXIf" not in picture:
        return picture
    file = io.BytesIO()
    decoded(picture).save(file, format="PNG")
    return file.getvalue()


def digest(picture: Picture) -> str:
    """Name a picture by its bytes."""
    pixels = picture if isinstance(picture, bytes) else picture.tobytes() + repr(picture.size).encode()
    return hashlib.sha256(pixels).hexdigest()


@dataclass(frozen=True)
class Chat:
    """One question about one picture.

    Attributes:
        picture: the picture.
        turns: question, answer, question, and so on; the last one is asked now.
        tokens: the most tokens of an answer, without a thought before it.
        choices: words of which is asked how likely the answer begins with each.
    """

    picture: Picture
    turns: tuple[str, ...]
    tokens: int
    choices: tuple[str, ...] = ()

    @cached_property
    def about(self) -> str:
        """The digest of the picture."""
        return digest(self.picture)

    @cached_property
    def key(self) -> str:
        """Name what is asked: equal for equal chats, in any process."""
        asked = json.dumps([self.about, self.turns, self.tokens, self.choices])
        return hashlib.sha256(asked.encode()).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What a model says.

    Attributes:
        text: the answer.
        first: the log probability of each choice as the answer's first token; empty where it is not known.
        thought: what the model said before the answer.
        finish_reason: "length" where the answer was cut, else "stop" or what a server calls it.
        fingerprint: what a server calls its own state.
    """

    text: str
    first: tuple[float, ...] = ()
    thought: str = ""
    finish_reason: str = ""
    fingerprint: str = ""

    @property
    def is_cut(self) -> bool:
        """Whether it ended at the most tokens that it might have."""
        return self.finish_reason == CUT

    @property
    def is_whole(self) -> bool:
        """Whether it is an answer that was neither cut nor empty."""
        return bool(self.text) and not self.is_cut


Keep = Callable[[int, Answer], None]
"""Takes the answer to the chat of this number, as soon as it is there."""


@dataclass
class Room:
    """How many tokens an answer may have: more, once the model is known to think before it answers.

    Attributes:
        limit: the most tokens of any answer, its thought included; whoever makes chats gives them as many. None: each
            chat has its own.
        thinks: the model thinks before it answers.
    """

    limit: int | None = None
    thinks: bool = False

    def tokens(self, chat: Chat) -> int:
        """Return how many tokens the answer to a chat may have."""
        return chat.tokens + (THOUGHT_TOKENS if self.thinks and self.limit is None else 0)

    def was_short(self, chat: Chat, answer: Answer, given: int) -> bool:
        """Tell whether an answer of `given` tokens was cut in its thought, and would now get more of them."""
        if not answer.is_cut or (answer.text and not answer.thought):
            return False
        self.thinks = True
        return self.tokens(chat) > given


def folded(word: str) -> str:
    """Return a word as it is compared with a token: without its case, unless it is a letter (a is an article)."""
    return word if len(word) == 1 else word.casefold()
