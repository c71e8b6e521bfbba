"""Annotating the faces of a dataset folder by a language model: what is missing is asked, then held against the pixels.

dfa-instruct annotate runs/mine/dfa-instruct --ability ad --model gpt-4o --dry-run
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from filelock import FileLock, Timeout
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from dfa_instruct.annotate.asking import Asking, is_missing
from dfa_instruct.annotate.batch import Batches
from dfa_instruct.annotate.faces import Faces, face_of
from dfa_instruct.annotate.from_store import Stored, Ungrounded
from dfa_instruct.annotate.grounding import ground_missing
from dfa_instruct.annotate.prices import Estimate, Price, Purse, price
from dfa_instruct.annotate.prompts import conversation_request, description_request, prompt
from dfa_instruct.annotate.store import Request, Store, store_path
from dfa_instruct.records import Artifact
from dfa_instruct.vlm.client import Server

REASONS: Final = 8
"""Why requests were marked: so many reasons are printed."""
Asked = Literal["ad", "fc"]


@dataclass(frozen=True)
class Settings:
    """What a run is told: see the options of `dfa-instruct annotate`."""

    ability: Asked
    model: str
    base_url: str | None = None
    compared: float = 0.5
    ungrounded: Ungrounded = "drop"
    concurrency: int = 16
    limit: int | None = None
    budget: float | None = None
    prices: Path | None = None
    timeout: float = 120.0
    batch: bool = False
    dry_run: bool = False


def annotate(folder: Path, settings: Settings) -> str:
    """Ask what is missing, ground what was described, and print what became of it; or only say what it would cost.

    Returns:
        Why not all was answered; empty: all was.

    Raises:
        FileNotFoundError: the folder holds no dataset.
        ValueError: there is no key, or no price to keep to a budget by, or a prompt has changed within its version.
        UnavailableError: the server answers nothing.
    """
    faces = Faces(folder)
    cost = price(settings.model, settings.prices, settings.batch)
    if settings.budget is not None and cost is None:
        raise ValueError(f"--budget needs the price of {settings.model!r}: give it in a file by --prices")
    server = None if settings.dry_run else Server(settings.model, settings.base_url, settings.timeout)
    path = store_path(folder)
    with ExitStack() as stack:
        if server is not None:
            stack.enter_context(_alone(path))
        store = stack.enter_context(Store(Path(":memory:") if settings.dry_run and not path.exists() else path))
        for name in ("ad_alone", "ad_compared", "fc") if server is not None else ():
            store.keep_prompt(prompt(name).version, prompt(name).text.template)
        if server is not None:
            store.release_unsent()
        estimate = Estimate(store, settings.model)
        planned = _plan(_requests(faces, store, settings), store, estimate)
        _print_plan(planned, cost)
        if server is None:
            return ""
        missing = sum(count for count, _, _ in planned.values())
        waiting = settings.batch and store.open_batches()
        stopped = _ask(faces, store, server, settings, cost, estimate, missing) if missing or waiting else ""
        ground_missing(faces, store)
        _print_outcome(store, settings)
        return stopped or _left(_requests(faces, store, settings), store)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from asking the same.

    Raises:
        FileExistsError: one is at it.
    """
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=0):
            yield
    except Timeout as error:
        raise FileExistsError(f"{path}: another process is annotating this dataset") from error


def _requests(faces: Faces, store: Store, settings: Settings) -> Iterator[Request]:
    """Yield what is to be known of the folder's faces, whether it was asked before or not."""
    every = _descriptions(faces, settings) if settings.ability == "ad" else _conversations(faces, store, settings)
    yield from islice(every, settings.limit)


def _descriptions(faces: Faces, settings: Settings) -> Iterator[Request]:
    for row in faces.rows():
        if row["label"] == "bona_fide":
            continue
        pair_id = row["pair_id"] if row["pair_id"] in faces.places else None
        if row["category"] == "entire_face_synthesis" or _lot(row["face_id"]) >= settings.compared:
            pair_id = None
        yield description_request(row["face_id"], row["category"], pair_id, settings.model)


def _lot(face_id: str) -> float:
    """Draw a number from 0 to 1 for a face, always the same."""
    return int.from_bytes(hashlib.blake2b(face_id.encode(), digest_size=4).digest()) / 2**32


