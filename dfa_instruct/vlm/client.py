"""A client for one model of an OpenAI-compatible server.

The `openai` client repeats requests that fail temporarily (no connection, a timeout, status 429 or 5xx).
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
"""The maximum number of times that a request is sent."""
WAIT: Final = 0.5
"""Seconds to wait before a request is repeated whose response was not a chat completion."""
UNANSWERED_IN_A_ROW: Final = 20
"""The number of consecutive requests without an answer after which a server counts as unavailable."""
REASON_LENGTH: Final = 200
LISTING_TIMEOUT: Final = 10.0
"""Seconds."""
MOST_TOKENS: Final = 2**31
"""The highest plausible number of tokens of a response; a server that reports more is wrong."""
LOG_PROBABILITIES: Final = ("logprobs", "top_logprobs")
LEAST_LOG_PROBABILITY: Final = -100.0
"""Replaces lower values: some servers return -9999 or similar for impossible tokens."""
OPTIONAL: Final = ("response_format", "max_tokens", "temperature", *LOG_PROBABILITIES)
"""Parameters that are no longer sent if the server rejects them."""
VOLATILE: Final = ("created", "permission")
"""What some servers change in a model's entry with each request."""
POLICY: Final = ("content_policy_violation", "content_filter")


class UnavailableError(RuntimeError):
    """No request can succeed: the key is wrong, the model is unknown, or the server is unavailable."""


class UnansweredError(RuntimeError):
    """A request got no answer; the message gives the reason."""


class RejectedError(UnansweredError):
    """The server will never answer this request."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to a request.

    Attributes:
        text: The answer.
        refusal: The server's refusal instead of an answer.
        tokens_in: The number of tokens of the request.
        tokens_out: The number of tokens of the answer.
        seconds: The duration.
        first: The likeliest first tokens with their log probabilities.
        thought, finish_reason, fingerprint: See `dfa_instruct.vlm.chat.Answer`.
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
        ValueError: The body is not a chat completion.
    """
    try:
        choice = body["choices"][0]
        message, usage = choice["message"], body.get("usage") or {}
        refusal = message.get("refusal") or ("by its filter" if choice.get("finish_reason") == "content_filter" else "")
        text = message.get("content") or ""
        thought = message.get("reasoning_content") or message.get("reasoning") or ""
        if not isinstance(text, str) or not isinstance(refusal, str):
            raise TypeError(text)
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        if not all(0 <= count <= MOST_TOKENS for count in tokens):
            raise OverflowError(tokens)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        details = body.get("error") if isinstance(body, dict) else None  # some servers return errors with status 200
        why = f": {details.get('message')}"[:REASON_LENGTH] if isinstance(details, dict) else ""
        raise ValueError(f"the server's answer is not a chat completion{why}") from error
    return Reply(
        without_surrogates(text),
        without_surrogates(refusal),
        *tokens,
        seconds,
        thought=without_surrogates(thought) if isinstance(thought, str) else "",
        finish_reason=str(choice.get("finish_reason") or ""),
        first=_first_tokens(choice),
        fingerprint=str(body.get("system_fingerprint") or ""),
    )


