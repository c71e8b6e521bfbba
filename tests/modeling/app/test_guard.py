"""Requests that the guard refuses because of their origin or size, and the exceptions of a Space."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

pytest.importorskip("gradio")

from modeling_dfa_gpt.app import guard as guarding
from modeling_dfa_gpt.app.guard import Guard
from modeling_dfa_gpt.app.storage import MIN_COUNTED_BYTES

SIZE = 300_000


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def ask(host_name: str, method: str = "GET", path: str = "/", **headers: str) -> httpx.Response:
    """Send a request to a guarded app that listens on a host and stores what is sent to /upload."""

    async def store(request: Request) -> Response:
        body = await request.body()
        folder = Path(guarding.get_upload_folder())
        if body:
            (folder / str(len(list(folder.iterdir())))).write_bytes(body)
        return PlainTextResponse("stored")

    app = Guard(Starlette(routes=[Route(p, store, methods=["GET", "POST"]) for p in ("/", "/upload")]), host_name)

    async def send() -> httpx.Response:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            return await client.request(method, path, headers=named, content=b"x" * SIZE if method == "POST" else None)

    return asyncio.run(send())


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "Faces.Example.org"])
def test_only_names_of_this_machine_are_served(uploads: Path, host: str) -> None:
    served = ["localhost", "LOCALHOST:7860", "192.168.1.5:7860", "[::1]:7860", host, socket.gethostname()]
    assert [ask(host, host=name).status_code for name in served] == [200] * len(served)
    for name in ("evil.example", "evil.example:7860", "127.0.0.1.evil.example", "[", ""):
        refused = ask(host, host=name)
        assert refused.status_code == 421, name


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"origin": "http://127.0.0.1"}, 200),
        ({"origin": "https://faces.example", "x_forwarded_host": "faces.example"}, 200),  # behind a proxy
        ({"origin": "https://faces.example", "sec_fetch_site": "same-origin"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"origin": "http://localhost:3000", "sec_fetch_site": "same-site"}, 403),
    ],
)
def test_other_sites_cannot_post(uploads: Path, headers: dict[str, str], status: int) -> None:
    for path in ("/", "/upload"):
        assert ask("127.0.0.1", "POST", path, **headers).status_code == status
    assert len(list(uploads.iterdir())) == (2 if status == 200 else 0)


def test_only_the_hub_may_show_the_page_in_a_frame(uploads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("127.0.0.1").headers["content-security-policy"].endswith("frame-ancestors 'self'")
    monkeypatch.setenv("SPACE_ID", "analyst/faces")
    shown = ask("0.0.0.0", host="analyst-faces.hf.space")
    assert shown.status_code == 200
    assert shown.headers["content-security-policy"].endswith("frame-ancestors 'self' https://huggingface.co")
    asked = {"host": "analyst-faces.hf.space", "origin": "https://analyst-faces.hf.space"}
    assert ask("0.0.0.0", "POST", "/upload", **asked).status_code == 200
    assert ask("0.0.0.0", "POST", "/upload", **{**asked, "origin": "https://evil.example"}).status_code == 403


def test_total_size_of_uploads_is_limited(uploads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "MAX_STORED_BYTES", 4 * SIZE)
    statuses = [ask("127.0.0.1", "POST", "/upload").status_code for _ in range(6)]
    assert statuses == [200] * 4 + [503] * 2 and len(list(uploads.iterdir())) == 4
    assert ask("127.0.0.1", "POST", "/").status_code == 200
    for path in uploads.iterdir():
        path.unlink()
    for number in range(4 * SIZE // MIN_COUNTED_BYTES):
        (uploads / f"small-{number}").touch()
    assert ask("127.0.0.1", "POST", "/upload").status_code == 503  # small files are counted as larger ones
