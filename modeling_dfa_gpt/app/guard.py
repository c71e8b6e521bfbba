"""What goes in and out over HTTP, whatever the page does.

Uploads are small and few, no other site uses the page through a visitor's browser, nothing is fetched from elsewhere.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gradio.utils import get_upload_folder
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from modeling_dfa_gpt.app.storage import bytes_held
from modeling_dfa_gpt.app.upload import LARGEST_FILE

LARGEST_UPLOAD = LARGEST_FILE + 100_000
"""Bytes of one request with files: a single picture and what multipart adds."""
LARGEST_TOTAL = 20 * LARGEST_FILE
"""Bytes of all uploads that are on disk or on their way at a time."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; form-action 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'self'"
)
HUB = " https://huggingface.co"
"""Where the page of a Space stands in a frame."""
HEADERS = [
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Guard:
    """ASGI middleware that refuses what a page's own visitors do not send.

    - A request to a name that is not this machine's: a site whose name was made to lead here (DNS rebinding) would
      count as this page's own origin. IP addresses, `localhost`, this machine's name and the name that the server
      listens at are served. A Space, which is reached through the Hub's proxy, serves all names.
    - What a page of another site sends, by a form or a script.
    - Uploads that are too large, or too many at a time, before they are read.
    - URLs where files are meant; Gradio would download them.

    Every response tells the browser to fetch from here only, and to show the page in no other site's frame.

    Args:
        app: what serves the requests.
        host: the name or the address that the server listens at.
    """

    def __init__(self, app: Any, host: str) -> None:
        self.app = app
        self.on_hub = bool(os.environ.get("SPACE_ID"))
        self.names = {"localhost", host.lower(), socket.gethostname().lower()}
        self.headers = [*HEADERS, (b"content-security-policy", (POLICY + HUB * self.on_hub).encode())]
        self.receiving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.headers]
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, length = Headers(scope=scope), 0
        refusal = self.refusal(scope["method"], headers)
        if refusal is None and scope["method"] == "POST":
            if scope["path"].rstrip("/").endswith("/upload"):
                length = int(headers["content-length"])
                if bytes_held(Path(get_upload_folder())) + self.receiving + length > LARGEST_TOTAL:
                    refusal = PlainTextResponse("Too many files were sent; try again in some minutes.", 503)
            else:
                body = await Request(scope, receive).body()
                if names_url(body):
                    refusal = PlainTextResponse("A URL is not fetched; send the picture.", 403)
                receive = _again(body, receive)
        self.receiving += length
        try:
            await (refusal or self.app)(scope, receive, guarded)
        finally:
            self.receiving -= length

    def refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        """Return the answer to a request that is refused for its headers; None for any other."""
        host = headers.get("host", "")
        if not (self.on_hub or self.is_known(host)):
            return PlainTextResponse(f"This page is not served as {host}; start it with --host {host}", 421)
        if method != "POST":
            return None
        if is_foreign(headers):
            return PlainTextResponse("Another site's page may not send anything here.", 403)
        length = headers.get("content-length", "")
        if not (length.isdigit() and int(length) <= LARGEST_UPLOAD):
            return PlainTextResponse(f"One picture of at most {LARGEST_FILE / 1e6:.0f} MB is taken.", 413)
        return None

    def is_known(self, host: str) -> bool:
        """Tell whether a Host header names this machine; an IP address does, as no other site can have it."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self.names or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def is_foreign(headers: Headers) -> bool:
    """Tell whether a browser says that a page of another site sent a request."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site is not None:  # over HTTPS and on this machine
        return site != "same-origin"
    return origin is not None and urlsplit(origin).netloc not in (headers.get("host"), headers.get("x-forwarded-host"))


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
