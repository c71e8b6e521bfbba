"""A model behind an OpenAI-compatible address, as DFA-Bench asks it: `openai:gpt-4o`, or one of a server nearby."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Sequence
from typing import Any, Final

from dfa_instruct.annotate.asking import UNANSWERED_IN_A_ROW
from dfa_instruct.annotate.server import RejectedError, Server, UnansweredError, UnavailableError
from dfa_instruct.bench.chat import REFUSED, Answer, Chat, png
from dfa_instruct.bench.model import BenchModel, Keep

PREFIX: Final = "openai:"
TIMEOUT: Final = 120.0
"""Seconds until a request counts as lost."""


class Endpoint(BenchModel):
    """Greedy answers of a server, many asked at a time. Its key is taken from the environment (`OPENAI_API_KEY`).

    Args:
        model: its name at the server.
        base_url: the server's address; else OpenAI's, or what `OPENAI_BASE_URL` names.
        concurrency: questions at a time.

    Raises:
        ValueError: there is no key, and no other server is named.
    """

    def __init__(self, model: str, base_url: str | None = None, concurrency: int = 16) -> None:
        super().__init__(conversations=4 * concurrency)
        self.model, self.base_url, self.concurrency = model, base_url, concurrency
        self.left_out = Server(model, base_url, TIMEOUT).left_out
        self.in_a_row = 0

    @property
    def identity(self) -> str:
        """The model's name: nobody outside the server knows its weights."""
        return PREFIX + self.model

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
        if unanswered:
            raise UnavailableError(
                f"{self.identity}: {len(unanswered)} of {len(chats)} questions got no answer, the last one: "
                f"{unanswered[-1]}"
            )

    async def _work(self, server: Server, asked: Iterator[tuple[int, Chat]], keep: Keep, unanswered: list[str]) -> None:
        for number, chat in asked:
            try:
                reply = await server.reply(messages(chat), None, {"max_tokens": chat.tokens, "temperature": 0})
                keep(number, Answer(REFUSED if reply.refusal else reply.text.strip()))
                self.in_a_row = 0
            except RejectedError:
                keep(number, Answer(REFUSED))
            except UnansweredError as error:
                unanswered.append(str(error))
                self.in_a_row += 1
                if self.in_a_row >= UNANSWERED_IN_A_ROW:
                    raise UnavailableError(
                        f"{self.identity}: {self.in_a_row} questions in a row got no answer, the last one: {error}"
                    ) from error


def messages(chat: Chat) -> list[dict[str, Any]]:
    """Lay a chat out as a server takes it, the picture in the first message."""
    url = f"data:image/png;base64,{base64.b64encode(png(chat.picture)).decode()}"
    first = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": chat.turns[0]}]
    later = [
        {"role": "user" if place % 2 == 0 else "assistant", "content": text}
        for place, text in enumerate(chat.turns[1:], start=1)
    ]
    return [{"role": "user", "content": first}, *later]
