"""A double of the Hub on a local port. The unmodified `huggingface_hub` connects to it through `HF_ENDPOINT`.

It implements the requests of pushes and loads: repositories, branches, uploads of large files by Xet and git LFS,
commits, trees, and files with their ETags and ranges. `Hub.disturb` makes requests fail.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn
from card_schema import problems
from hub_store import LARGE, READ_TOKEN, TOKEN, USER, XET_TOKEN, Blob, RefusalError, Repository, Store, tree
from hub_xet import chunks_of, files_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KINDS = {"dataset": "/datasets", "model": "", "space": "/spaces"}
"""The types of repositories → the beginning of their URLs."""


@dataclass
class Fault:
    """A disturbance of the next `times` matching requests: an error, or a connection that breaks within the body."""

    pattern: re.Pattern[str]
    times: int
    status: int | None = None
    happened: threading.Event = field(default_factory=threading.Event)


@dataclass
class Hub:
    """The running double with its URL, its content and the requests it received."""

    store: Store = field(default_factory=Store)
    requests: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    """The SHA-256 of every file received by LFS and the hash of every block received by Xet, with repetitions."""
    xorbs: dict[str, list[bytes]] = field(default_factory=dict)
    """The chunks of every block received by Xet, by its hash."""
    endpoint: str = ""

    def disturb(self, pattern: str, status: int | None = None, times: int = 100) -> threading.Event:
        """Answer requests whose "METHOD /path" matches with an error, or without a status break the connection.

        Returns:
            An event that is set when it has happened.
        """
        self.faults.append(Fault(re.compile(pattern), times, status))
        return self.faults[-1].happened

    def repository(self, kind: str, name: str) -> Repository:
        return self.store.repositories[kind, f"{USER}/{name}"]

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Record a request, and disturb it or handle it."""
        if scope["type"] != "http":
            return
        line = f"{scope['method']} {scope['path']}"
        self.requests.append(line)
        fault = next((f for f in self.faults if f.times > 0 and f.pattern.search(line)), None)
        if fault is None:
            scope["path"] = scope["raw_path"].decode()  # keeps the slash in the name of a branch escaped
            await self.app(scope, receive, send)
            return
        fault.times -= 1
        if fault.status is None:
            await receive()  # the first piece of the body
            receive.__self__.transport.abort()
            fault.happened.set()
            return
        while (await receive()).get("more_body"):
            pass
        await JSONResponse({"error": f"made to order: {fault.status}"}, fault.status)(scope, receive, send)
        fault.happened.set()

    def __post_init__(self) -> None:
        of_repository = [
            ("POST", "/preupload/{revision}", self.preupload),
            ("POST", "/commit/{revision}", self.commit),
            ("POST", "/branch/{branch}", self.branch),
            ("GET", "/xet-write-token/{revision}", self.xet_token),
            ("GET", "/tree/{revision}", self.tree),
            ("GET", "/tree/{revision}/{path:path}", self.tree),
            ("POST", "/paths-info/{revision}", self.paths_info),
            ("GET", "/revision/{revision}", self.info),
            ("GET", "", self.info),
        ]
        routes = [
            Route("/api/whoami-v2", self.whoami),
            Route("/api/validate-yaml", self.validate_yaml, methods=["POST"]),
            Route("/api/repos/create", self.create, methods=["POST"]),
            Route("/lfs/{sha256}", self.receive_object, methods=["PUT"]),
            Route("/lfs/{sha256}/verify", self.verify_object, methods=["POST"]),
            Route("/cas/v1/xorbs/default/{hash}", self.receive_xorb, methods=["POST"]),
            Route("/cas/v1/shards", self.receive_shard, methods=["POST"]),
            *(
                Route(f"/api/{kind}s/{{owner}}/{{name}}{path}", run, methods=[method], name=kind)
                for kind in KINDS
                for method, path, run in of_repository
            ),
        ]
        for kind, prefix in KINDS.items():
            where = f"{prefix}/{{owner}}/{{name}}"
            routes.append(Route(f"{where}.git/info/lfs/objects/batch", self.batch, methods=["POST"], name=kind))
            routes.append(Route(f"{where}/resolve/{{revision}}/{{path:path}}", self.resolve, name=kind))
        self.app = Starlette(routes=routes, exception_handlers={RefusalError: self.refuse})

    async def refuse(self, request: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, RefusalError)
        headers = {"X-Error-Message": refusal.message, **({"X-Error-Code": refusal.code} if refusal.code else {})}
        return JSONResponse({"error": refusal.message}, refusal.status, headers)

    def token(self, request: Request, write: bool = False) -> str | None:
        """Return the token of a request; only requests that write need one."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ") or None
        if token not in (TOKEN, READ_TOKEN, None) or (write and token is None):
            raise RefusalError(401, "Invalid credentials in Authorization header")
        if write and token == READ_TOKEN:
            raise RefusalError(403, "This token has no write permission")
        return token

    async def whoami(self, request: Request) -> Response:
        if self.token(request) is None:
            raise RefusalError(401, "Invalid credentials in Authorization header")
        return JSONResponse({"type": "user", "name": USER, "orgs": []})

    def find(self, request: Request, write: bool = False) -> Repository:
        path = request.url.path.removeprefix("/api")
        kind = next((kind for kind in ("dataset", "space") if path.startswith(f"/{kind}s/")), "model")
        id = f"{request.path_params['owner']}/{request.path_params['name']}"
        return self.store.find(kind, id, self.token(request, write))

    def commit_of(self, request: Request) -> Any:
        return self.find(request).commit_of(unquote(request.path_params.get("revision", "main")))

    async def validate_yaml(self, request: Request) -> Response:
        asked = await request.json()
        found = [{"message": problem} for problem in problems(asked["content"], asked["repoType"])]
        return JSONResponse({"errors": found, "warnings": []}, 400 if found else 200)

    async def create(self, request: Request) -> Response:
        self.token(request, write=True)
        asked = await request.json()
        kind, owner = asked.get("type", "model"), asked.get("organization") or USER
        private = asked.get("visibility") == "private" or asked.get("private", False)
        answer: dict[str, str] = {"name": f"{owner}/{asked['name']}"}
        answer["url"] = f"{self.endpoint}{KINDS[kind]}/{answer['name']}"
        if kind == "space" and not asked.get("sdk"):
            raise RefusalError(400, "A Space needs an SDK")
        try:
            self.store.create(kind, owner, asked["name"], private)
        except RefusalError as refusal:
            if refusal.status != 409:
                raise
            return JSONResponse({**answer, "error": refusal.message}, 409)
        return JSONResponse(answer)

    async def branch(self, request: Request) -> Response:
        repository, name = self.find(request, write=True), unquote(request.path_params["branch"])
        if name in repository.branches:
            raise RefusalError(409, f"Reference already exists: {name}")
        repository.branches[name] = repository.branches["main"]
        return JSONResponse({})

    async def preupload(self, request: Request) -> Response:
        head = self.find(request, write=True).commit_of(unquote(request.path_params["revision"]))
        answers = []
        for file in (await request.json())["files"]:
            before = head.files.get(file["path"])
            mode = "lfs" if file["path"].endswith(LARGE) else "regular"
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
            answers[-1] |= {"oid": before.etag} if before else {}
        return JSONResponse({"files": answers})

    async def batch(self, request: Request) -> Response:
        self.find(request, write=True)
        objects = []
        for wanted in (await request.json())["objects"]:
            upload = {"href": f"{self.endpoint}/lfs/{wanted['oid']}", "header": {}}
            actions = {"upload": upload, "verify": {**upload, "href": f"{upload['href']}/verify"}}
            known = wanted["oid"] in self.store.objects
            objects.append(wanted if known else {**wanted, "actions": actions})
        return JSONResponse({"transfer": "basic", "objects": objects}, media_type="application/vnd.git-lfs+json")

    async def receive_object(self, request: Request) -> Response:
        blob = Blob(await request.body(), True)
        if blob.sha256 != request.path_params["sha256"]:
            raise RefusalError(400, "not the file of this hash")
        self.store.objects[blob.sha256] = blob.content
        self.uploads.append(blob.sha256)
        return Response(status_code=200)

    async def verify_object(self, request: Request) -> Response:
        self.token(request, write=True)
        if request.path_params["sha256"] not in self.store.objects:
            raise RefusalError(404, "no such object")
        return JSONResponse({})

    async def xet_token(self, request: Request) -> Response:
        self.find(request, write=True)
        lease = {"casUrl": f"{self.endpoint}/cas", "accessToken": XET_TOKEN, "exp": int(time.time()) + 600}
        return JSONResponse(lease)

    async def receive_xorb(self, request: Request) -> Response:
        self.check_xet_token(request)
        self.uploads.append(request.path_params["hash"])
        self.xorbs[self.uploads[-1]] = chunks_of(await request.body())
        return JSONResponse({"was_inserted": True})

    async def receive_shard(self, request: Request) -> Response:
        self.check_xet_token(request)
        for sha256, content in files_of(await request.body(), self.xorbs):
            self.store.objects[sha256] = content
        return JSONResponse({"result": 1})

    def check_xet_token(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {XET_TOKEN}":
            raise RefusalError(401, "not a token of this store")

    async def commit(self, request: Request) -> Response:
        repository = self.find(request, write=True)
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        made = self.store.commit(repository, unquote(request.path_params["revision"]), lines)
        url = f"{self.endpoint}/{repository.id}/commit/{made.oid}"
        return JSONResponse({"success": True, "commitOid": made.oid, "commitUrl": url})

    async def info(self, request: Request) -> Response:
        repository, commit = self.find(request), self.commit_of(request)
        siblings = [{"rfilename": path, **blob.about(blobId=blob.oid)} for path, blob in sorted(commit.files.items())]
        about = {"id": repository.id, "sha": commit.oid, "private": repository.private, "siblings": siblings}
        return JSONResponse({**about, "tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False})

    async def tree(self, request: Request) -> Response:
        recursive = request.query_params.get("recursive", "").lower() in ("true", "1")
        return JSONResponse(tree(self.commit_of(request), unquote(request.path_params.get("path", "")), recursive))

    async def paths_info(self, request: Request) -> Response:
        asked = parse_qs((await request.body()).decode())["paths"]
        entries = {entry["path"]: entry for entry in tree(self.commit_of(request), "", recursive=True)}
        return JSONResponse([entries[path] for path in asked if path in entries])

    async def resolve(self, request: Request) -> Response:
        commit, path = self.commit_of(request), unquote(request.path_params["path"])
        headers = {"X-Repo-Commit": commit.oid}
        if path not in commit.files:
            return Response(status_code=404, headers={**headers, "X-Error-Code": "EntryNotFound"})
        blob = commit.files[path]
        content, status = blob.content, 200
        headers |= {"ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
        if blob.large:
            headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(content))}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        return Response(content, status, headers, media_type="application/octet-stream")


@contextmanager
def running() -> Iterator[Hub]:
    """Run a double on a free local port until the block ends."""
    hub = Hub()
    server = uvicorn.Server(uvicorn.Config(hub, "127.0.0.1", 0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the Hub double did not start"
    hub.endpoint = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield hub
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
