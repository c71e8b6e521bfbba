"""Send requests one by one, several at a time and within a budget. Each answer is written to the store at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tqdm import tqdm

from dfa_instruct.annotate.answer_parsing import NotUnderstoodError, is_refusal, read_answer
from dfa_instruct.annotate.prices import Budget, Estimate, Price
from dfa_instruct.annotate.prompts import messages, parameters
from dfa_instruct.annotate.store import Outcome, Request, Store
from dfa_instruct.vlm.client import (
    UNANSWERED_IN_A_ROW,
    RejectedError,
    Reply,
    Server,
    UnansweredError,
    UnavailableError,
)

MAX_ANSWERS: Final = 3
"""A request is answered at most three times: once, and twice more if the answer was not understood."""


def record_reply(request: Request, before: Outcome, reply: Reply, price: Price | None, estimate: Estimate) -> Outcome:
    """Return the new state of a request after a reply, with its accumulated cost.

    If the server does not count tokens, the cost is estimated, so that the budget is still respected.
    """
    tokens = (reply.tokens_in, reply.tokens_out) if reply.tokens_in else estimate.tokens(request)
    after = replace(
        before,
        answer=reply.text,
        tokens_in=before.tokens_in + reply.tokens_in,
        tokens_out=before.tokens_out + reply.tokens_out,
        dollars=None if price is None else (before.dollars or 0.0) + price.cost(*tokens),
        seconds=before.seconds + reply.seconds,
        attempts=before.attempts + 1,
        batch=None,
    )
    if reply.refusal or is_refusal(reply.text):
        return replace(after, status="marked", reason=f"refused: {(reply.refusal or reply.text)[:120]}")
    try:
        return replace(after, status="annotated", reason="", parsed=read_answer(request.ability, reply.text))
    except NotUnderstoodError as error:
        return replace(after, status="asking" if after.attempts < MAX_ANSWERS else "marked", reason=str(error))


def record_failure(before: Outcome, reason: str) -> Outcome:
    """Return the new state of a request without a reply. An earlier answer that was not understood is kept."""
    if before.attempts:
        return replace(before, status="asking", batch=None)
    return replace(before, status="failed", reason=reason, batch=None)


def is_missing(outcome: Outcome | None) -> bool:
    """Return whether a request still has to be sent."""
    return outcome is None or outcome.status in ("asking", "failed")


@dataclass
class Asking:
    """One run of requests to one server.

    Args:
        pictures: Returns the PNG files that are shown with a request.
        price: The price of the model; None if it is unknown.
        bar: The progress bar, which counts requests.
        stopped: Why the run stopped early; empty if it did not.
        paid: The cost of this run so far, in dollars.
    """

    store: Store
    server: Server
    pictures: Callable[[Request], list[bytes]]
    price: Price | None
    estimate: Estimate
    budget: Budget
    bar: tqdm
    stopped: str = ""
    paid: float = 0.0
    _unanswered_in_a_row: int = field(default=0, repr=False)

    async def ask(self, requests: Iterator[Request], concurrency: int) -> None:
        """Send requests, `concurrency` at a time. Ctrl-C waits for those in progress; a second one cancels them.

        Raises:
            UnavailableError: The server cannot answer any request.
        """
        loop = asyncio.get_running_loop()
        workers = [asyncio.create_task(self._work(requests)) for _ in range(concurrency)]

        def interrupt() -> None:
            if self.stopped:  # the second time
                for worker in workers:
                    worker.cancel()
            else:
                self.bar.write("waiting for the requests in progress; Ctrl-C again cancels them")
                self.stop("interrupted")

        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
                loop.add_signal_handler(number, interrupt)
        try:
            results = await asyncio.gather(*workers, return_exceptions=True)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                with suppress(NotImplementedError, RuntimeError, ValueError):
                    loop.remove_signal_handler(number)
            await self.server.client.close()
        for result in results:
            if isinstance(result, Exception):
                raise result

    def stop(self, reason: str) -> None:
        """Start no more requests."""
        self.stopped = self.stopped or reason

    def expected_cost(self, request: Request) -> float:
        """Return the expected cost of a request in dollars; 0 if the price is unknown."""
        return self.price.cost(*self.estimate.tokens(request)) if self.price else 0.0

    def chat(self, request: Request, outcome: Outcome) -> list[dict[str, Any]]:
        """Return the messages of a request, with the last answer and its complaint if there was one."""
        complaint = outcome.reason if outcome.attempts else ""
        return messages(request, self.pictures(request), outcome.answer, complaint)

    async def _work(self, requests: Iterator[Request]) -> None:
        while not self.stopped and (request := next(requests, None)) is not None:
            try:
                await self._ask_one(request)
            except UnavailableError:
                self.stop("the server does not answer")
                raise

    async def _ask_one(self, request: Request) -> None:
        """Ask until the answer is understood, the request is marked, or there is no answer."""
        outcome = self.store.outcome(request.key) or Outcome("asking")
        while True:
            expected = self.expected_cost(request)
            if not self.budget.reserve(expected):
                self.stopped = self.stopped or "the budget is spent"
                return
            dollars, before = 0.0, outcome.dollars or 0.0
            try:
                reply = await self.server.reply(self.chat(request, outcome), parameters(request))
                outcome = record_reply(request, outcome, reply, self.price, self.estimate)
                dollars = (outcome.dollars or 0.0) - before
                self.store.put(request, outcome)
            except UnansweredError as error:
                self._record_unanswered(request, outcome, error)
                return
            finally:
                self.budget.pay(expected, dollars)
                self.paid += dollars
            self._unanswered_in_a_row = 0
            if outcome.status != "asking":
                self.show_progress()
                return

    def _record_unanswered(self, request: Request, outcome: Outcome, error: UnansweredError) -> None:
        if self.stopped:
            return
        if isinstance(error, RejectedError):
            self.store.put(request, replace(outcome, status="marked", reason=f"refused: {error}"))
        else:
            self.store.put(request, record_failure(outcome, str(error)))
        self.show_progress()
        self._unanswered_in_a_row += 1
        if self._unanswered_in_a_row >= UNANSWERED_IN_A_ROW:
            raise UnavailableError(f"{UNANSWERED_IN_A_ROW} requests in a row got no answer; the last error: {error}")

    def show_progress(self) -> None:
        """Count one request as done, and show the cost so far and the expected rest."""
        self.bar.update()
        if self.price is not None and self.bar.n:
            rest = self.paid / self.bar.n * (self.bar.total - self.bar.n)
            self.bar.set_postfix_str(f"${self.paid:.2f} so far, ${rest:.2f} to come", refresh=False)
