"""What all vision-language models have in common that are asked here, and opening one by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dfa_instruct.vlm.answer_cache import AnswerCache
from dfa_instruct.vlm.chat import Answer, Chat, Keep, Room
from dfa_instruct.vlm.endpoint import PREFIX, Endpoint
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel


class Model(Protocol):
    """A model that answers chats about pictures greedily, in this process or at a server.

    Attributes:
        room: how many tokens an answer may have.
        conversations: how many conversations it holds at a time.
        weights: how many weights it has; None: it does not tell.
        shows: whether this process shows and writes results. Of several processes that share the pictures, one does.
    """

    room: Room
    conversations: int
    weights: int | None
    shows: bool

    def identity(self, kept: AnswerCache | None) -> str:
        """Return a name for all that its answers depend on, but for what is asked.

        Args:
            kept: the answers that are kept.
        """
        ...

    def answer(self, chats: Sequence[Chat], keep: Keep) -> None:
        """Answer chats that all differ; each answer is given to `keep` as soon as it is there.

        An answer has the log probabilities of its chat's choices as the first token, where the model tells them.

        Raises:
            UnavailableError: a server answers no more.
        """
        ...

    def agreed(self, known: dict[str, Answer]) -> dict[str, Answer]:
        """Return the answers that are known already, by their chats' keys, the same in each of several processes."""
        ...


def open_model(
    name: str, base_url: str | None = None, concurrency: int = 16, answer_tokens: int | None = None
) -> Model:
    """Open a model.

    Args:
        name: a folder (an adapter's or a whole model's), a Hub id, or `openai:` and a model's name at a server.
        base_url: the server; see `Endpoint`.
        concurrency: how many questions a server is asked at a time.
        answer_tokens: the most tokens of an answer, see `Room`.

    Raises:
        FileNotFoundError: the model is not there.
        ValueError: a server is named without a model of it, or the other way round, or there is no key.
    """
    kind, _, model = name.partition(PREFIX)
    if kind and base_url is not None:
        raise ValueError(f"--base-url names a server: expected {PREFIX}NAME, a model of it, in place of {name}")
    if not kind and not model:
        raise ValueError(f"{name}: expected {PREFIX}NAME, a model by the name that its server knows")
    opened: Model = VisionLanguageModel(name) if kind else Endpoint(model, base_url, concurrency)
    opened.room.limit = answer_tokens
    return opened
