"""A client of one model at an OpenAI-compatible server: it sends a chat, and says in one line why none is answered.

Requests that fail for a moment (no connection, a time-out, status 429 or 5xx) are sent again by the `openai` client.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from typing import Any, Final

import openai
from httpx2 import ConnectTimeout
from openai import AsyncOpenAI, DefaultAioHttpClient

from dfa_instruct.environment import secret

KEY: Final = "OPENAI_API_KEY"
TRIES: Final = 6
"""How often a request is sent at most."""
WAIT: Final = 0.5
"""Seconds before a request is sent again whose answer was not a chat completion."""
UNANSWERED_IN_A_ROW: Final = 20
"""After so many requests in a row without an answer, a server counts as not there."""
REASON_LENGTH: Final = 200
LISTING_TIMEOUT: Final = 10.0
"""Seconds."""
MOST_TOKENS: Final = 2**31
"""In one answer; a server that counts more, or less than none, counts wrong."""
LOG_PROBABILITIES: Final = ("logprobs", "top_logprobs")
LEAST_LOG_PROBABILITY: Final = -100.0
"""Servers give -9999 or so for what is as good as impossible."""
OPTIONAL: Final = ("response_format", "max_tokens", "temperature", *LOG_PROBABILITIES)
"""What a server may not know, and is left out where it says so."""
VOLATILE: Final = ("created", "permission")
"""What some servers say anew of a model with each request."""
POLICY: Final = ("content_policy_violation", "content_filter")


class UnavailableError(RuntimeError):
    """Nothing can be asked as things are: a wrong key, an unknown model, a server that is not there."""


class UnansweredError(RuntimeError):
    """One request got no answer; the message says why."""


class RejectedError(UnansweredError):
    """One request will not be answered by this server, whoever asks."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        text: the answer.
        refusal: what the server's policy says in place of an answer.
        tokens_in: tokens of the request.
        tokens_out: tokens of the answer.
        seconds: how long it took.
        thought: what a reasoning model said before its answer.
        finish_reason: why the answer ended: "stop", or "length" where it was cut.
        first: the likeliest first tokens with their log probabilities.
        fingerprint: what the server calls its own state.
    """

    text: str
    refusal: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    thought: str = ""
    finish_reason: str = ""
    first: tuple[tuple[str, float], ...] = ()
    fingerprint: str = ""


def read_reply(body: Any, seconds: float = 0.0) -> Reply:
    """Read the body of a chat completion.

    Raises:
        ValueError: it is none.
    """
    try:
        choice = body["choices"][0]
        said, usage = choice["message"], body.get("usage") or {}
        refusal = said.get("refusal") or ("by its filter" if choice.get("finish_reason") == "content_filter" else "")
        text = said.get("content") or ""
        thought = said.get("reasoning_content") or said.get("reasoning") or ""
        if not isinstance(text, str) or not isinstance(refusal, str):
            raise TypeError(text)
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        if not all(0 <= count <= MOST_TOKENS for count in tokens):
            raise OverflowError(tokens)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        said = body.get("error") if isinstance(body, dict) else None  # some servers say it with status 200
        why = f": {said.get('message')}"[:REASON_LENGTH] if isinstance(said, dict) else ""
        raise ValueError(f"the server's answer is not a chat completion{why}") from error
    return Reply(
        whole(text),
        whole(refusal),
        *tokens,
        seconds,
        thought=whole(thought) if isinstance(thought, str) else "",
        finish_reason=str(choice.get("finish_reason") or ""),
        first=_first_tokens(choice),
        fingerprint=str(body.get("system_fingerprint") or ""),
    )


def _first_tokens(choice: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    """Return the likeliest first tokens of a choice; none where the server does not tell, or in another form."""
    try:
        top = choice["logprobs"]["content"][0]["top_logprobs"]
        return tuple((str(of["token"]), max(float(of["logprob"]), LEAST_LOG_PROBABILITY)) for of in top)
    except (KeyError, IndexError, TypeError, ValueError):
        return ()


def whole(text: str) -> str:
    """Return a text without half of an emoji, which no file takes."""
    return text.encode(errors="replace").decode()


class Server:
    """Sends chats. What the server says of one request that it does not know is left out of all later ones."""

    def __init__(self, model: str, base_url: str | None, timeout: float) -> None:
        """Take the key from the environment; a server of one's own may need none.

        Raises:
            ValueError: there is no key, and no other server is named; the key is none; or the server's address is none.
        """
        self.key = secret(KEY)
        base_url = (base_url or os.environ.get("OPENAI_BASE_URL") or "").strip() or None
        if not self.key and not base_url:
            raise ValueError(f"{KEY} is not set; set it, or name a server that needs none by --base-url")
        self.model = model
        self.client = AsyncOpenAI(
            api_key=self.key or "none",
            base_url=base_url,
            timeout=timeout,
            max_retries=TRIES - 1,
            http_client=DefaultAioHttpClient(),  # takes two thirds of the time that the other one takes for a request
        )
        if self.client.base_url.scheme not in ("http", "https"):
            raise ValueError(f"--base-url: expected http://… or https://…, not {base_url or self.client.base_url}")
        self.left_out: set[str] = set()
        self.structured = False
        self.tells_probabilities = False

    def body(self, chat: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
        """Return what is sent for a chat, without the parameters that the server does not know."""
        sent = {name: value for name, value in parameters.items() if name not in self.left_out}
        if "max_tokens" in self.left_out:
            sent["max_completion_tokens"] = parameters["max_tokens"]
        return {"model": self.model, "messages": chat, **sent}

    async def reply(self, chat: list[dict[str, Any]], parameters: dict[str, Any]) -> Reply:
        """Send a chat until it is answered, `TRIES` times at most.

        Args:
            chat: the messages, as the server takes them.
            parameters: what is sent with them: `max_tokens`, `temperature`, `response_format` and so on.

        Raises:
            UnansweredError: it was not answered.
            RejectedError: the server will never answer it.
            UnavailableError: the server will answer nothing.
        """
        reason, tries = "", 0
        while tries < TRIES:
            sent = self.body(chat, parameters)
            begun = time.monotonic()
            try:
                # As text: the client's own types would take most of the time that a request takes here.
                content = await self.client.post("/chat/completions", cast_to=str, body=sent)
                answer = read_reply(json.loads(content), time.monotonic() - begun)
            except openai.APIStatusError as error:
                self._raise_for(error, sent)  # returns where a parameter is left out from now on
            except openai.APIConnectionError as error:
                # A connection that was dropped comes as a ConnectTimeout, too.
                late = isinstance(error, openai.APITimeoutError) and not isinstance(error.__cause__, ConnectTimeout)
                dropped = f"no connection: {self.clean(str(error.__cause__ or error))}"
                reason = f"no answer within {self.client.timeout} s" if late else dropped
                raise UnansweredError(f"{reason} ({TRIES} times)") from error
            except ValueError as error:
                reason = f"an answer that is none: {self.clean(str(error))}"
                tries += 1
                await asyncio.sleep(WAIT * tries)
            else:
                self.structured |= "response_format" in sent
                self.tells_probabilities |= bool(answer.first)
                return answer
        raise UnansweredError(f"{reason} ({TRIES} times)")

    def _raise_for(self, error: openai.APIStatusError, sent: dict[str, Any]) -> None:
        """Raise what an error of the server means; return where it complains of a parameter, which is then left out."""
        reason, status = self.said(error), error.status_code
        if error.code in POLICY:
            raise RejectedError(f"rejected: {reason}") from error
        if self._leave_out(sent, reason, status in (400, 422)):
            return
        if status in (400, 413, 422):
            raise UnansweredError(f"rejected: {reason}") from error
        if status in (401, 403):
            taken = f"does not take the key in {KEY}" if self.key else f"wants a key, and {KEY} is not set"
            raise UnavailableError(f"the server {taken}: {reason}") from error
        if status == 404:
            wrong = "expected a model that the server has, and its whole address (most end in /v1)"
            raise UnavailableError(f"model {self.model!r}: {reason}; {wrong}") from error
        if status == 402 or error.code == "insufficient_quota":
            raise UnavailableError(f"model {self.model!r}: {reason}") from error
        retries = int(error.request.headers.get("x-stainless-retry-count", 0))  # none where Retry-After is too long
        raise UnansweredError(f"{reason} ({retries + 1} times)") from error

    async def describe(self) -> dict[str, Any]:
        """Return what the server says of the model, without what changes with each request; nothing if it is silent."""
        try:
            said = await self.client.with_options(max_retries=2, timeout=LISTING_TIMEOUT).get("/models", cast_to=str)
            entries = json.loads(said)["data"]
            entry = next(entry for entry in entries if entry["id"] == self.model)
            return {name: value for name, value in entry.items() if name not in VOLATILE}
        except (openai.OpenAIError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return {}

    def _leave_out(self, sent: dict[str, Any], reason: str, rejected: bool) -> bool:
        """Leave out from now on what the server complains of; False: it complains of nothing that can be left out.

        Not every server names what it rejects: while no structured answer has come, or none with probabilities, that is
        what it may be.
        """
        named = {name for name in OPTIONAL if name in sent and name in reason}
        if not named and rejected and "response_format" in sent and not self.structured:
            named = {"response_format"}
        if not named and rejected and "logprobs" in sent and not self.tells_probabilities:
            named = {"logprobs"}
        if named & {*LOG_PROBABILITIES}:
            named |= {*LOG_PROBABILITIES}
        self.left_out |= named
        return bool(named)

    def said(self, error: openai.APIStatusError) -> str:
        """Return what a server says of an error, in a line."""
        words = error.body.get("message") if isinstance(error.body, dict) else error.body
        said = self.clean(str(words or error.response.reason_phrase))
        return f"{error.status_code} {' '.join(said.split())[:REASON_LENGTH]}"

    def clean(self, text: str) -> str:
        """Return an error's text without the key, should a server say it. Answers are not cleaned: they may hold it."""
        return whole(text).replace(self.key, "[key]") if self.key else whole(text)
