"""Push files to the Hub in one commit, and report errors in one line that says what to do."""

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
TOKENS_PAGE: Final = "https://huggingface.co/settings/tokens"
CARD: Final = "README.md"

TRIES: Final = 2
"""How often a request is sent. Otherwise `huggingface_hub` retries for half a minute, and Xet's client for minutes."""
SECONDS_TO_CONNECT: Final = 3
XET_SETTINGS: Final = {
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": f"{TRIES - 1}",
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "1s",
    "HF_XET_CLIENT_CONNECT_TIMEOUT": f"{SECONDS_TO_CONNECT}s",
}
"""Environment variables for Xet's client, which uploads large files. Variables that are already set are not changed."""
XET_STATUS: Final = re.compile(r"HTTP status (?:client|server) error \((\d{3}) ")
"""The status code in the error messages of Xet's client."""

_AGAIN: Final = "push again: files that were uploaded completely are not sent a second time"
_CHANGED: Final = f"the repository was changed by something else at the same time; {_AGAIN}"
_REASONS: Final[dict[int, str]] = {
    401: f"the Hub does not know the token in {TOKEN_ENV}; create one with write permission ({TOKENS_PAGE}) and set it",
    403: f"the Hub forbids it ({{message}}); the token in {TOKEN_ENV} needs write permission there, and its account "
    "must be {namespace} or belong to it",
    404: "there is no such repository or branch, or the token has no permission to see it",
    409: _CHANGED,
    412: _CHANGED,
    429: f"the Hub accepts no more requests for now; wait some minutes, then {_AGAIN}",
}


def check_repo(repo: str) -> None:
    """Raise ValueError if `repo` is not the full name of a repository."""
    from huggingface_hub.utils import validate_repo_id

    if repo.count("/") != 1:
        raise ValueError(f"{repo}: expected USER/NAME or ORGANISATION/NAME")
    validate_repo_id(repo)


def token_for_pushing() -> str:
    """Return the token in the environment. Tokens in files are not used.

    Raises:
        ValueError: There is no token, or it contains characters that no token has.
    """
    token = secret(TOKEN_ENV)
    if not token:
        raise ValueError(f"{TOKEN_ENV} is not set; expected a token with write permission, see {TOKENS_PAGE}")
    return token


def check_token(repo: str) -> None:
    """Ask the Hub whether it knows the token. Call this first, because preparing a push may take long.

    Raises:
        ValueError: There is no token, or it contains characters that no token has.
        OSError: The Hub does not know it, or cannot be asked.
    """
    from huggingface_hub import HfApi

    token = token_for_pushing()
    with explain_hub_errors(repo):
        HfApi(token=token).whoami()


def push(
    repo: str,
    kind: RepoKind,
    files: Mapping[str, Path | bytes],
    replaceable: re.Pattern[str],
    *,
    upload_last: Collection[str] = (),
    private: bool = False,
    revision: str | None = None,
) -> str:
    """Push files in one commit, after creating the repository and the branch if necessary.

    Large files are uploaded first, except those that the Hub has already. The commit then changes all files at once.

    Args:
        repo: USER/NAME.
        kind: The type of the repository.
        files: The path in the repository → a file on disk, or its content.
        replaceable: The paths that an earlier push may have written. Those that are not in `files` are deleted, and all
            other files in the repository stay.
        upload_last: The paths of files that largely repeat the content of other files. They are uploaded after the
            others, so that Xet sends only the new content.
        private: Create a new repository as private. An existing repository must be private already.
        revision: A branch; None is the main branch.

    Returns:
        The URL of the commit.

    Raises:
        ValueError: There is no token or it is malformed, or the Hub does not accept the card.
        OSError: The Hub refuses the push, the connection breaks, or `private` is set and the repository is public.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token_for_pushing(), library_name="dfa-instruct")
    with explain_hub_errors(repo):
        sdk = "gradio" if kind == "space" else None
        api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True, space_sdk=sdk)
        if revision:
            api.create_branch(repo, branch=revision, repo_type=kind, exist_ok=True)
        before = cast("Info", api.repo_info(repo, repo_type=kind, revision=revision))
        if private and not before.private:
            raise PermissionError("is already public; make it private in its settings, or choose another name")
        others = {*api.list_repo_files(repo, repo_type=kind, revision=revision)} - {*files}
        additions = {name: CommitOperationAdd(name, content) for name, content in files.items()}
        if upload_last:
            first = [additions[name] for name in files if name not in upload_last]
            api.preupload_lfs_files(repo, first, repo_type=kind, revision=revision)
        deletions = [CommitOperationDelete(name) for name in sorted(others) if replaceable.fullmatch(name)]
        commit = api.create_commit(
            repo,
            [*deletions, *additions.values()],
            commit_message="Push by dfa-instruct" if kind == "dataset" else "Push by dfa-gpt",
            repo_type=kind,
            revision=revision,
            parent_commit=before.sha,
        )
    return str(commit.commit_url)


@contextmanager
def explain_hub_errors(repo: str) -> Iterator[None]:
    """Convert errors of the Hub and of the connection into an OSError that names the repository and says what to do.

    Errors come within seconds, because no request is sent more than `TRIES` times.
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
        reason, status, message = f"{error}", 0, f"{error}"
        if refused := next((e for e in chain if isinstance(e, HfHubHTTPError)), None):
            status, message = refused.response.status_code, refused.server_message or str(refused)
        elif found := XET_STATUS.search(reason):
            status = int(found[1])
        elif broken := next((e for e in chain if isinstance(e, httpx.TransportError)), None):
            reason = f"the connection to the Hub broke ({broken}); {_AGAIN}"
        elif "Network error" in reason:  # from Xet's client, whose errors have no class of their own
            reason = f"the connection to the Hub broke ({reason}); {_AGAIN}"
        if status in _REASONS:
            reason = _REASONS[status].format(message=message, namespace=repo.partition("/")[0])
        elif status:
            reason = f"the Hub answered {status}: {message}" + (f"; {_AGAIN}" if status >= 500 else "")
        if token := secret(TOKEN_ENV):
            reason = reason.replace(token, f"[{TOKEN_ENV}]")
        raise OSError(f"{repo}: {reason}") from error


@contextmanager
def _few_tries() -> Iterator[None]:
    """Stop `huggingface_hub` and Xet's client from sending a request more than `TRIES` times."""
    import httpx
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import hf_raise_for_status
    from huggingface_hub.utils._http import default_client_factory

    tries: Counter[str] = Counter()

    def before_request(request: httpx.Request) -> None:
        key = f"{request.method} {request.url}"
        tries[key] += 1
        if tries[key] > TRIES:
            raise httpx.TransportError(f"{TRIES} times in a row, at {request.url.path}")
        request.extensions["timeout"]["connect"] = SECONDS_TO_CONNECT

    def after_response(response: httpx.Response) -> None:
        key = f"{response.request.method} {response.request.url}"
        if response.status_code < 500 and response.status_code != 429:
            tries.pop(key, None)
        elif tries[key] == TRIES or response.status_code == 429:
            response.read()
            hf_raise_for_status(response)

    def create_client() -> httpx.Client:
        client = default_client_factory()
        requests = [*client.event_hooks["request"], before_request]
        client.event_hooks = {"request": requests, "response": [after_response]}
        return client

    for name, value in XET_SETTINGS.items():
        os.environ.setdefault(name, value)
    set_client_factory(create_client)
    try:
        yield
    finally:
        set_client_factory(default_client_factory)


def show(files: Mapping[str, Path | bytes]) -> None:
    """Print what a push would send: the names and sizes of the files, and the card."""
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
