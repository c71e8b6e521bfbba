"""What a model of the benchmark is asked: a question about a picture, maybe after other turns; and what it answers."""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import PIL.Image
from lighteval.models.model_output import ModelResponse

from dfa_instruct.sources.pictures import BadPictureError, read_image, to_rgb

Picture = bytes | PIL.Image.Image
"""An image file, which is not decoded before a model looks at it, or an image."""
PLAIN_PNG: Final = re.compile(rb"\x89PNG.{20}\x08\x02", re.DOTALL)
"""How a PNG of 8 bits in RGB begins. What others are is read differently by different readers."""
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

    `turns` are question, answer, question … and end with what is asked now. An answer has at most `tokens`. `choices`
    are words of which is asked how likely the answer begins with each.
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

    `first` are the log probabilities of the choices as its first token, where they are known. `thought` is what stood
    before the answer. `finish_reason` is "length" where the model was cut, else "stop" or what a server calls it.
    `fingerprint` is what a server calls its own state.
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


@dataclass
class Response(ModelResponse):
    """lighteval's response, with what else is known of an answer."""

    thought: str = ""
    finish_reason: str = ""


def folded(word: str) -> str:
    """Return a word as it is compared with a token: without its case, unless it is a letter (a is an article)."""
    return word if len(word) == 1 else word.casefold()
