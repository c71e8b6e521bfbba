"""The models that DFA-Bench asks: what a local one and an endpoint have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc
from tqdm import tqdm

from dfa_instruct.annotate.server import UnavailableError
from dfa_instruct.bench.answers import Answers
from dfa_instruct.bench.chat import Answer, Chat, picture_of

Keep = Callable[[int, Answer], None]
"""Takes the answer to the chat of this number."""


def begins(doc: Doc) -> tuple[str, ...]:
    """Return the words of which is asked how likely an answer begins with each: the letters of options, or a yes."""
    return tuple("ABCDE"[: len(doc.choices)]) if "\nA. " in doc.query else tuple(doc.choices)


class BenchModel(ABC):
    """A model that answers chats about pictures, and holds so many `conversations` at a time."""

    answers: Answers | None = None
    """Where its answers are kept; what stands there is not asked again. None: they are not kept."""
    weights: int | None = None
    """How many it has; None: it does not tell."""
    shows: bool = True
    """Whether this process shows and writes what comes of it: of several that share the pictures, one does."""

    def __init__(self, conversations: int) -> None:
        self.conversations = conversations

    @property
    @abstractmethod
    def identity(self) -> str:
        """All that its answers depend on, but for what is asked, in a word."""

    @abstractmethod
    def answer(self, chats: Sequence[Chat], keep: Keep) -> None:
        """Answer all of these chats, which are about different things, each given to `keep` as soon as it is there."""

    def agreed(self, known: dict[str, Answer]) -> dict[str, Answer]:
        """Return what is known already; of several processes each must return the same."""
        return known

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        """Answer lighteval's documents, of one image each; one question about one image is put once.

        A response's `logprobs` are, for each of its document's choices, how likely the answer's first token is that
        word, or that option's letter; there are none where a choice is more than a token, or the model does not tell.
        """
        chats = [
            Chat(picture_of(d.images[0]), (d.query,), d.generation_size, begins(d))  # type: ignore[index, arg-type]
            for d in docs
        ]
        with tqdm(total=len(docs), desc="DFA-Bench", unit=" answers", disable=not self.shows) as progress:
            said = self._put(chats, progress)
        return [
            ModelResponse(input=doc.query, text=[answer.text], logprobs=list(answer.first))
            for doc, answer in zip(docs, said, strict=True)
        ]

    def converse(self, images: Sequence[Any], questions: Sequence[list[str]], max_new_tokens: int) -> list[list[str]]:
        """Talk about every image: put its questions one after the other, each after the answers to those before.

        Args:
            images: a picture, or bytes that are not decoded yet (`{"bytes", "path"}`), for each conversation.
            questions: of each conversation, as many of one as of any other.
            max_new_tokens: of an answer.
        """
        said: list[list[str]] = []
        total = sum(map(len, questions))
        with tqdm(total=total, desc="Conversations", unit=" answers", disable=not self.shows) as progress:
            for start in range(0, len(images), self.conversations):
                part = slice(start, start + self.conversations)
                pictures = [picture_of(image) for image in images[part]]
                turns: list[tuple[str, ...]] = [() for _ in pictures]
                for asked in zip(*questions[part], strict=True):
                    turns = [(*before, question) for before, question in zip(turns, asked, strict=True)]
                    chats = [Chat(p, t, max_new_tokens) for p, t in zip(pictures, turns, strict=True)]
                    turns = [(*t, a.text) for t, a in zip(turns, self._put(chats, progress), strict=True)]
                said += [list(talk[1::2]) for talk in turns]
        return said

    def _put(self, chats: Sequence[Chat], progress: tqdm) -> list[Answer]:
        """Return the answers to chats: those that are kept, and those that are asked now.

        Raises:
            UnavailableError: an endpoint answers no more; what it has answered is kept.
        """
        of_key = {chat.key: chat for chat in chats}
        given: dict[str, Answer] = {}
        if self.answers is not None:
            known = ((key, self.answers.get(self.identity, chat)) for key, chat in of_key.items())
            given = self.agreed({key: answer for key, answer in known if answer is not None})
        missing = [chat for key, chat in of_key.items() if key not in given]
        progress.update(len(chats) - len(missing))

        def keep(number: int, answer: Answer) -> None:
            given[missing[number].key] = answer
            if self.answers is not None:
                self.answers.put(self.identity, missing[number], answer)
            progress.update()

        if missing:
            try:
                self.answer(missing, keep)
            except UnavailableError as error:
                if self.answers is None:
                    raise
                raise UnavailableError(
                    f"{error}; all answers that came are kept in {self.answers.path}, and the same command asks for "
                    "the others"
                ) from error
        return [given[chat.key] for chat in chats]
