"""A model behind an OpenAI-compatible address: `openai:gpt-4o`, or one of a server of one's own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from dfa_instruct.vlm.answer_cache import AnswerCache
from dfa_instruct.vlm.chat import REFUSED, Answer, Chat, Keep, Room, folded, png
from dfa_instruct.vlm.client import (
    UNANSWERED_IN_A_ROW,
    RejectedError,
    Reply,
    Server,
    UnansweredError,
    UnavailableError,
)
from dfa_instruct.vlm.messages import dialogue, image_url
from dfa_instruct.vlm.thoughts import split_thought

PREFIX: Final = "openai:"
TIMEOUT: Final = 120.0
"""Seconds until a request counts as lost."""
TOP: Final = 20
"""Likeliest first tokens that a server is asked for; no server gives more."""


class Endpoint:
    """Greedy answers of a server, many asked at a time. Its key is taken from the environment (`OPENAI_API_KEY`).

    Args:
        model: its name at the server.
        base_url: the server's address; else OpenAI's, or what `OPENAI_BASE_URL` names.
        concurrency: questions at a time.

    Raises:
        ValueError: there is no key, and no other server is named.
    """

    weights: int | None = None
    shows = True

    def __init__(self, model: str, base_url: str | None = None, concurrency: int = 16) -> None:
        self.room, self.conversations = Room(), 4 * concurrency
        self.model, self.base_url, self.concurrency = model, base_url, concurrency
        self.left_out = Server(model, base_url, TIMEOUT).left_out
        self.in_a_row = 0
        self.name = PREFIX + model
        self.told_once = False

    def identity(self, kept: AnswerCache | None) -> str:
        """Return the model's name, with a digest of the server's address and of what the server says of the model.

        A server may also name its own state in its answers. Where it names one that no kept answer came from, the model
        is another one. Some servers alternate between states, so any that it has named before will do.
        """
        return asyncio.run(self._identified(kept))

    def agreed(self, known: dict[str, Answer]) -> dict[str, Answer]:
        """Return what is known: there is one process only."""
        return known

    async def _identified(self, kept: AnswerCache | None) -> str:
        server = Server(self.model, self.base_url, TIMEOUT)
        server.left_out = self.left_out
        try:
            told = json.dumps([str(server.client.base_url), await server.describe()], sort_keys=True)
            name = f"{self.name} {hashlib.sha256(told.encode()).hexdigest()[:16]}"
            known = kept.fingerprints(name) if kept is not None else {}
            if not set().union(*known.values()) - {""}:
                return name
            now = (await server.reply(dialogue(["Say yes."]), {"max_tokens": 1, "temperature": 0})).fingerprint
        except UnansweredError:
            return name  # whoever asks next is told why
        finally:
            await server.client.close()
        return next((of for of, states in known.items() if now in states), f"{name} {now}")

    def answer(self, chats: Sequence[Chat], keep: Keep) -> None:
        """Ask the server, so many at a time.

        Raises:
            UnavailableError: it left questions without an answer.
        """
        asyncio.run(self._ask(chats, keep))

    async def _ask(self, chats: Sequence[Chat], keep: Keep) -> None:
        server = Server(self.model, self.base_url, TIMEOUT)
        server.left_out = self.left_out  # what one run learns that the server does not know, the next one leaves out
        unanswered: list[str] = []
        asked = iter(enumerate(chats))
        try:
            workers = range(min(self.concurrency, len(chats)))
            await asyncio.gather(*(self._work(server, asked, keep, unanswered) for _ in workers))
        finally:
            await server.client.close()
        if "logprobs" in self.left_out and not self.told_once:
            self.told_once = True
            print(
                f"{self.name}: the server gives no log probabilities of tokens, so there is no AUC, EER or calibration",
                file=sys.stderr,
            )
        if unanswered:
            raise UnavailableError(
                f"{self.name}: {len(unanswered)} of {len(chats)} questions got no answer, the last one: "
                f"{unanswered[-1]}"
            )

    async def _work(self, server: Server, asked: Iterator[tuple[int, Chat]], keep: Keep, unanswered: list[str]) -> None:
        for number, chat in asked:
            given = self.room.tokens(chat)
            try:
                answer = await self._reply(server, chat)
                if self.room.was_short(chat, answer, given):
                    answer = await self._reply(server, chat)
                keep(number, answer)
                self.in_a_row = 0
            except RejectedError:
                keep(number, Answer(REFUSED))
            except UnansweredError as error:
                unanswered.append(str(error))
                self.in_a_row += 1
                if self.in_a_row >= UNANSWERED_IN_A_ROW:
                    raise UnavailableError(
                        f"{self.name}: {self.in_a_row} questions in a row got no answer, the last one: {error}"
                    ) from error

    async def _reply(self, server: Server, chat: Chat) -> Answer:
        parameters: dict[str, Any] = {"max_tokens": self.room.tokens(chat), "temperature": 0}
        if chat.choices:
            parameters |= {"logprobs": True, "top_logprobs": TOP}
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
    """Return the log probability of each word as a reply's first token; none where no word is among the likeliest.

    A word that is not among them is at most as likely as the least likely one that is.
    """
    if not reply.first:
        return ()
    found = [[value for token, value in reply.first if folded(token.strip(" ▁Ġ")) == folded(word)] for word in words]
    if not any(found):
        return ()
    least = min(value for _, value in reply.first)
    return tuple(math.log(sum(map(math.exp, of_word))) if of_word else least for of_word in found)
