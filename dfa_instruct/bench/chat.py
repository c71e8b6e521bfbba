"""What a model of the benchmark is asked: a question about a picture, maybe after other turns; and what it answers."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import PIL.Image

Picture = bytes | PIL.Image.Image
"""An image file, which is not decoded before a model looks at it, or an image."""
REFUSED: Final = "[refused by the server]"
"""Stands for an answer that a server's policy withholds; it is none, and counts as wrong."""


def picture_of(image: Any) -> Picture:
    """Take a dataset's image: `{"bytes", "path"}`, or Pillow's, of which a file that was not read yet stays so."""
    if isinstance(image, dict):
        return bytes(image["bytes"])
    file = getattr(image, "fp", None)
    return file.getvalue() if isinstance(file, io.BytesIO) else image


def decoded(picture: Picture) -> PIL.Image.Image:
    """Return a picture as an image in RGB."""
    return (PIL.Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture).convert("RGB")


def png(picture: Picture) -> bytes:
    """Return a picture as a PNG file."""
    if isinstance(picture, bytes) and picture.startswith(b"\x89PNG"):
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
    """What a model says; `first` are the log probabilities of the choices as its first token, where they are known."""

    text: str
    first: tuple[float, ...] = ()
