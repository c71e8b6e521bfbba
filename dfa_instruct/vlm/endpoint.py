"""A model of an OpenAI-compatible server: `openai:gpt-4o`, or one of a local server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from dfa_instruct.vlm.answer_cache import AnswerCache
from dfa_instruct.vlm.chat import REFUSED, Answer, Chat, Keep, TokenBudget, fold_case, png
from dfa_instruct.vlm.client import (
    UNANSWERED_IN_A_ROW,
    RejectedError,
    Reply,
    Server,
    UnansweredError,
    UnavailableError,
)
from dfa_instruct.vlm.load import SERVER_PREFIX
from dfa_instruct.vlm.messages import dialogue, image_url
from dfa_instruct.vlm.thoughts import split_thought

TIMEOUT: Final = 120.0
"""The time limit of a request in seconds."""
TOP_TOKENS: Final = 20
"""The number of likeliest first tokens to ask for; no server returns more."""


class Endpoint:
    """Greedy answers of a server's model, see `Model`.

    Args:
        model: The model's name at the server.
        base_url: The server's address, see `Server`.
        concurrency: The number of questions that are asked at the same time.

    Raises:
        ValueError: See `Server`.
    """

    weights: int | None = None
    is_main_process = True

    def __init__(self, model: str, base_url: str | None = None, concurrency: int = 16) -> None:
        self.budget, self.conversation_batch = TokenBudget(), 4 * concurrency
        self.model, self.base_url, self.concurrency = model, base_url, concurrency
        self.left_out = Server(model, base_url, TIMEOUT).left_out
        self.unanswered_in_a_row = 0
        self.name = SERVER_PREFIX + model
        self.has_warned = False

    def identity(self, kept: AnswerCache | None) -> str:
        """Return the model's name, with a digest of the server's address and of the server's entry for the model.

        A server may also report a fingerprint of its own state. If no kept answer has the current fingerprint, it is
        added to the name, because the model may have changed. Some servers alternate between several fingerprints.
        """
        return asyncio.run(self._identity(kept))

    def synchronize(self, known: dict[str, Answer]) -> dict[str, Answer]:
        """Return the answers unchanged, because there is only one process."""
        return known

    async def _identity(self, kept: AnswerCache | None) -> str:
        server = Server(self.model, self.base_url, TIMEOUT)
        server.left_out = self.left_out
        try:
            description = json.dumps([str(server.client.base_url), await server.describe()], sort_keys=True)
            name = f"{self.name} {hashlib.sha256(description.encode()).hexdigest()[:16]}"
            known = kept.fingerprints(name) if kept is not None else {}
            if not set().union(*known.values()) - {""}:
                return name
            current = (await server.reply(dialogue(["Say yes."]), {"max_tokens": 1, "temperature": 0})).fingerprint
        except UnansweredError:
            return name  # the next request reports the error
        finally:
            await server.client.close()
        return next((of for of, states in known.items() if current in states), f"{name} {current}")

    def answer(self, chats: Sequence[Chat], keep: Keep) -> None:
        """Ask the server.

        Raises:
            UnavailableError: The server left questions without an answer.
        """
        asyncio.run(self._ask(chats, keep))

    async def _ask(self, chats: Sequence[Chat], keep: Keep) -> None:
        server = Server(self.model, self.base_url, TIMEOUT)
        server.left_out = self.left_out  # shared, so that later calls leave out the same parameters
        unanswered: list[str] = []
        asked = iter(enumerate(chats))
        try:
            workers = range(min(self.concurrency, len(chats)))
            await asyncio.gather(*(self._work(server, asked, keep, unanswered) for _ in workers))
        finally:
            await server.client.close()
        if "logprobs" in self.left_out and not self.has_warned:
            self.has_warned = True
            print(
                f"{self.name}: the server gives no log probabilities, so AUC, EER and calibration are missing",
                file=sys.stderr,
            )
        if unanswered:
            raise UnavailableError(
                f"{self.name}: {len(unanswered)} of {len(chats)} questions got no answer, the last one: "
                f"{unanswered[-1]}"
            )

    async def _work(self, server: Server, asked: Iterator[tuple[int, Chat]], keep: Keep, unanswered: list[str]) -> None:
        for number, chat in asked:
            given = self.budget.tokens(chat)
            try:
                answer = await self._reply(server, chat)
                if self.budget.needs_more(chat, answer, given):
                    answer = await self._reply(server, chat)
                keep(number, answer)
                self.unanswered_in_a_row = 0
            except RejectedError:
                keep(number, Answer(REFUSED))
            except UnansweredError as error:
                unanswered.append(str(error))
                self.unanswered_in_a_row += 1
                if self.unanswered_in_a_row >= UNANSWERED_IN_A_ROW:
                    raise UnavailableError(
                        f"{self.name}: {UNANSWERED_IN_A_ROW} questions in a row got no answer, the last one: {error}"
                    ) from error

    async def _reply(self, server: Server, chat: Chat) -> Answer:
        parameters: dict[str, Any] = {"max_tokens": self.budget.tokens(chat), "temperature": 0}
        if chat.choices:
            parameters |= {"logprobs": True, "top_logprobs": TOP_TOKENS}
        first, *later = dialogue(chat.turns)
        shown = [image_url(png(chat.picture)), {"type": "text", "text": first["content"]}]
        reply = await server.reply([{**first, "content": shown}, *later], parameters)
        if reply.refusal:
            return Answer(REFUSED, finish_reason=reply.finish_reason, fingerprint=reply.fingerprint)
        thought, text = split_thought(reply.text)
        thought = reply.thought or thought
        known = () if thought else log_probabilities(chat.choices, reply)
        return Answer(text, known, thought, reply.finish_reason, reply.fingerprint)


def log_probabilities(words: Sequence[str], reply: Reply) -> tuple[float, ...]:
    """Return the log probability of each word as a reply's first token.

    A word that is not among the likeliest tokens gets the lowest of their log probabilities, which is an upper bound.
    The result is empty if no word is among them.
    """
    if not reply.first:
        return ()
    found = [
        [value for token, value in reply.first if fold_case(token.strip(" ▁Ġ")) == fold_case(word)] for word in words
    ]
    if not any(found):
        return ()
    least = min(value for _, value in reply.first)
    return tuple(math.log(sum(map(math.exp, of_word))) if of_word else least for of_word in found)