def _first_tokens(choice: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    """Return the likeliest first tokens of a choice; none if the server does not return them in the usual form."""
    try:
        top = choice["logprobs"]["content"][0]["top_logprobs"]
        return tuple((str(entry["token"]), max(float(entry["logprob"]), LEAST_LOG_PROBABILITY)) for entry in top)
    except (KeyError, IndexError, TypeError, ValueError):
        return ()


def without_surrogates(text: str) -> str:
    """Replace unpaired surrogates, such as half of an emoji, which cannot be written to a file."""
    return text.encode(errors="replace").decode()


class Server:
    """Sends chats to a server. A parameter that the server rejects once is left out of all later requests.

    The key is read from the environment; a local server may need none.

    Args:
        model: The model's name at the server.
        base_url: The server's address. None: the variable `OPENAI_BASE_URL`, or else OpenAI's address.
        timeout: The time limit of a request in seconds.

    Raises:
        ValueError: There is neither a key nor an address, the key is malformed, or the address is not an HTTP URL.
    """

    def __init__(self, model: str, base_url: str | None, timeout: float) -> None:
        self.key = secret(KEY)
        base_url = (base_url or os.environ.get("OPENAI_BASE_URL") or "").strip() or None
        if not self.key and not base_url:
            raise ValueError(f"{KEY} is not set; set it, or give a server that needs no key by --base-url")
        self.model = model
        self.client = AsyncOpenAI(
            api_key=self.key or "none",
            base_url=base_url,
            timeout=timeout,
            max_retries=TRIES - 1,
            http_client=DefaultAioHttpClient(),  # needs a third less time for a request than the default client
        )
        if self.client.base_url.scheme not in ("http", "https"):
            raise ValueError(f"--base-url: expected http://… or https://…, not {base_url or self.client.base_url}")
        self.left_out: set[str] = set()
        self.gave_structured = False
        self.gave_probabilities = False

    def body(self, chat: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a request, without the parameters that the server rejects."""
        sent = {name: value for name, value in parameters.items() if name not in self.left_out}
        if "max_tokens" in self.left_out:
            sent["max_completion_tokens"] = parameters["max_tokens"]
        return {"model": self.model, "messages": chat, **sent}

    async def reply(self, chat: list[dict[str, Any]], parameters: dict[str, Any]) -> Reply:
        """Send a chat until it is answered, at most `TRIES` times.

        Args:
            chat: The messages in the server's form.
            parameters: `max_tokens`, `temperature`, `response_format` and other parameters of the request.

        Raises:
            UnansweredError: The request was not answered.
            RejectedError: The server will never answer this request.
            UnavailableError: The server will not answer any request.
        """
        reason, tries = "", 0
        while tries < TRIES:
            sent = self.body(chat, parameters)
            begun = time.monotonic()
            try:
                # As text, because the client's own types would take most of the time of a request.
                content = await self.client.post("/chat/completions", cast_to=str, body=sent)
                answer = read_reply(json.loads(content), time.monotonic() - begun)
            except openai.APIStatusError as error:
                self._raise_for(error, sent)  # returns if a parameter is left out from now on
            except openai.APIConnectionError as error:
                # A dropped connection is also reported as a ConnectTimeout.
                late = isinstance(error, openai.APITimeoutError) and not isinstance(error.__cause__, ConnectTimeout)
                dropped = f"no connection: {self.clean(str(error.__cause__ or error))}"
                reason = f"no answer within {self.client.timeout} s" if late else dropped
                raise UnansweredError(f"{reason} ({TRIES} times)") from error
            except ValueError as error:
                reason = f"an invalid answer: {self.clean(str(error))}"
                tries += 1
                await asyncio.sleep(WAIT * tries)
            else:
                self.gave_structured |= "response_format" in sent
                self.gave_probabilities |= bool(answer.first)
                return answer
        raise UnansweredError(f"{reason} ({TRIES} times)")

    def _raise_for(self, error: openai.APIStatusError, sent: dict[str, Any]) -> None:
        """Raise the exception for a server's error; return if it rejects a parameter, which is then left out."""
        reason, status = self.error_line(error), error.status_code
        if error.code in POLICY:
            raise RejectedError(f"rejected: {reason}") from error
        if self._leave_out(sent, reason, status in (400, 422)):
            return
        if status in (400, 413, 422):
            raise UnansweredError(f"rejected: {reason}") from error
        if status in (401, 403):
            problem = f"does not take the key in {KEY}" if self.key else f"wants a key, and {KEY} is not set"
            raise UnavailableError(f"the server {problem}: {reason}") from error
        if status == 404:
            expected = "expected a model that the server has, and its whole address (most end in /v1)"
            raise UnavailableError(f"model {self.model!r}: {reason}; {expected}") from error
        if status == 402 or error.code == "insufficient_quota":
            raise UnavailableError(f"model {self.model!r}: {reason}") from error
        retries = int(error.request.headers.get("x-stainless-retry-count", 0))  # no retry if Retry-After is too long
        raise UnansweredError(f"{reason} ({retries + 1} times)") from error

    async def describe(self) -> dict[str, Any]:
        """Return the server's entry for the model, without what changes with each request; empty if there is none."""
        try:
            listing = await self.client.with_options(max_retries=2, timeout=LISTING_TIMEOUT).get("/models", cast_to=str)
            entries = json.loads(listing)["data"]
            entry = next(entry for entry in entries if entry["id"] == self.model)
            return {name: value for name, value in entry.items() if name not in VOLATILE}
        except (openai.OpenAIError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return {}

    def _leave_out(self, sent: dict[str, Any], reason: str, rejected: bool) -> bool:
        """Leave out the parameters that the server rejects; return False if there are none.

        Some servers do not name the parameter. Then structured output or log probabilities are left out, unless the
        server has returned them before.
        """
        named = {name for name in OPTIONAL if name in sent and name in reason}
        if not named and rejected and "response_format" in sent and not self.gave_structured:
            named = {"response_format"}
        if not named and rejected and "logprobs" in sent and not self.gave_probabilities:
            named = {"logprobs"}
        if named & {*LOG_PROBABILITIES}:
            named |= {*LOG_PROBABILITIES}
        self.left_out |= named
        return bool(named)

    def error_line(self, error: openai.APIStatusError) -> str:
        """Return the status and the message of a server's error in one line."""
        message = error.body.get("message") if isinstance(error.body, dict) else error.body
        message = self.clean(str(message or error.response.reason_phrase))
        return f"{error.status_code} {' '.join(message.split())[:REASON_LENGTH]}"

    def clean(self, text: str) -> str:
        """Return an error's text without the key, which a server may repeat. Answers are not cleaned."""
        text = without_surrogates(text)
        return text.replace(self.key, "[key]") if self.key else text
