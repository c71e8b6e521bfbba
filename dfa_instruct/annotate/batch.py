"""Send requests in the provider's batches, which are cheaper and take up to a day.

The content of a batch is written to the store before it is sent, and the server's ids as soon as they are known. A run
that was killed continues where it stopped: it sends what was not sent, and fetches the answers to what was.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import openai

from dfa_instruct.annotate.asking import Asking, is_missing, record_failure, record_reply
from dfa_instruct.annotate.prompts import parameters
from dfa_instruct.annotate.store import Outcome, Request
from dfa_instruct.vlm.client import UnavailableError, read_reply

POLL_SECONDS: Final = 30.0
MAX_REQUESTS: Final = 10_000
MAX_BYTES: Final = 100_000_000
"""The limits of one batch. OpenAI accepts five times as many requests and twice as many bytes."""
FINAL_STATUSES: Final = frozenset({"completed", "failed", "expired", "cancelled"})
CHAT: Final = "/v1/chat/completions"


@dataclass
class Batches(Asking):
    """One run that can also send its requests in batches.

    Args:
        failed: Keys of the requests that came back without an answer; the next run sends them again.
    """

    failed: set[str] = field(default_factory=set)

    async def ask_in_batches(self, requests: Callable[[], Iterator[Request]]) -> None:
        """Send the missing requests, wait for the answers, and repeat until no request has to be sent again.

        Args:
            requests: Returns all requests of the run, answered or not.

        Raises:
            UnavailableError: The server does not accept batches, or not with this key.
        """
        try:
            while True:
                for name in self.store.open_batches():
                    await self._send(name)
                for name in self.store.open_batches():
                    await self._receive(name)
                self.budget.spent, self.budget.reserved = self.store.total_cost(), 0.0
                for contents in self._divide(requests()):
                    self.store.add_batch(f"dfa-{uuid.uuid4().hex[:16]}", contents)
                if not self.store.open_batches():
                    return
        except openai.APIStatusError as error:
            raise UnavailableError(f"batches: {self.server.error_line(error)}") from error
        except openai.APIConnectionError as error:
            raise UnavailableError(f"batches: no connection to the server: {error}") from error
        finally:
            await self.server.client.close()

    def _divide(self, requests: Iterator[Request]) -> Iterator[list[tuple[Request, Outcome]]]:
        """Yield the contents of one batch after the other, as far as the budget allows."""
        contents: list[tuple[Request, Outcome]] = []
        size = 0
        for request in requests:
            outcome = self.store.outcome(request.key)
            if request.key in self.failed or not is_missing(outcome):
                continue
            if not self.budget.reserve(self.expected_cost(request)):
                self.stopped = "the budget is spent"
                break
            added = sum(len(picture) for picture in self.pictures(request)) * 4 // 3 + 8_000
            if contents and (size + added > MAX_BYTES or len(contents) == MAX_REQUESTS):
                yield contents
                contents, size = [], 0
            contents.append((request, outcome or Outcome("asking")))
            size += added
        if contents:
            yield contents

    async def _send(self, name: str) -> None:
        """Upload and start a batch, unless an earlier run has done so."""
        client = self.server.client
        file_id, batch_id = self.store.batch_ids(name)
        if batch_id is not None:
            return
        if file_id is not None:  # an earlier run has uploaded it, and may have started it
            async for batch in client.batches.list():
                if batch.input_file_id == file_id:
                    self.store.update_batch(name, batch_id=batch.id)
                    return
        else:
            with tempfile.TemporaryFile() as lines:
                for request in self.store.requests(name):
                    lines.write(json.dumps(self._line(request)).encode() + b"\n")
                lines.seek(0)
                file_id = (await client.files.create(file=(f"{name}.jsonl", lines), purpose="batch")).id
            self.store.update_batch(name, file_id=file_id)
        batch = await client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h")
        self.store.update_batch(name, batch_id=batch.id)

    def _line(self, request: Request) -> dict[str, Any]:
        """Return one line of a batch's input file."""
        body = self.server.body(self.chat(request, self._sent(request)), parameters(request))
        return {"custom_id": request.key, "method": "POST", "url": CHAT, "body": body}

    async def _receive(self, name: str) -> None:
        """Wait for a batch to end, and read its answers."""
        client = self.server.client
        _, batch_id = self.store.batch_ids(name)
        assert batch_id is not None
        while (batch := await client.batches.retrieve(batch_id)).status not in FINAL_STATUSES:
            self.bar.set_postfix_str(f"{batch_id} is {batch.status}")
            await asyncio.sleep(POLL_SECONDS)
        waiting = {request.key: request for request in self.store.requests(name)}
        for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
            async with client.files.with_streaming_response.content(file_id) as content:
                async for line in content.iter_lines():
                    self._read_line(line, waiting)
        for request in waiting.values():
            self._fail(request, f"the batch has {batch.status} without it")
        self.store.update_batch(name, done=1)

    def _read_line(self, line: str, waiting: dict[str, Request]) -> None:
        """Record the result in one line of a batch's output, and remove its request from `waiting`.

        A line that contains no result for a waiting request is ignored.
        """
        try:
            result = json.loads(line)
            request = waiting.pop(result["custom_id"])
        except (ValueError, TypeError, KeyError):  # not a result, or one that was read before
            return
        before = self._sent(request)
        response = result.get("response") or {}
        try:
            reply = read_reply(response.get("body"))
        except ValueError:
            error = result.get("error") or (response.get("body") or {}).get("error") or {}
            self._fail(request, self.server.clean(str(error.get("message") or "no answer in the batch")))
            return
        outcome = record_reply(request, before, reply, self.price, self.estimate)
        self.store.put(request, outcome)
        self.paid += (outcome.dollars or 0.0) - (before.dollars or 0.0)
        if outcome.status != "asking":
            self.show_progress()

    def _fail(self, request: Request, reason: str) -> None:
        self.store.put(request, record_failure(self._sent(request), reason))
        self.failed.add(request.key)
        self.show_progress()

    def _sent(self, request: Request) -> Outcome:
        """Return the state of a request in a batch."""
        return self.store.outcome(request.key) or Outcome("sent")