def _conversations(faces: Faces, store: Store, settings: Settings) -> Iterator[Request]:
    annotator = Stored(store, settings.ungrounded)
    for row in faces.rows():
        face = face_of(row)
        said = annotator.annotate(face, [Artifact(**artifact) for artifact in row["artifacts"]])
        yield conversation_request(face.face_id, face.label, said.df_d, said.df_c, said.ad, settings.model)


def _plan(requests: Iterator[Request], store: Store, estimate: Estimate) -> dict[str, tuple[int, float, float]]:
    """Count what is missing, and the tokens in and out that it is likely to take, by prompt."""
    planned: dict[str, tuple[int, float, float]] = {}
    for request in requests:
        if is_missing(store.outcome(request.key)):
            count, tokens_in, tokens_out = planned.get(request.prompt, (0, 0.0, 0.0))
            more_in, more_out = estimate.tokens(request)
            planned[request.prompt] = count + 1, tokens_in + more_in, tokens_out + more_out
    return planned


def _print_plan(planned: dict[str, tuple[int, float, float]], cost: Price | None) -> None:
    table = Table(title="What is missing")
    table.add_column("prompt")
    for column in ("requests", "tokens in", "tokens out", "dollars"):
        table.add_column(column, justify="right")
    whole = [sum(values) for values in zip(*planned.values(), strict=True)] or [0, 0, 0]
    for name, (count, tokens_in, tokens_out) in [*sorted(planned.items()), ("all", tuple(whole))]:
        dollars = "unknown" if cost is None else f"{cost.of(tokens_in, tokens_out):.2f}"
        table.add_row(name, str(count), f"{tokens_in:.0f}", f"{tokens_out:.0f}", dollars)
    if cost is not None:
        table.caption = f"${cost.input:g} and ${cost.output:g} a million tokens in and out, as of {cost.as_of}"
    Console(stderr=True).print(table)


def _ask(
    faces: Faces,
    store: Store,
    server: Server,
    settings: Settings,
    cost: Price | None,
    estimate: Estimate,
    missing: int,
) -> str:
    def pictures(request: Request) -> list[bytes]:
        shown = [] if request.ability == "fc" else [request.face_id, request.pair_id]
        return [faces.png(face_id) for face_id in shown if face_id is not None]

    to_ask = (r for r in _requests(faces, store, settings) if is_missing(store.outcome(r.key)))
    with tqdm(total=missing, desc=f"ask {settings.model}", unit="request") as bar:
        purse = Purse(settings.budget, store.spent())
        asking = Asking(store, server, pictures, cost, estimate, purse, bar)
        try:
            if settings.batch:
                asyncio.run(Batches(asking).ask(lambda: _requests(faces, store, settings)))
            else:
                asyncio.run(asking.ask(to_ask, settings.concurrency))
        except KeyboardInterrupt:
            return "interrupted"
    return asking.stopped


def _left(requests: Iterator[Request], store: Store) -> str:
    """Say what has no answer after all was asked; empty: nothing."""
    became = Counter(outcome.status for request in requests if (outcome := store.outcome(request.key)))
    left = []
    if unanswered := became["failed"] + became["asking"]:
        left.append(f"{unanswered} requests got no answer")
    if became["sent"]:
        left.append(f"{became['sent']} requests are in a batch, whose answers `--batch` fetches")
    return ", ".join(left)


def _print_outcome(store: Store, settings: Settings) -> None:
    """Print what became of all requests of this ability and model, and why some were marked."""
    found = store.reasons(settings.ability, settings.model)
    table = Table(title=f"{settings.ability} by {settings.model}")
    for column in ("what became of them", "requests", "why"):
        table.add_column(column, justify="right" if column == "requests" else "left")
    for status in sorted({status for status, _ in found}):
        reasons = Counter({reason: n for (own, reason), n in found.items() if own == status})
        why = [f"{n} {reason}" for reason, n in reasons.most_common(REASONS) if reason]
        table.add_row(status, str(reasons.total()), "\n".join(why))
    console = Console(stderr=True)
    console.print(table)
    verdicts, score, descriptions = store.verdicts(settings.model)
    if settings.ability == "ad" and descriptions:
        listed = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in verdicts.most_common())
        console.print(f"Grounding {score:.2f} on average of {descriptions} descriptions; claims: {listed}.")
    console.print(f"Spent on this dataset: ${store.spent():.2f}, as far as prices are known.")
