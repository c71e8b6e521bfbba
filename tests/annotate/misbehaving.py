"""An OpenAI-compatible server for chat completions, files and batches that misbehaves on demand.

As a script, it prints its address and serves until it is killed: `python misbehaving.py '{"plan": ["500", "ok"]}'`.
Its log has one line for each request and one for each answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

SILENCE = 30.0
CLAIMS = [
    {"region": "mouth", "artifact": "colour", "sentence": "The lips have a colour that does not fit this face."},
    {"region": "eyes", "artifact": "geometry", "sentence": "The eyes are larger than they would be in life."},
    {"region": "cheeks", "artifact": "texture", "sentence": "The skin of the cheeks has no pores."},
]
TURNS = [
    {"question": f"What can you tell me about the {what}?", "answer": f"The {what} is what I looked at, and it is odd."}
    for what in ("mouth", "nose", "light", "background")
]
ANSWERS = {"ad": {"artifacts": CLAIMS}, "fc": {"turns": TURNS}}
SPANISH = {
    "ad": {"artifacts": [{**CLAIMS[0], "sentence": "Los labios tienen un color que no encaja con la cara."}]},
    "fc": {
        "turns": [{"question": f"¿Qué se ve en la parte {n} de la cara?", "answer": "Nada raro."} for n in range(4)]
    },
}


USAGES: dict[str, Any] = {"no_usage": None, "negative": {"prompt_tokens": -(10**9)}, "huge": {"prompt_tokens": 10**30}}
"""Steps with a correct answer whose tokens are counted wrongly or not at all."""


@dataclass
class Misbehaviour:
    """How the server responds to each question: with the steps of `plan` in order; the last step is repeated.

    With `random`, each question has its own plan: random steps, then `ok`.
    """

    plan: list[str] = field(default_factory=lambda: ["ok"])
    random: list[str] = field(default_factory=list)
    delay: float = 0.0
    retry_after: str = "0.2"
    structured: bool = True
    log: str = ""
    polls: int = 1
    """The number of polls for which a batch is in progress."""
    silent_start: bool = False
    """Whether the server starts a batch without responding."""
    batches: bool = True


class State:
    """What the server has received; `asked` and `answered` count questions by their digest."""

    def __init__(self, behaviour: Misbehaviour) -> None:
        self.behaviour = behaviour
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: dict[str, dict[str, Any]] = {}
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}

    def step(self, digest: str) -> str:
        plan = self.behaviour.plan
        if self.behaviour.random:
            draw = random.Random(digest)
            plan = [draw.choice(self.behaviour.random) for _ in range(draw.randint(0, 2))] + ["ok"]
        return plan[min(self.asked[digest] - 1, len(plan) - 1)]

    def log(self, kind: str, digest: str) -> None:
        if self.behaviour.log:
            with Path(self.behaviour.log).open("a") as log:
                log.write(f"{kind} {digest}\n")


def digest_of(body: dict[str, Any]) -> str:
    """Return a hash of a question's first message, which stays the same when the question is repeated."""
    return hashlib.sha256(json.dumps(body["messages"][0]).encode()).hexdigest()[:16]


def completion(text: str | None, **message: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None, **message}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


def error(status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "code": code}}, status, headers)


def ability_of(body: dict[str, Any]) -> str:
    return "fc" if isinstance(body["messages"][0]["content"], str) else "ad"


