"""What language models were asked and have answered, and what people decided: one SQLite file beside the dataset.

A row a request, written as its answer arrives, so that a second run asks only what is missing. A row is known by the
hashes of the pictures, the prompt's version and what fills it, the model and its parameters. The pictures themselves
stay in the dataset. No key, no header and no server's address is written here.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, Self

from dfa_instruct.sqlite_file import open_sqlite
from dfa_instruct.vocabulary import Ability

Status = Literal["annotated", "asking", "sent", "marked", "failed"]
"""What became of a request.

annotated: its answer was understood. asking: it was answered, not understood, and is to be asked again. sent: a batch
holds it. marked: its answers were of no use, and it is not asked again. failed: no answer came; the next run asks it.
"""

APPLICATION: Final = 0x44464149
"""SQLite's `application_id`, by which a store is told from another database."""
SCHEMA_VERSION: Final = 2
SCHEMA: Final = """
CREATE TABLE prompts (version TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE TABLE requests (
    key TEXT PRIMARY KEY,
    face_id TEXT NOT NULL,
    pair_id TEXT,
    ability TEXT NOT NULL,
    prompt TEXT NOT NULL REFERENCES prompts (version),
    words TEXT NOT NULL,
    model TEXT NOT NULL,
    parameters TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    answer TEXT NOT NULL,
    parsed TEXT NOT NULL,
    grounding REAL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    dollars REAL,
    seconds REAL NOT NULL,
    attempts INTEGER NOT NULL,
    batch TEXT,
    at TEXT NOT NULL
) STRICT;
CREATE INDEX of_face ON requests (face_id, ability, status);
CREATE INDEX of_batch ON requests (batch) WHERE batch IS NOT NULL;
CREATE TABLE batches (name TEXT PRIMARY KEY, file_id TEXT, batch_id TEXT, done INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE decisions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    face_id TEXT NOT NULL,
    description TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    choice TEXT NOT NULL,
    claims TEXT NOT NULL,
    grounding REAL,
    at TEXT NOT NULL
) STRICT;
CREATE INDEX decided_on ON decisions (face_id);
"""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of one face: the pictures by their hashes, the prompt by its version, and what fills it."""

    face_id: str
    ability: Ability
    prompt: str
    words: dict[str, str]
    model: str
    parameters: dict[str, Any]
    pair_id: str | None = None
    """The bona fide picture that is shown beside the forgery."""
    key: str = field(init=False, default="")

    def __post_init__(self) -> None:
        asked = [self.face_id, self.pair_id, self.prompt, self.words, self.model, self.parameters]
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
        object.__setattr__(self, "key", key)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request so far. `answer` is the last one as it came, `parsed` what was understood of it.

    `dollars` is None where the model's price is not known. `attempts` counts the answers.
    """

    status: Status
    reason: str = ""
    answer: str = ""
    parsed: list[dict[str, Any]] = field(default_factory=list)
    grounding: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float | None = None
    seconds: float = 0.0
    attempts: int = 0
    batch: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """An answer that was understood: by whom it was written, from what, what it says; do the pixels bear it out?"""

    by: str
    words: dict[str, str]
    parsed: list[dict[str, Any]]
    grounding: float | None


def store_path(folder: Path) -> Path:
    """Name the store of a dataset folder: it stands beside the folder, which goes to the Hub without it."""
    folder = folder.absolute()
    return folder.with_name(f"{folder.name}.annotations.sqlite")


