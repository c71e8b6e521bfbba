"""Annotate the faces of a dataset folder with a language model, and check the descriptions against the pixels.

dfa-instruct annotate runs/mine/dfa-instruct --ability ad --model gpt-4o --dry-run
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from dfa_instruct.annotate.asking import is_missing
from dfa_instruct.annotate.batch import Batches
from dfa_instruct.annotate.faces import Faces, artifacts_of, face_of
from dfa_instruct.annotate.from_store import Stored, Ungrounded
from dfa_instruct.annotate.grounding import ground_missing
from dfa_instruct.annotate.prices import Budget, Estimate, Price, find_price
from dfa_instruct.annotate.prompts import PROMPTS, conversation_request, description_request, load_prompt
from dfa_instruct.annotate.store import Request, Store, store_path
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.vlm.client import Server

MAX_REASONS: Final = 8
"""The number of reasons that the final table lists for each status."""


@dataclass(frozen=True)
class Settings:
    """The options of `dfa-instruct annotate`, where each is explained."""

    ability: Literal["ad", "fc"]
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
    templates: Path | None = None


def annotate(folder: Path, settings: Settings) -> str:
    """Send the missing requests, ground the new descriptions, and print the outcome. A dry run only prints the cost.

    Returns:
        Why some requests have no answer; empty if all have one.

    Raises:
        FileNotFoundError: The folder contains no dataset.
        FileExistsError: Another process is annotating the dataset.
        ValueError: There is no API key, no price for the budget, or a prompt has changed without a new version.
        UnavailableError: The server does not answer.
    """
    faces = Faces(folder)
    price = find_price(settings.model, settings.prices, settings.batch)
    if settings.budget is not None and price is None:
        raise ValueError(f"--budget needs the price of {settings.model!r}: give it in a file by --prices")
    path = store_path(folder)
    if settings.dry_run:
        with Store(path if path.exists() else Path(":memory:")) as store:
            _print_plan(_plan(_requests(faces, store, settings), store, Estimate(store, settings.model)), price)
        return ""
    server = Server(settings.model, settings.base_url, settings.timeout)
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(path.with_name(f".{path.name}.lock"), timeout=0))
        except Timeout as error:
            raise FileExistsError(f"{path}: another process is annotating this dataset") from error
        store = stack.enter_context(Store(path))
        for prompt in map(load_prompt, PROMPTS):
            store.keep_prompt(prompt.version, prompt.text.template)
        store.drop_unsent_batches()
        estimate = Estimate(store, settings.model)
        plan = _plan(_requests(faces, store, settings), store, estimate)
        _print_plan(plan, price)
        missing = int(sum(requests for requests, _, _ in plan.values()))
        stopped = ""
        if missing or (settings.batch and store.open_batches()):
            with tqdm(total=missing, desc=f"ask {settings.model}", unit="request") as bar:
                pictures, budget = partial(_pictures, faces), Budget(settings.budget, store.total_cost())
                run = Batches(store, server, pictures, price, estimate, budget, bar)
                stopped = _ask(run, faces, settings)
        ground_missing(faces, store)
        _print_outcome(store, settings)
        return stopped or _unanswered(_requests(faces, store, settings), store)


def _requests(faces: Faces, store: Store, settings: Settings) -> Iterator[Request]:
    """Yield all requests about the folder's faces, whether they were answered or not."""
    requests = _descriptions(faces, settings) if settings.ability == "ad" else _conversations(faces, store, settings)
    yield from islice(requests, settings.limit)


def _descriptions(faces: Faces, settings: Settings) -> Iterator[Request]:
    for row in faces.rows():
        if row["label"] == "bona_fide":
            continue
        pair_id = row["pair_id"] if row["pair_id"] in faces else None
        if row["category"] == "entire_face_synthesis" or _random_share(row["face_id"]) >= settings.compared:
            pair_id = None
        yield description_request(row["face_id"], row["category"], row["technique"], pair_id, settings.model)