def answer(step: str, ability: str) -> dict[str, Any]:
    """Return the completion for a step of a plan."""
    right = json.dumps(ANSWERS[ability])
    key = "artifacts" if ability == "ad" else "turns"
    texts = {
        "ok": right,
        "fenced": f"Certainly!\n```json\n{right}\n```",
        "truncated": right[: len(right) // 2],
        "prose": "The mouth of this person looks odd to me, and so do the eyes.",
        "turns": json.dumps({key: ANSWERS[ability][key][:1] * 3}),
        "spanish": json.dumps(SPANISH[ability], ensure_ascii=False),
        "half_emoji": f"\ud83d {right}",
        "unprintable": right.replace("The ", "\\ud83d\\u001b\\u0000The \\u202e"),
        "sorry": "I'm sorry, but I can't help with pictures of people.",
    }
    return completion(None, refusal="I will not do this.") if step == "refusal" else completion(texts[step])


def app(state: State) -> Starlette:
    async def complete(request: Request) -> Response:
        body = await request.json()
        digest = digest_of(body)
        state.asked[digest] += 1
        state.times.append(time.monotonic())
        state.bodies[digest] = body
        state.headers.append(dict(request.headers))
        state.log("asked", digest)
        step = state.step(digest)
        if state.behaviour.delay:
            await asyncio.sleep(state.behaviour.delay)
        if "response_format" in body and not state.behaviour.structured:
            state.asked[digest] -= 1
            return error(400, "response_format: this server knows no json_schema")
        if step == "429":
            return error(429, "too many requests", "rate_limit_exceeded", {"retry-after": state.behaviour.retry_after})
        if step == "500":
            return error(500, f"the key {request.headers.get('authorization')} met an error")
        if step in ("401", "402", "404", "413"):
            return error(int(step), "no such key or model")
        if step == "403":
            return JSONResponse({"error": "not served in this country"}, 403)
        if step == "policy":
            return error(400, "this picture is against our policy", "content_policy_violation")
        if step == "silence":
            await asyncio.sleep(SILENCE)
            return error(503, "too late")
        if step == "reset":
            request.scope["extensions"]["transport"].abort()
            return Response()
        if step == "no_completion":
            return JSONResponse({"hello": "world"})
        if step == "error":
            return JSONResponse({"error": {"message": "the model is overloaded"}})
        if step == "half":
            return PlainTextResponse('{"choices": [{"mess', media_type="application/json")
        state.answered[digest] += 1
        state.log("answered", digest)
        given = answer("ok" if step in USAGES else step, ability_of(body))
        given["usage"] = USAGES.get(step, given["usage"])
        return Response(json.dumps(given), media_type="application/json")

    async def upload(request: Request) -> Response:
        if not state.behaviour.batches:
            return error(404, "no such path")
        name = f"file-{len(state.files)}"
        state.files[name] = await (await request.form())["file"].read()
        return JSONResponse({"id": name})

    async def start(request: Request) -> Response:
        batch = {"id": f"batch-{len(state.batches)}", "status": "in_progress"}
        state.batches[batch["id"]] = {**await request.json(), **batch, "polls": state.behaviour.polls}
        if state.behaviour.silent_start:
            await asyncio.sleep(SILENCE)
        return JSONResponse(state.batches[batch["id"]])

    async def listed(request: Request) -> Response:
        return JSONResponse({"data": [*state.batches.values()], "has_more": False})

    async def poll(request: Request) -> Response:
        batch = state.batches[request.path_params["batch"]]
        batch["polls"] -= 1
        if batch["polls"] < 0 and batch["status"] == "in_progress":
            lines = [finish(json.loads(line)) for line in state.files[batch["input_file_id"]].splitlines()]
            batch["output_file_id"] = f"file-{len(state.files)}"
            state.files[batch["output_file_id"]] = "".join(f"{json.dumps(line)}\n" for line in lines if line).encode()
            batch["status"] = "completed"
        return JSONResponse(batch)

    def finish(line: dict[str, Any]) -> dict[str, Any] | None:
        digest = digest_of(line["body"])
        state.asked[digest] += 1
        state.bodies[digest] = line["body"]
        step = state.step(digest)
        if step == "lost":
            return None
        state.answered[digest] += 1
        if step == "500":
            return {"custom_id": line["custom_id"], "response": {"status_code": 500, "body": {}}, "error": None}
        body = answer(step, ability_of(line["body"]))
        return {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}

    async def content(request: Request) -> Response:
        return Response(state.files[request.path_params["file"]], media_type="application/octet-stream")

    return Starlette(
        routes=[
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/v1/files", upload, methods=["POST"]),
            Route("/v1/files/{file}/content", content),
            Route("/v1/batches", start, methods=["POST"]),
            Route("/v1/batches", listed),
            Route("/v1/batches/{batch}", poll),
        ]
    )


class Protocol(H11Protocol):
    """Gives a request access to its connection, so that it can be dropped."""

    def handle_events(self) -> None:
        super().handle_events()
        if self.scope:
            self.scope.setdefault("extensions", {})["transport"] = self.transport


@contextmanager
def serving(state: State) -> Iterator[str]:
    """Serve in a thread, and yield the base URL for clients."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app(state), log_level="error", http=Protocol, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(5)
        listener.close()


if __name__ == "__main__":
    with serving(State(Misbehaviour(**json.loads(sys.argv[1])))) as address:
        print(address, flush=True)
        threading.Event().wait()
