"""The content of the Hub double: repositories with branches and commits, and the large files that were uploaded."""

from __future__ import annotations

import base64
import hashlib
import itertools
from dataclasses import dataclass, field
from typing import Any

USER = "analyst"
TOKEN = "hf_double_of_a_token_that_may_write"
READ_TOKEN = "hf_double_of_a_token_that_may_read"
XET_TOKEN = "short-lived"
"""The token for the store of large files, which the Hub gives to users with write permission."""
LARGE = (".parquet", ".safetensors", ".png")
"""The extensions of large files in the Hub's `.gitattributes`."""


class RefusalError(Exception):
    """A request that the Hub answers with an error."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class Blob:
    """The content of a file. A large file is a pointer with its SHA-256 in git."""

    content: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        kept = pointer.encode() if self.large else self.content
        return hashlib.sha1(f"blob {len(kept)}\0".encode() + kept).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.oid

    def about(self, hash_key: str = "sha256", **extra: str) -> dict[str, Any]:
        size = len(self.content)
        lfs = {"lfs": {hash_key: self.sha256, "size": size, "pointerSize": 134}} if self.large else {}
        return {"size": size, **extra, **lfs}


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    files: dict[str, Blob]


@dataclass
class Repository:
    kind: str
    id: str
    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def commit_of(self, revision: str) -> Commit:
        oid = self.branches.get(revision, revision)
        if oid not in self.commits:
            raise RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def add(self, branch: str, title: str, files: dict[str, Blob]) -> Commit:
        parent = self.branches.get(branch)
        names = [f"{path} {blob.oid}" for path, blob in sorted(files.items())]
        oid = hashlib.sha1("\n".join([str(parent), title, *names]).encode()).hexdigest()
        self.commits[oid] = Commit(oid, parent, title, files)
        self.branches[branch] = oid
        return self.commits[oid]

    def log(self, branch: str = "main") -> list[Commit]:
        """Return the commits of a branch, the newest first. The Hub itself creates the first commit."""
        commits, oid = [], self.branches.get(branch)
        while oid:
            commits.append(self.commits[oid])
            oid = commits[-1].parent
        return commits


@dataclass
class Store:
    """All repositories, and the large files, which belong to no repository until they are committed."""

    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)

    def create(self, kind: str, owner: str, name: str, private: bool) -> Repository:
        if owner != USER:
            raise RefusalError(403, f"You don't have the rights to create a {kind} under the namespace {owner!r}")
        if (kind, f"{owner}/{name}") in self.repositories:
            raise RefusalError(409, f"You already created this {kind} repo")
        made = self.repositories[kind, f"{owner}/{name}"] = Repository(kind, f"{owner}/{name}", private)
        made.add("main", "initial commit", {".gitattributes": Blob(b"*.parquet filter=lfs\n", False)})
        return made

    def find(self, kind: str, id: str, token: str | None) -> Repository:
        found = self.repositories.get((kind, id))
        if found is None or (found.private and token is None):
            raise RefusalError(404 if token else 401, "Repository not found", "RepoNotFound")
        return found

    def commit(self, repository: Repository, branch: str, lines: list[dict[str, Any]]) -> Commit:
        """Apply all operations of one commit, or none of them."""
        header, *operations = lines
        head = repository.commit_of(branch)
        if header["value"].get("parentCommit") not in (None, head.oid):
            raise RefusalError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for key, value in ((line["key"], line["value"]) for line in operations):
            path = value["path"]
            if key == "file":
                files[path] = Blob(base64.b64decode(value["content"]), False)
            elif key == "lfsFile" and value["oid"] in self.objects:
                files[path] = Blob(self.objects[value["oid"]], True)
            elif key == "deletedFile" and path in files:
                del files[path]
            else:
                raise RefusalError(400, f"{key} {path}: it was not uploaded or does not exist")
        return repository.add(branch, header["value"]["summary"], files)


def tree(commit: Commit, below: str, recursive: bool) -> list[dict[str, Any]]:
    """Return the files and folders below a folder."""
    prefix = f"{below}/" if below else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, blob in sorted(commit.files.items()):
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        for folder in itertools.accumulate(parts[:-1], "{}/{}".format) if recursive else parts[:-1][:1]:
            name = prefix + folder
            oid = hashlib.sha1(name.encode()).hexdigest()
            entries[name] = {"type": "directory", "path": name, "size": 0, "oid": oid}
        if recursive or len(parts) == 1:
            entries[path] = blob.about("oid", type="file", path=path, oid=blob.oid)
    if below and not entries:
        raise RefusalError(404, f"{below} does not exist", "EntryNotFound")
    return list(entries.values())