class Store(AbstractContextManager["Store"]):
    """The SQLite file, open; whoever holds it writes each answer at once."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it.

        Raises:
            ValueError: the file is not a store, or one of another version of this package.
        """
        self.path = path
        self.connection = open_sqlite(path, APPLICATION, SCHEMA_VERSION, SCHEMA, "store of annotations")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def keep_prompt(self, version: str, text: str) -> None:
        """Keep a prompt's text under its version.

        Raises:
            ValueError: this version has another text here: what it was answered would be taken for an answer to this.
        """
        self.connection.execute("INSERT OR IGNORE INTO prompts VALUES (?, ?)", (version, text))
        (kept,) = self.connection.execute("SELECT text FROM prompts WHERE version = ?", (version,)).fetchone()
        if kept != text:
            raise ValueError(f"{self.path}: prompt {version!r} has another text here; raise the version in its file")

    def outcome(self, key: str) -> Outcome | None:
        """Return what became of a request; None: it was never asked."""
        row = self.connection.execute(
            "SELECT status, reason, answer, parsed, grounding, tokens_in, tokens_out, dollars, seconds, attempts, batch"
            " FROM requests WHERE key = ?",
            (key,),
        ).fetchone()
        if row is None:
            return None
        status, reason, answer, parsed, *rest = row
        return Outcome(status, reason, answer, json.loads(parsed), *rest)

    def put(self, request: Request, outcome: Outcome) -> None:
        """Write what became of a request, in place of what was known of it."""
        self.connection.execute(
            f"INSERT OR REPLACE INTO requests VALUES ({', '.join('?' * 20)})",
            (
                request.key,
                request.face_id,
                request.pair_id,
                request.ability,
                request.prompt,
                json.dumps(request.words, sort_keys=True),
                request.model,
                json.dumps(request.parameters, sort_keys=True),
                outcome.status,
                outcome.reason,
                outcome.answer,
                json.dumps(outcome.parsed),
                outcome.grounding,
                outcome.tokens_in,
                outcome.tokens_out,
                outcome.dollars,
                outcome.seconds,
                outcome.attempts,
                outcome.batch,
                datetime.now(UTC).isoformat(timespec="seconds"),
            ),
        )

    def written(self, face_id: str, ability: Ability) -> Iterator[Written]:
        """Yield the answers about a face that were understood, the newest first."""
        rows = self.connection.execute(
            "SELECT model, prompt, words, parsed, grounding FROM requests"
            " WHERE face_id = ? AND ability = ? AND status = 'annotated' ORDER BY at DESC, key",
            (face_id, ability),
        )
        for model, prompt, words, parsed, grounding in rows:
            yield Written(f"{model}, {prompt}", json.loads(words), json.loads(parsed), grounding)

    def ungrounded(self) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
        """Yield key, face and claims of the descriptions whose claims have no verdict yet."""
        last = 0
        while rows := self.connection.execute(
            "SELECT rowid, key, face_id, parsed FROM requests WHERE rowid > ? AND ability = 'ad'"
            " AND status = 'annotated' AND json_extract(parsed, '$[0].verdict') IS NULL ORDER BY rowid LIMIT 500",
            (last,),
        ).fetchall():
            for _, key, face_id, parsed in rows:
                yield key, face_id, json.loads(parsed)
            last = rows[-1][0]

    def ground(self, key: str, parsed: list[dict[str, Any]], grounding: float | None) -> None:
        """Write the verdicts on a description's claims, and its score."""
        values = (json.dumps(parsed), grounding, key)
        self.connection.execute("UPDATE requests SET parsed = ?, grounding = ? WHERE key = ?", values)

    def digest(self) -> str:
        """Sum up what was written, understood and decided; the same words give the same digest."""
        said = hashlib.sha256()
        for query in (
            "SELECT key, at, parsed, grounding FROM requests WHERE status = 'annotated' ORDER BY key",
            "SELECT face_id, description, reviewer, choice, claims FROM decisions ORDER BY number",
        ):
            for row in self.connection.execute(query):
                said.update(json.dumps(row).encode())
        return said.hexdigest()

    def spent(self) -> float:
        """Return what all answers here have cost, in dollars, as far as their prices were known."""
        return float(self.connection.execute("SELECT total(dollars) FROM requests").fetchone()[0])

    def usual(self, prompt: str, model: str) -> tuple[int, float, float]:
        """Return how many requests of a prompt a model has answered, and its mean tokens in and out of one."""
        row = self.connection.execute(
            "SELECT count(*), total(tokens_in), total(tokens_out) FROM requests"
            " WHERE prompt = ? AND model = ? AND attempts > 0",
            (prompt, model),
        ).fetchone()
        return int(row[0]), row[1] / max(row[0], 1), row[2] / max(row[0], 1)

    def reasons(self, ability: Ability, model: str) -> Counter[tuple[Status, str]]:
        """Count a model's requests of an ability by what became of them and why."""
        rows = self.connection.execute(
            "SELECT status, reason, count(*) FROM requests WHERE ability = ? AND model = ? GROUP BY status, reason",
            (ability, model),
        )
        return Counter({(status, reason): count for status, reason, count in rows})

    def verdicts(self, model: str) -> tuple[Counter[str], float, int]:
        """Count a model's claims by verdict; then the mean score of its descriptions, and how many have one."""
        described = "FROM requests{} WHERE ability = 'ad' AND model = ? AND status = 'annotated'"
        rows = self.connection.execute(
            f"SELECT json_extract(value, '$.verdict'), count(*) {described.format(', json_each(parsed)')} GROUP BY 1",
            (model,),
        ).fetchall()
        counts = Counter({str(verdict): count for verdict, count in rows})
        score, descriptions = self.connection.execute(
            f"SELECT total(grounding) / max(count(grounding), 1), count(grounding) {described.format('')}", (model,)
        ).fetchone()
        return counts, float(score), int(descriptions)

    def begin_batch(self, name: str, held: list[tuple[Request, Outcome]]) -> None:
        """Write a batch and what it holds, before anything is sent."""
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("INSERT INTO batches (name) VALUES (?)", (name,))
        for request, outcome in held:
            self.put(request, replace(outcome, status="sent", batch=name))
        self.connection.execute("COMMIT")

    def release_unsent(self) -> None:
        """Let go of the batches whose file the server never got, so that what they hold is asked again."""
        self.connection.execute(
            "UPDATE requests SET status = iif(attempts, 'asking', 'failed'), batch = NULL"
            " WHERE status = 'sent' AND batch IN (SELECT name FROM batches WHERE file_id IS NULL)"
        )
        self.connection.execute("DELETE FROM batches WHERE file_id IS NULL")

    def open_batches(self) -> list[str]:
        """Name the batches whose answers are not here yet."""
        return [name for (name,) in self.connection.execute("SELECT name FROM batches WHERE done = 0 ORDER BY name")]

    def batch(self, name: str) -> tuple[str | None, str | None]:
        """Return the ids that the server has given a batch's file, and the batch."""
        row = self.connection.execute("SELECT file_id, batch_id FROM batches WHERE name = ?", (name,)).fetchone()
        return row[0], row[1]

    def set_batch(self, name: str, **known: str | int) -> None:
        """Write what has become known of a batch: `file_id`, `batch_id`, `done`."""
        for column, value in known.items():
            self.connection.execute(f"UPDATE batches SET {column} = ? WHERE name = ?", (value, name))

    def requests(self, batch: str) -> Iterator[Request]:
        """Yield the requests that a batch holds."""
        rows = self.connection.execute(
            "SELECT face_id, ability, prompt, words, model, parameters, pair_id FROM requests"
            " WHERE batch = ? AND status = 'sent' ORDER BY key",
            (batch,),
        ).fetchall()
        for face_id, ability, prompt, words, model, parameters, pair_id in rows:
            yield Request(face_id, ability, prompt, json.loads(words), model, json.loads(parameters), pair_id)
