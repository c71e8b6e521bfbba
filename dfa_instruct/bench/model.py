"""The models that DFA-Bench asks: what a local one and an endpoint have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final

from lighteval.tasks.requests import Doc
from tqdm import tqdm

from dfa_instruct.annotate.client import UnavailableError
from dfa_instruct.bench.answers import Answers
from dfa_instruct.bench.chat import Answer, Chat, Response, picture_of

Keep = Callable[[int, Answer], None]
"""Takes the answer to the chat of this number."""
THOUGHT_TOKENS: Final = 4096
"""Room for the thought of a model that thinks, beside the answer."""
WORD_TOKENS: Final = 16
"""Room for one word."""


def begins(doc: Doc) -> tuple[str, ...]:
    """Return the words of which is asked how likely an answer begins with each: the letters of options, or a yes."""
    return tuple("ABCDE"[: len(doc.choices)]) if "\nA. " in doc.query else tuple(doc.choices)


class BenchModel(ABC):
    """A model that answers chats about pictures, and holds so many `conversations` at a time."""

    answers: Answers | None = None
    """Where its answers are kept; what stands there is not asked again. None: they are not kept."""
    answer_tokens: int | None = None
    """An answer, with its thought, has at most so many; None: as many as a task gives, and more for a thought."""
    thinks: bool = False
    """Whether it thinks before it answers, as far as is known by now."""
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

    def room(self, chat: Chat) -> int:
        """Return how many tokens the answer to a chat may have."""
        return chat.tokens + (THOUGHT_TOKENS if self.thinks and self.answer_tokens is None else 0)

    def needs_room(self, chat: Chat, answer: Answer, given: int) -> bool:
        """Tell whether an answer of `given` tokens was cut in a thought, so that another one gets more room."""
        if not answer.is_cut or (answer.text and not answer.thought):
            return False
        self.thinks = True
        return self.room(chat) > given

    def greedy_until(self, docs: list[Doc]) -> list[Response]:
        """Answer lighteval's documents, of one image each; one question about one image is put once.

        A response's `logprobs` are, for each of its document's choices, how likely the answer's first token is that
        word, or that option's letter; there are none where a choice is more than a token, or the model does not tell.
        """
        chats = [
            Chat(picture_of(d.images[0]), (d.query,), self.answer_tokens or d.generation_size, begins(d))  # type: ignore[index, arg-type]
            for d in docs
        ]
        return self._responses(docs, chats, "DFA-Bench")

    def ask_again(self, docs: Sequence[Doc], answers: Sequence[str], questions: Sequence[str]) -> list[Response]:
        """Ask for one word after answers that could not be read, in the same conversation.

        An empty answer is no turn: the question is then put anew, together with the one for a word.
        """
        chats = [
            Chat(
                picture_of(doc.images[0]),  # type: ignore[index]
                (doc.query, answer, question) if answer else (f"{doc.query}\n{question}",),
                self.answer_tokens or WORD_TOKENS,
            )
            for doc, answer, question in zip(docs, answers, questions, strict=True)
        ]
        return self._responses(docs, chats, "Asked again for one word")

    def _responses(self, docs: Sequence[Doc], chats: Sequence[Chat], title: str) -> list[Response]:
        with tqdm(total=len(docs), desc=title, unit=" answers", disable=not self.shows) as progress:
            said = self._put(chats, progress)
        return [
            Response(
                input=doc.query,
                text=[answer.text],
                logprobs=list(answer.first),
                thought=answer.thought,
                finish_reason=answer.finish_reason,
            )
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
                    tokens = self.answer_tokens or max_new_tokens
                    chats = [Chat(p, t, tokens) for p, t in zip(pictures, turns, strict=True)]
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
