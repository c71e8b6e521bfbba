"""How DFA-Bench asks a model: lighteval's documents, follow-up questions for one word, and conversations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc
from tqdm import tqdm

from dfa_instruct.construction.embedded_sample import default_directory
from dfa_instruct.instruct.options import LETTERS, lettered
from dfa_instruct.vlm.answer_cache import AnswerCache
from dfa_instruct.vlm.chat import Answer, Chat, picture_of
from dfa_instruct.vlm.client import UnavailableError
from dfa_instruct.vlm.model import Model

WORD_TOKENS: Final = 16
"""The maximum number of tokens of an answer of one word."""


@dataclass
class Response(ModelResponse):
    """lighteval's response, with the thought before the answer and the reason why the answer ended."""

    thought: str = ""
    finish_reason: str = ""


def answers_path(data: Path | None) -> Path:
    """Return the file that keeps answers about a dataset folder: beside the folder, because that may be pushed."""
    folder = (data or default_directory()).absolute()
    return folder.with_name(f"{folder.name}.answers.sqlite")


def first_words(doc: Doc) -> tuple[str, ...]:
    """Return the words that an answer may start with: the letters of lettered options, else the choices."""
    return tuple(LETTERS[: len(doc.choices)]) if lettered(doc.choices) in doc.query else tuple(doc.choices)


class BenchModel:
    """Asks a model the questions of DFA-Bench, except for those whose answers are kept.

    Args:
        model: The model.
        answers: The kept answers. None: answers are not kept.
    """

    def __init__(self, model: Model, answers: AnswerCache | None = None) -> None:
        self.model, self.answers = model, answers

    @cached_property
    def identity(self) -> str:
        """The name under which the model's answers are kept."""
        return self.model.identity(self.answers)

    def greedy_until(self, docs: list[Doc]) -> list[Response]:
        """Answer lighteval's documents, each with one image. A question that occurs twice about an image is asked once.

        The `logprobs` of a response are the log probabilities that the answer starts with each choice of its document,
        or with the letter of each option. They are empty if a choice is longer than a token or the model does not
        provide them.
        """
        chats = [
            Chat(picture_of(doc.images[0]), (doc.query,), self._tokens(doc.generation_size), first_words(doc))  # type: ignore[index, arg-type]
            for doc in docs
        ]
        return self._responses(docs, chats, "DFA-Bench")

    def ask_again(self, docs: Sequence[Doc], answers: Sequence[str], questions: Sequence[str]) -> list[Response]:
        """Ask for one word, in the same conversation, after answers that could not be read.

        After an empty answer, both questions are asked as one, because an empty turn is not allowed.
        """
        chats = [
            Chat(
                picture_of(doc.images[0]),  # type: ignore[index]
                (doc.query, answer, question) if answer else (f"{doc.query}\n{question}",),
                self._tokens(WORD_TOKENS),
            )
            for doc, answer, question in zip(docs, answers, questions, strict=True)
        ]
        return self._responses(docs, chats, "Asked again for one word")

    def converse(self, images: Sequence[Any], questions: Sequence[list[str]], max_new_tokens: int) -> list[list[str]]:
        """Hold a conversation about every image.

        Args:
            images: The image of each conversation: a picture, or an encoded one (`{"bytes", "path"}`).
            questions: The questions of each conversation, the same number for all of them. Each is asked after the
                answers to the previous ones.
            max_new_tokens: The maximum number of tokens of an answer.

        Returns:
            The answers of each conversation.
        """
        answers: list[list[str]] = []
        total = sum(map(len, questions))
        with self._progress(total, "Conversations") as progress:
            for start in range(0, len(images), self.model.conversation_batch):
                part = slice(start, start + self.model.conversation_batch)
                pictures = [picture_of(image) for image in images[part]]
                turns: list[tuple[str, ...]] = [() for _ in pictures]
                for next_questions in zip(*questions[part], strict=True):
                    turns = [(*before, question) for before, question in zip(turns, next_questions, strict=True)]
                    tokens = self._tokens(max_new_tokens)
                    chats = [Chat(p, t, tokens) for p, t in zip(pictures, turns, strict=True)]
                    turns = [(*t, a.text) for t, a in zip(turns, self._ask(chats, progress), strict=True)]
                answers += [list(talk[1::2]) for talk in turns]
        return answers

    def _tokens(self, default: int) -> int:
        return self.model.budget.limit or default

    def _progress(self, total: int, title: str) -> tqdm:
        return tqdm(total=total, desc=title, unit=" answers", disable=not self.model.is_main_process)

    def _responses(self, docs: Sequence[Doc], chats: Sequence[Chat], title: str) -> list[Response]:
        with self._progress(len(docs), title) as progress:
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

    def _ask(self, chats: Sequence[Chat], progress: tqdm) -> list[Answer]:
        """Return the answers to chats, asking only for those that are not kept.

        Raises:
            UnavailableError: The server stopped answering. The answers that it gave are kept.
        """
        by_key = {chat.key: chat for chat in chats}
        answers: dict[str, Answer] = {}
        if self.answers is not None:
            kept = ((key, self.answers.get(self.identity, chat)) for key, chat in by_key.items())
            answers = self.model.synchronize({key: answer for key, answer in kept if answer is not None})
        missing = [chat for key, chat in by_key.items() if key not in answers]
        progress.update(len(chats) - len(missing))

        def keep(number: int, answer: Answer) -> None:
            answers[missing[number].key] = answer
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
                    f"{error}; all answers so far are kept in {self.answers.path}, and the same command asks for the "
                    "others"
                ) from error
        return [answers[chat.key] for chat in chats]
