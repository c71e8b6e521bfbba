"""Restrict what goes in and out of the app over HTTP.

Uploads are limited in size and number, other sites cannot use the app through a visitor's browser, and the app fetches
nothing from other hosts.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gradio.utils import get_upload_folder
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modeling_dfa_gpt.app.storage import stored_bytes
from modeling_dfa_gpt.app.upload import MAX_FILE_BYTES

MAX_REQUEST_BYTES = MAX_FILE_BYTES + 100_000
"""Size of one upload: a single file and the multipart headers."""
MAX_STORED_BYTES = 20 * MAX_FILE_BYTES
"""Size of all uploads that are stored or being received."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; form-action 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'self'"
)
HUB = " https://huggingface.co"
"""The Hub shows the page of a Space in a frame."""


class Guard:
    """ASGI middleware that refuses requests which the app's own page does not send.

    It refuses:

    - Requests to an unknown host name. Otherwise another site could let its name resolve to this machine (DNS
      rebinding), and its page would count as the same origin. IP addresses, `localhost`, the name of this machine and
      the name that the server listens on are known. A Space serves all names, because the Hub's proxy forwards to it.
    - POST requests from the pages of other sites.
    - Uploads that are too large or too many, before they are read.
    - URLs in place of files, which Gradio would download.

    Every response tells the browser to load content from this server only, and not to show the page in other sites'
    frames.

    Args:
        app: The ASGI app.
        host: The name or address that the server listens on.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app = app
        self.on_hub = bool(os.environ.get("SPACE_ID"))
        self.names = {"localhost", host.lower(), socket.gethostname().lower()}
        self.headers = [
            (b"referrer-policy", b"same-origin"),
            (b"x-content-type-options", b"nosniff"),
            (b"content-security-policy", (POLICY + HUB * self.on_hub).encode()),
        ]
        self.receiving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Message) -> None:
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
                if stored_bytes(Path(get_upload_folder())) + self.receiving + length > MAX_STORED_BYTES:
                    refusal = PlainTextResponse("Too many files were uploaded. Try again in some minutes.", 503)
            else:
                body = await Request(scope, receive).body()
                if contains_url(body):
                    refusal = PlainTextResponse("URLs are not fetched. Upload the picture.", 403)
                receive = _replay(body, receive)
        self.receiving += length
        try:
            await (refusal or self.app)(scope, receive, send_with_headers)
        finally:
            self.receiving -= length

    def refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        """Return the response to a request that is refused because of its headers, or None."""
        host = headers.get("host", "")
        if not (self.on_hub or self.is_known(host)):
            return PlainTextResponse(f"This page is not served as {host}. Start the app with --host {host}", 421)
        if method != "POST":
            return None
        if is_cross_site(headers):
            return PlainTextResponse("Pages of other sites cannot send requests to this app.", 403)
        length = headers.get("content-length", "")
        if not (length.isdigit() and int(length) <= MAX_REQUEST_BYTES):
            return PlainTextResponse(f"Upload one file of at most {MAX_FILE_BYTES / 1e6:.0f} MB.", 413)
        return None

    def is_known(self, host: str) -> bool:
        """Return whether a Host header contains a name of this machine or any IP address.

        IP addresses are safe, because DNS rebinding needs a domain name.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self.names or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def is_cross_site(headers: Headers) -> bool:
    """Return whether the browser says that the page of another site sent the request."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site is not None:  # browsers send it over HTTPS and to localhost
        return site != "same-origin"
    return origin is not None and urlsplit(origin).netloc not in (headers.get("host"), headers.get("x-forwarded-host"))


def contains_url(body: bytes) -> bool:
    """Return whether a JSON document contains a URL as the path of a file, at any depth."""
    found = []

    def check(pairs: dict[str, Any]) -> dict[str, Any]:
        found.append("://" in str(pairs.get("path", "")))
        return pairs

    try:
        json.loads(body, object_hook=check)
    except (ValueError, RecursionError):
        return False
    return any(found)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receiver that delivers a body which was read before, and then what follows it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
