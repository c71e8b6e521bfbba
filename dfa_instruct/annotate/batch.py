"""Asking by the provider's batches: at a lower price, within a day.

What a batch holds is written to the store before it is sent, and its ids as soon as they are known. A run that was
killed is taken up where it stopped: it sends what was not sent, and asks for what was.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import openai

from dfa_instruct.annotate.asking import Asking, is_missing, take
from dfa_instruct.annotate.prompts import messages, parameters
from dfa_instruct.annotate.store import Outcome, Request
from dfa_instruct.vlm.client import UnavailableError, read_reply

POLL_SECONDS: Final = 30.0
MOST_REQUESTS: Final = 10_000
MOST_BYTES: Final = 100_000_000
"""In one batch; OpenAI takes five times as many requests and twice as many bytes."""
ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass
class Batches:
    """One run by batches, of what an `Asking` knows."""

    asking: Asking
    failed: set[str] = field(default_factory=set)
    """Keys of what came back without an answer: the next run asks it again."""

    async def ask(self, requests: Callable[[], Iterator[Request]]) -> None:
        """Send what is missing, wait for it, and send what is to be asked again, until there is nothing.

        Raises:
            UnavailableError: the server takes no batches, or not with this key.
        """
        store, purse = self.asking.store, self.asking.purse
        try:
            while True:
                for name in store.open_batches():
                    await self._send(name)
                for name in store.open_batches():
                    await self._receive(name)
                purse.spent, purse.reserved = store.spent(), 0.0
                if not self._make(requests()):
                    return
        except openai.APIStatusError as error:
            raise UnavailableError(f"batches: {self.asking.server.error_line(error)}") from error
        except openai.APIConnectionError as error:
            raise UnavailableError(f"batches: no connection to the server: {error}") from error
        finally:
            await self.asking.server.client.close()

    def _make(self, requests: Iterator[Request]) -> int:
        """Divide what is missing into batches, as far as the budget goes; return how many there are."""
        made, size = 0, 0
        held: list[tuple[Request, Outcome]] = []

        def close() -> None:
            nonlocal made, size
            if held:
                self.asking.store.begin_batch(f"dfa-{uuid.uuid4().hex[:16]}", held)
                made, size = made + 1, 0
                held.clear()

        for request in requests:
            outcome = self.asking.store.outcome(request.key)
            if request.key in self.failed or not is_missing(outcome):
                continue
            if not self.asking.purse.reserve(self.asking.likely(request)):
                self.asking.stopped = "the budget is spent"
                break
            size += sum(len(picture) for picture in self.asking.pictures(request)) * 4 // 3 + 8_000
            if size > MOST_BYTES or len(held) == MOST_REQUESTS:
                close()
            held.append((request, outcome or Outcome("asking")))
        close()
        return made

    async def _send(self, name: str) -> None:
        """Upload a batch and start it, as far as that is not done."""
        store, client = self.asking.store, self.asking.server.client
        file_id, batch_id = store.batch(name)
        if batch_id is not None:
            return
        if file_id is not None:  # an earlier run uploaded it, and may have started it
            async for batch in client.batches.list():
                if batch.input_file_id == file_id:
                    store.set_batch(name, batch_id=batch.id)
                    return
        else:
            with tempfile.TemporaryFile() as lines:
                for request in store.requests(name):
                    lines.write(json.dumps(self._line(request)).encode() + b"\n")
                lines.seek(0)
                file_id = (await client.files.create(file=(f"{name}.jsonl", lines), purpose="batch")).id
            store.set_batch(name, file_id=file_id)
        batch = await client.batches.create(
            input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        store.set_batch(name, batch_id=batch.id)

    def _line(self, request: Request) -> dict[str, Any]:
        outcome = self.asking.store.outcome(request.key) or Outcome("sent")
        complaint = outcome.reason if outcome.attempts else ""
        chat = messages(request, self.asking.pictures(request), outcome.answer, complaint)
        body = self.asking.server.body(chat, parameters(request))
        return {"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": body}

    async def _receive(self, name: str) -> None:
        """Wait for a batch to end, and take its answers."""
        store, client = self.asking.store, self.asking.server.client
        _, batch_id = store.batch(name)
        assert batch_id is not None
        while (batch := await client.batches.retrieve(batch_id)).status not in ENDED:
            self.asking.bar.set_postfix_str(f"{batch_id} is {batch.status}")
            await asyncio.sleep(POLL_SECONDS)
        waiting = {request.key: request for request in store.requests(name)}
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is None:
                continue
            async with client.files.with_streaming_response.content(file_id) as content:
                async for line in content.iter_lines():
                    self._take(line, waiting)
        for request in waiting.values():
            self._fail(request, f"the batch has {batch.status} without it")
        store.set_batch(name, done=1)

    def _take(self, line: str, waiting: dict[str, Request]) -> None:
        """Take one line of what came back; what has been taken before is passed over."""
        try:
            given = json.loads(line)
            request = waiting.pop(given["custom_id"], None)
        except (ValueError, TypeError, KeyError):
            return
        if request is None:
            return
        before = self.asking.store.outcome(request.key) or Outcome("sent")
        response = given.get("response") or {}
        try:
            reply = read_reply(response.get("body"))
        except ValueError:
            error = given.get("error") or (response.get("body") or {}).get("error") or {}
            self._fail(request, self.asking.server.clean(str(error.get("message") or "no answer in the batch")))
            return
        outcome = take(request, before, reply, self.asking.price, self.asking.estimate)
        self.asking.store.put(request, outcome)
        self.asking.paid += (outcome.dollars or 0.0) - (before.dollars or 0.0)
        if outcome.status != "asking":
            self.asking.show()

    def _fail(self, request: Request, reason: str) -> None:
        before = self.asking.store.outcome(request.key) or Outcome("sent")
        if before.attempts:  # what was complained of before stays so
            after = replace(before, status="asking", batch=None)
        else:
            after = replace(before, status="failed", reason=reason, batch=None)
        self.asking.store.put(request, after)
        self.failed.add(request.key)
        self.asking.show()
