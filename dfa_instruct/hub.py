"""Pushing to the Hub by `huggingface_hub`: all files in one commit, and errors as one line that says what to do."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from dfa_instruct.environment import secret

if TYPE_CHECKING:
    import httpx
    from huggingface_hub import DatasetInfo, ModelInfo, SpaceInfo

    Info = DatasetInfo | ModelInfo | SpaceInfo

RepoKind = Literal["dataset", "model", "space"]
TOKEN_ENV: Final = "HF_TOKEN"
CARD: Final = "README.md"

TRIES: Final = 2
"""How often a request is sent; `huggingface_hub` alone would try for half a minute, and Xet's client for minutes."""
SECONDS_TO_CONNECT: Final = 3
XET_SETTINGS: Final = {
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": f"{TRIES - 1}",
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "1s",
    "HF_XET_CLIENT_CONNECT_TIMEOUT": f"{SECONDS_TO_CONNECT}s",
}
"""What its client, which large files go by, reads from the environment; a value that stands there is left."""
XET_STATUS: Final = re.compile(r"HTTP status (?:client|server) error \((\d{3}) ")
"""In the message of an error of Xet's client."""

_AGAIN: Final = "push again: files that have arrived whole are not sent a second time"
_REASONS: Final[dict[int, str]] = {
    401: f"the Hub does not know the token in {TOKEN_ENV}; make one that may write "
    "(https://huggingface.co/settings/tokens) and set it",
    403: f"the Hub forbids it ({{said}}); the token in {TOKEN_ENV} needs the permission to write there, and its "
    "account must be, or belong to, {namespace}",
    404: "there is no such repository or branch, or the token may not see it",
    409: f"something else changed it at the same time; {_AGAIN}",
    412: f"something else changed it at the same time; {_AGAIN}",
    429: f"the Hub takes no more requests for now; wait some minutes, then {_AGAIN}",
}


def check_repo(repo: str) -> None:
    """Raise ValueError where `repo` is not the full name of a repository."""
    from huggingface_hub.utils import validate_repo_id

    if repo.count("/") != 1:
        raise ValueError(f"{repo}: expected USER/NAME or ORGANISATION/NAME")
    validate_repo_id(repo)


def token_for_pushing() -> str:
    """Return the token of the environment; one that lies in a file is not taken.

    Raises:
        ValueError: there is none, or it holds what no token holds.
    """
    token = secret(TOKEN_ENV)
    if not token:
        raise ValueError(
            f"{TOKEN_ENV} is not set; expected a token that may write, see https://huggingface.co/settings/tokens"
        )
    return token


def check_token(repo: str) -> None:
    """Ask the Hub whether it knows the token, before a push is prepared, which may take long.

    Raises:
        ValueError: there is no token.
        OSError: the Hub does not know it, or cannot be asked.
    """
    from huggingface_hub import HfApi

    token = token_for_pushing()
    with saying_what_to_do(repo):
        HfApi(token=token).whoami()