def _random_share(face_id: str) -> float:
    """Return a number from 0 to 1 that is always the same for a face."""
    return int.from_bytes(hashlib.blake2b(face_id.encode(), digest_size=4).digest()) / 2**32


def _conversations(faces: Faces, store: Store, settings: Settings) -> Iterator[Request]:
    annotator = Stored(store, settings.ungrounded, libraries(settings.templates))
    for row in faces.rows():
        face = face_of(row)
        annotation = annotator.annotate(face, artifacts_of(row))
        known = annotation.df_d, annotation.df_c, annotation.ad
        yield conversation_request(face.face_id, face.label, *known, settings.model)


def _pictures(faces: Faces, request: Request) -> list[bytes]:
    if request.ability == "fc":
        return []
    return [faces.png(face_id) for face_id in (request.face_id, request.pair_id) if face_id is not None]


def _plan(requests: Iterator[Request], store: Store, estimate: Estimate) -> dict[str, NDArray[np.float64]]:
    """Return the missing requests by prompt: their number, and their expected input and output tokens."""
    plan: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(3))
    for request in requests:
        if is_missing(store.outcome(request.key)):
            plan[request.prompt] += (1, *estimate.tokens(request))
    return plan


def _print_plan(plan: dict[str, NDArray[np.float64]], price: Price | None) -> None:
    table = Table(title="Missing")
    table.add_column("prompt")
    for column in ("requests", "tokens in", "tokens out", "dollars"):
        table.add_column(column, justify="right")
    for name, sums in [*sorted(plan.items()), ("all", sum(plan.values(), np.zeros(3)))]:
        dollars = "unknown" if price is None else f"{price.cost(*sums[1:]):.2f}"
        table.add_row(name, *(f"{number:.0f}" for number in sums), dollars)
    if price is not None:
        table.caption = f"${price.input:g} and ${price.output:g} per million tokens in and out, as of {price.as_of}"
    Console(stderr=True).print(table)


def _ask(run: Batches, faces: Faces, settings: Settings) -> str:
    """Send the missing requests; return why not all were sent."""
    try:
        if settings.batch:
            asyncio.run(run.ask_in_batches(lambda: _requests(faces, run.store, settings)))
        else:
            requests = _requests(faces, run.store, settings)
            missing = (request for request in requests if is_missing(run.store.outcome(request.key)))
            asyncio.run(run.ask(missing, settings.concurrency))
    except KeyboardInterrupt:
        return "interrupted"
    return run.stopped


def _unanswered(requests: Iterator[Request], store: Store) -> str:
    """Return how many requests have no answer, as a phrase; empty if all have one."""
    counts = Counter(outcome.status for request in requests if (outcome := store.outcome(request.key)))
    phrases = []
    if unanswered := counts["failed"] + counts["asking"]:
        phrases.append(f"{unanswered} requests got no answer")
    if counts["sent"]:
        phrases.append(f"{counts['sent']} requests are in a batch; fetch their answers with --batch")
    return ", ".join(phrases)


def _print_outcome(store: Store, settings: Settings) -> None:
    """Print how many requests have which status and why, the grounding of the descriptions, and the cost."""
    table = Table(title=f"{settings.ability} by {settings.model}")
    table.add_column("status")
    table.add_column("requests", justify="right")
    table.add_column("reasons")
    for status, reasons in store.count_outcomes(settings.ability, settings.model).items():
        listed = [f"{count} {reason}" for reason, count in reasons.most_common(MAX_REASONS) if reason]
        table.add_row(status, str(reasons.total()), "\n".join(listed))
    console = Console(stderr=True)
    console.print(table)
    verdicts, score, descriptions = store.count_verdicts(settings.model)
    if settings.ability == "ad" and descriptions:
        claims = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in verdicts.most_common())
        console.print(f"Mean grounding score of {descriptions} descriptions: {score:.2f}. Claims: {claims}.")
    console.print(f"Cost of all answers about this dataset, as far as prices are known: ${store.total_cost():.2f}.")
