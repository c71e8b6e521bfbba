"""A local OpenAI-compatible server whose answers come from a function.

`python speaking.py LOG` runs a server that answers every question with yes. It prints its address, and adds a line to
the file LOG for each answer.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Say = Callable[[dict[str, Any]], str | int | dict[str, Any]]
"""A function from the body of a request to the answer: a text, a message, or an HTTP status.

A message may also have `finish_reason`, `logprobs` and `system_fingerprint`; an error has `status` and `error`.
"""


def question(body: dict[str, Any]) -> str:
    """Return the last question of a request."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


@contextmanager
def speaking(say: Say, models: Sequence[dict[str, Any]] = ()) -> Iterator[str]:
    """Serve in a thread and yield the address; `models` are the entries of the list of models."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = say({**body, "headers": {name.title(): value for name, value in self.headers.items()}})
            status = said if isinstance(said, int) else 200
            message = {"content": said} if isinstance(said, str) else {} if isinstance(said, int) else dict(said)
            choice = {name: message.pop(name, None) for name in ("finish_reason", "logprobs")}
            answer: dict[str, Any] = {"system_fingerprint": message.pop("system_fingerprint", None)}
            answer["choices"] = [{"index": 0, **choice, "message": {"role": "assistant", **message}}]
            if status != 200 or "error" in message:
                status = message.get("status", status)
                answer = {"error": {"message": message.get("error", "no"), "code": None}}
            self.send(status, answer)

        def do_GET(self) -> None:
            self.send(200 if models else 404, {"data": list(models)})

        def send(self, status: int, answer: dict[str, Any]) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":

    def yes(body: dict[str, Any]) -> str:
        time.sleep(0.1)
        with Path(sys.argv[1]).open("a") as log:
            log.write("answered\n")
        return "Yes"

    with speaking(yes) as address:
        print(address, flush=True)
        threading.Event().wait()
