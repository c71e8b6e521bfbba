"""How DFA-Bench asks a model: lighteval's documents, again for one word where an answer is unread, conversations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc
from tqdm import tqdm

from dfa_instruct.construction.embedded_sample import sample_directory
from dfa_instruct.dataset import DIRECTORY_ENV
from dfa_instruct.vlm.answer_cache import AnswerCache
from dfa_instruct.vlm.chat import Answer, Chat, picture_of
from dfa_instruct.vlm.client import UnavailableError
from dfa_instruct.vlm.model import Model

WORD_TOKENS: Final = 16
"""Room for one word."""


@dataclass
class Response(ModelResponse):
    """lighteval's response, with what else is known of an answer."""

    thought: str = ""
    finish_reason: str = ""


def answers_path(data: Path | None) -> Path:
    """Return where answers about a dataset folder are kept: beside it, for the folder itself may be pushed."""
    folder = (data or Path(os.environ.get(DIRECTORY_ENV) or sample_directory())).absolute()
    return folder.with_name(f"{folder.name}.answers.sqlite")


def first_words(doc: Doc) -> tuple[str, ...]:
    """Return the words with which an answer may begin: the letters of the options, else the choices themselves."""
    return tuple("ABCDE"[: len(doc.choices)]) if "\nA. " in doc.query else tuple(doc.choices)


class BenchModel:
    """A model as DFA-Bench asks it. Kept answers are not asked for again.

    Args:
        model: what is asked.
        answers: where answers are kept; None: they are not kept.
    """

    def __init__(self, model: Model, answers: AnswerCache | None = None) -> None:
        self.model, self.answers = model, answers

    @cached_property
    def identity(self) -> str:
        """The name under which the model's answers are kept."""
        return self.model.identity(self.answers)

    def greedy_until(self, docs: list[Doc]) -> list[Response]:
        """Answer lighteval's documents, of one image each; the same question about the same image is asked once.

        The `logprobs` of a response say for each of its document's choices how likely the answer's first token is that
        word, or that option's letter. They are empty where a choice is more than a token, or the model gives none.
        """
        limit = self.model.room.limit
        chats = [
            Chat(picture_of(d.images[0]), (d.query,), limit or d.generation_size, first_words(d))  # type: ignore[index, arg-type]
            for d in docs
        ]
        return self._responses(docs, chats, "DFA-Bench")

    def ask_again(self, docs: Sequence[Doc], answers: Sequence[str], questions: Sequence[str]) -> list[Response]:
        """Ask for one word after answers that could not be read, in the same conversation.

        An empty answer is no turn: the question is then asked anew, together with the one for a word.
        """
        chats = [
            Chat(
                picture_of(doc.images[0]),  # type: ignore[index]
                (doc.query, answer, question) if answer else (f"{doc.query}\n{question}",),
                self.model.room.limit or WORD_TOKENS,
            )
            for doc, answer, question in zip(docs, answers, questions, strict=True)
        ]
        return self._responses(docs, chats, "Asked again for one word")

    def _responses(self, docs: Sequence[Doc], chats: Sequence[Chat], title: str) -> list[Response]:
        with tqdm(total=len(docs), desc=title, unit=" answers", disable=not self.model.shows) as progress:
            answers = self._ask(chats, progress)
        return [
            Response(
                input=doc.query,
                text=[answer.text],
                logprobs=list(answer.first),
                thought=answer.thought,
                finish_reason=answer.finish_reason,
            )
            for doc, answer in zip(docs, answers, strict=True)
        ]

    def converse(self, images: Sequence[Any], questions: Sequence[list[str]], max_new_tokens: int) -> list[list[str]]:
        """Hold a conversation about every image: ask its questions in turn, each after the answers to those before.

        Args:
            images: for each conversation a picture, or bytes that are not decoded yet (`{"bytes", "path"}`).
            questions: for each conversation its questions, equally many in all.
            max_new_tokens: the most tokens of an answer.

        Returns:
            For each conversation its answers.
        """
        answers: list[list[str]] = []
        total = sum(map(len, questions))
        with tqdm(total=total, desc="Conversations", unit=" answers", disable=not self.model.shows) as progress:
            for start in range(0, len(images), self.model.conversations):
                part = slice(start, start + self.model.conversations)
                pictures = [picture_of(image) for image in images[part]]
                turns: list[tuple[str, ...]] = [() for _ in pictures]
                for asked in zip(*questions[part], strict=True):
                    turns = [(*before, question) for before, question in zip(turns, asked, strict=True)]
                    tokens = self.model.room.limit or max_new_tokens
                    chats = [Chat(p, t, tokens) for p, t in zip(pictures, turns, strict=True)]
                    turns = [(*t, a.text) for t, a in zip(turns, self._ask(chats, progress), strict=True)]
                answers += [list(talk[1::2]) for talk in turns]
        return answers

    def _ask(self, chats: Sequence[Chat], progress: tqdm) -> list[Answer]:
        """Return the answers to chats: those that are kept, and those that are asked for now.

        Raises:
            UnavailableError: a server answers no more; what it has answered is kept.
        """
        of_key = {chat.key: chat for chat in chats}
        given: dict[str, Answer] = {}
        if self.answers is not None:
            known = ((key, self.answers.get(self.identity, chat)) for key, chat in of_key.items())
            given = self.model.agreed({key: answer for key, answer in known if answer is not None})
        missing = [chat for key, chat in of_key.items() if key not in given]
        progress.update(len(chats) - len(missing))

        def keep(number: int, answer: Answer) -> None:
            given[missing[number].key] = answer
            if self.answers is not None:
                self.answers.put(self.identity, missing[number], answer)
            progress.update()

        if missing:
            try:
                self.model.answer(missing, keep)
            except UnavailableError as error:
                if self.answers is None:
                    raise
                raise UnavailableError(
                    f"{error}; all answers that came are kept in {self.answers.path}, and the same command asks for "
                    "the others"
                ) from error
        return [given[chat.key] for chat in chats]
