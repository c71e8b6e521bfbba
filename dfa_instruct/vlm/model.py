"""The interface of a vision-language model that answers questions, and opening one by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dfa_instruct.vlm.answer_cache import AnswerCache
from dfa_instruct.vlm.chat import Answer, Chat, Keep, TokenBudget
from dfa_instruct.vlm.endpoint import Endpoint
from dfa_instruct.vlm.load import SERVER_PREFIX
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel


class Model(Protocol):
    """A model that answers chats about pictures greedily, in this process or at a server.

    Attributes:
        budget: The maximum numbers of tokens of answers.
        conversation_batch: The number of conversations that are held at the same time.
        weights: The number of weights; None if it is unknown.
        is_main_process: Whether this process prints and writes results; true for one of several processes.
    """

    budget: TokenBudget
    conversation_batch: int
    weights: int | None
    is_main_process: bool

    def identity(self, kept: AnswerCache | None) -> str:
        """Return a name that changes with everything that answers depend on, except for the chat."""
        ...

    def answer(self, chats: Sequence[Chat], keep: Keep) -> None:
        """Answer different chats, and pass each answer to `keep` as soon as there is one.

        Raises:
            UnavailableError: The server stopped answering.
        """
        ...

    def synchronize(self, known: dict[str, Answer]) -> dict[str, Answer]:
        """Return the known answers (chat key → answer) of the main process in every process."""
        ...


def open_model(
    name: str, base_url: str | None = None, concurrency: int = 16, answer_tokens: int | None = None
) -> Model:
    """Open a model.

    Args:
        name: A folder (of a model or of an adapter), a Hub id, or `openai:NAME` for a server's model.
        base_url: The server's address, see `Endpoint`.
        concurrency: The number of questions that a server is asked at the same time.
        answer_tokens: The maximum number of tokens of an answer, see `TokenBudget`.

    Raises:
        FileNotFoundError: The model does not exist.
        ValueError: The server's address or the name of its model is missing, or there is no key.
    """
    kind, _, model = name.partition(SERVER_PREFIX)
    if kind and base_url is not None:
        raise ValueError(
            f"{name}: --base-url gives a server, so {SERVER_PREFIX}NAME is expected, with the name of its model"
        )
    if not kind and not model:
        raise ValueError(f"{name}: expected {SERVER_PREFIX}NAME, with the name of the server's model")
    opened: Model = VisionLanguageModel(name) if kind else Endpoint(model, base_url, concurrency)
    opened.budget.limit = answer_tokens
    return opened
