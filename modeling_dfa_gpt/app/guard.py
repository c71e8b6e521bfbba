"""What goes in and out over HTTP, whatever the page does: uploads are small, and nothing is fetched from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse

from modeling_dfa_gpt.app.upload import LARGEST_FILE

LARGEST_UPLOAD = LARGEST_FILE + 100_000
"""Bytes of one request with files: a single picture and what multipart adds."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; form-action 'self'; base-uri 'self'; object-src 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Guard:
    """ASGI middleware that refuses large uploads before they are read, and URLs where files are meant.

    Gradio would download a URL that a client sends for a file. Every response gets `HEADERS`, by which a browser
    fetches from here only.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        refusal = None
        if scope["type"] == "http" and scope["method"] == "POST":
            length = dict(scope["headers"]).get(b"content-length", b"")
            small = length.isdigit() and int(length) <= LARGEST_UPLOAD
            if not small:
                refusal = PlainTextResponse(f"One picture of at most {LARGEST_FILE / 1e6:.0f} MB is taken.", 413)
            elif not scope["path"].rstrip("/").endswith("/upload"):
                body = await Request(scope, receive).body()
                if names_url(body):
                    refusal = PlainTextResponse("A URL is not fetched; send the picture.", 403)
                receive = _again(body, receive)
        await (refusal or self.app)(scope, receive, guarded)


def names_url(body: bytes) -> bool:
    """Tell whether JSON names a URL as the path of a file, anywhere."""
    found = []

    def look(pairs: dict[str, Any]) -> dict[str, Any]:
        found.append("://" in str(pairs.get("path", "")))
        return pairs

    try:
        json.loads(body, object_hook=look)
    except (ValueError, RecursionError):
        return False
    return any(found)


def _again(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read once more, then what follows it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
