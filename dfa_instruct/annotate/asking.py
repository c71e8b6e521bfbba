"""Asking a language model about many faces at a time: what is missing, within a budget, each answer written at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from tqdm import tqdm

from dfa_instruct.annotate.answer_parsing import NotUnderstoodError, is_refusal, read_answer
from dfa_instruct.annotate.prices import Estimate, Price, Purse
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

ANSWERS: Final = 3
"""How often a request is answered at most: once, and twice after a complaint."""


def take(request: Request, before: Outcome, reply: Reply, price: Price | None, estimate: Estimate) -> Outcome:
    """Say what has become of a request with this reply, and what it has cost by now.

    Of a server that counts no tokens the cost is estimated, so that a budget holds.
    """
    tokens = (reply.tokens_in, reply.tokens_out) if reply.tokens_in else estimate.tokens(request)
    dollars = None if price is None else (before.dollars or 0.0) + price.of(*tokens)
    after = replace(
        before,
        answer=reply.text,
        tokens_in=before.tokens_in + reply.tokens_in,
        tokens_out=before.tokens_out + reply.tokens_out,
        dollars=dollars,
        seconds=before.seconds + reply.seconds,
        attempts=before.attempts + 1,
        batch=None,
    )
    if reply.refusal or is_refusal(reply.text):
        return replace(after, status="marked", reason=f"refused: {(reply.refusal or reply.text)[:120]}")
    try:
        return replace(after, status="annotated", reason="", parsed=read_answer(request.ability, reply.text))
    except NotUnderstoodError as complaint:
        return replace(after, status="asking" if after.attempts < ANSWERS else "marked", reason=str(complaint))


def is_missing(outcome: Outcome | None) -> bool:
    """Tell whether a request is to be asked, from what is known of it."""
    return outcome is None or outcome.status in ("asking", "failed")


@dataclass
class Asking:
    """One run: what is asked, of whom, and for how much."""

    store: Store
    server: Server
    pictures: Callable[[Request], list[bytes]]
    price: Price | None
    estimate: Estimate
    purse: Purse
    bar: tqdm
    stopped: str = ""
    """Why the run ends before all is asked."""
    paid: float = 0.0
    _in_a_row: int = field(default=0, repr=False)

    async def ask(self, requests: Iterator[Request], concurrency: int) -> None:
        """Ask the requests, so many at a time; at Ctrl-C those under way are waited for, and no other is begun.

        Raises:
            UnavailableError: nothing can be asked as things are.
        """
        loop = asyncio.get_running_loop()
        workers = [asyncio.create_task(self._work(requests)) for _ in range(concurrency)]

        def interrupt() -> None:
            if self.stopped:  # the second time
                for worker in workers:
                    worker.cancel()
            else:
                self.bar.write("the requests under way are finished; Ctrl-C again drops them")
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

    def stop(self, why: str) -> None:
        """Begin no other request."""
        self.stopped = self.stopped or why

    def likely(self, request: Request) -> float:
        """Return what a request is likely to cost, in dollars; 0 where no price is known."""
        return self.price.of(*self.estimate.tokens(request)) if self.price else 0.0

    async def _work(self, requests: Iterator[Request]) -> None:
        while not self.stopped and (request := next(requests, None)) is not None:
            try:
                await self._settle(request)
            except UnavailableError:
                self.stop("the server answers nothing")
                raise

    async def _settle(self, request: Request) -> None:
        """Ask one request until its answer is understood, or it is marked, or there is none."""
        outcome = self.store.outcome(request.key) or Outcome("asking")
        while True:
            likely = self.likely(request)
            if not self.purse.reserve(likely):
                self.stopped = self.stopped or "the budget is spent"
                return
            dollars, before = 0.0, outcome.dollars or 0.0
            try:
                complaint = outcome.reason if outcome.attempts else ""
                chat = messages(request, self.pictures(request), outcome.answer, complaint)
                reply = await self.server.reply(chat, parameters(request))
                outcome = take(request, outcome, reply, self.price, self.estimate)
                dollars = (outcome.dollars or 0.0) - before
                self.store.put(request, outcome)
            except UnansweredError as error:
                self._unanswered(request, outcome, error)
                return
            finally:
                self.purse.pay(likely, dollars)
                self.paid += dollars
            self._in_a_row = 0
            if outcome.status != "asking":
                self.show()
                return

    def _unanswered(self, request: Request, outcome: Outcome, error: UnansweredError) -> None:
        if self.stopped:
            return
        if isinstance(error, RejectedError):
            self.store.put(request, replace(outcome, status="marked", reason=f"refused: {error}"))
        elif not outcome.attempts:  # what was answered before, and complained of, stays as it is
            self.store.put(request, replace(outcome, status="failed", reason=str(error)))
        self.show()
        self._in_a_row += 1
        if self._in_a_row >= UNANSWERED_IN_A_ROW:
            raise UnavailableError(f"{self._in_a_row} requests in a row got no answer, the last one: {error}")

    def show(self) -> None:
        """Count one request as done, and say what was spent and is to come."""
        self.bar.update()
        if self.price is not None and self.bar.n:
            to_come = self.paid / self.bar.n * (self.bar.total - self.bar.n)
            self.bar.set_postfix_str(f"${self.paid:.2f} so far, ${to_come:.2f} to come", refresh=False)