def push(
    repo: str,
    kind: RepoKind,
    files: Mapping[str, Path | bytes],
    ours: re.Pattern[str],
    *,
    repeating: Collection[str] = (),
    private: bool = False,
    revision: str | None = None,
) -> str:
    """Push files in one commit, and make the repository and the branch where they are missing.

    Large files are sent first, and those that the Hub has are not sent again; then all stand there at once, or nothing
    has changed. What else stands in the repository is left alone.

    Args:
        repo: USER/NAME.
        kind: what the repository is of.
        files: path in the repository → a file on the disk, or its content.
        ours: the names that an earlier push may have written; those that are in this one no more are deleted by it.
        repeating: those that hold much of what others hold; they go after them, and Xet sends what is new of them.
        private: others may not see it.
        revision: a branch; else main.

    Returns:
        The address of the commit.

    Raises:
        ValueError: there is no token, or the Hub does not accept the card.
        OSError: the Hub refuses it, or the connection breaks.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token_for_pushing(), library_name="dfa-instruct")
    with saying_what_to_do(repo):
        sdk = "gradio" if kind == "space" else None
        api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True, space_sdk=sdk)
        if revision:
            api.create_branch(repo, branch=revision, repo_type=kind, exist_ok=True)
        before = cast("Info", api.repo_info(repo, repo_type=kind, revision=revision))
        if private and not before.private:
            raise PermissionError("is public already; make it private in its settings, or name another one")
        left = {*api.list_repo_files(repo, repo_type=kind, revision=revision)} - {*files}
        added = {name: CommitOperationAdd(name, content) for name, content in files.items()}
        if repeating:
            first = [added[name] for name in files if name not in repeating]
            api.preupload_lfs_files(repo, first, repo_type=kind, revision=revision)
        commit = api.create_commit(
            repo,
            [*(CommitOperationDelete(name) for name in sorted(left) if ours.fullmatch(name)), *added.values()],
            commit_message="Push by dfa-instruct" if kind == "dataset" else "Push by dfa-gpt",
            repo_type=kind,
            revision=revision,
            parent_commit=before.sha,
        )
    return str(commit.commit_url)


@contextmanager
def saying_what_to_do(repo: str) -> Iterator[None]:
    """Turn an error of the Hub, or of the way to it, into an OSError that names the repository and says what to do.

    The error comes within seconds: no request is sent more than `TRIES` times.
    """
    import httpx
    from huggingface_hub.utils import HfHubHTTPError

    try:
        with _few_tries():
            yield
    except (OSError, RuntimeError, httpx.HTTPError) as error:
        chain = [error]
        while cause := chain[-1].__cause__:
            chain.append(cause)  # type: ignore[arg-type]
        reason, status, said = f"{error}", 0, f"{error}"
        if refused := next((e for e in chain if isinstance(e, HfHubHTTPError)), None):
            status, said = refused.response.status_code, refused.server_message or str(refused)
        elif found := XET_STATUS.search(reason):
            status = int(found[1])
        elif broken := next((e for e in chain if isinstance(e, httpx.TransportError)), None):
            reason = f"the connection to the Hub broke ({broken}); {_AGAIN}"
        elif "Network error" in reason:  # of Xet's client, whose errors have no class of their own
            reason = f"the connection to the Hub broke ({reason}); {_AGAIN}"
        if status in _REASONS:
            reason = _REASONS[status].format(said=said, namespace=repo.partition("/")[0])
        elif status:
            reason = f"the Hub answered {status}: {said}" + (f"; {_AGAIN}" if status >= 500 else "")
        token = secret(TOKEN_ENV)
        shown = reason.replace(token, f"[{TOKEN_ENV}]") if token else reason
        raise OSError(f"{repo}: {shown}") from error


@contextmanager
def _few_tries() -> Iterator[None]:
    """Let `huggingface_hub` and Xet's client send no request more than `TRIES` times."""
    import httpx
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import hf_raise_for_status
    from huggingface_hub.utils._http import default_client_factory

    tries: Counter[str] = Counter()

    def before(request: httpx.Request) -> None:
        tries[f"{request.method} {request.url}"] += 1
        if tries[f"{request.method} {request.url}"] > TRIES:
            raise httpx.TransportError(f"{TRIES} times in a row, at {request.url.path}")
        request.extensions["timeout"]["connect"] = SECONDS_TO_CONNECT

    def after(response: httpx.Response) -> None:
        request = f"{response.request.method} {response.request.url}"
        if response.status_code < 500 and response.status_code != 429:
            tries.pop(request, None)
        elif tries[request] == TRIES or response.status_code == 429:
            response.read()
            hf_raise_for_status(response)

    def client() -> httpx.Client:
        made = default_client_factory()
        made.event_hooks = {"request": [*made.event_hooks["request"], before], "response": [after]}
        return made

    for name, value in XET_SETTINGS.items():
        os.environ.setdefault(name, value)
    set_client_factory(client)
    try:
        yield
    finally:
        set_client_factory(default_client_factory)


def show(files: Mapping[str, Path | bytes]) -> None:
    """Print what a push would send: names, sizes, and the card."""
    from rich.console import Console
    from rich.table import Table

    sizes = {name: len(file) if isinstance(file, bytes) else file.stat().st_size for name, file in files.items()}
    table = Table(show_footer=True)
    table.add_column("file", footer=f"{len(sizes)} files")
    table.add_column("bytes", justify="right", footer=f"{sum(sizes.values()):,}")
    for name, size in sizes.items():
        table.add_row(name, f"{size:,}")
    Console().print(table)
    card = files[CARD]
    print(card.decode() if isinstance(card, bytes) else card.read_text(encoding="utf-8"))
