"""The store of annotations: an SQLite file beside the dataset with all requests, answers and review decisions.

A request is written as soon as its answer arrives, so that a later run asks only what is missing. Its key is a hash of
the face ids, the prompt's version and variables, the model and the parameters. The store contains neither pictures nor
API keys, headers or server addresses.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from dfa_instruct.sqlite_file import open_sqlite
from dfa_instruct.vocabulary import Ability

Status = Literal["annotated", "asking", "sent", "marked", "failed"]
"""The state of a request.

annotated: the answer was understood. asking: the answer was not understood, and the model is asked again. sent: the
request is in a batch. marked: the answers cannot be used, and the model is not asked again. failed: there was no
answer, and the next run asks again.
"""

APPLICATION: Final = 0x44464149
"""SQLite's `application_id`, which distinguishes a store from other databases."""
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
    """A request to a language model about one face.

    Args:
        prompt: Name and version of the prompt.
        variables: The values of its placeholders.
        parameters: The sampling parameters.
        pair_id: The bona fide face that is shown beside the forgery.
        key: A hash of all other fields.
    """

    face_id: str
    ability: Ability
    prompt: str
    variables: dict[str, str]
    model: str
    parameters: dict[str, Any]
    pair_id: str | None = None
    key: str = field(init=False, default="")

    def __post_init__(self) -> None:
        asked = [self.face_id, self.pair_id, self.prompt, self.variables, self.model, self.parameters]
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
        object.__setattr__(self, "key", key)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The current state of a request.

    Args:
        reason: Why the request was marked or failed, or what was wrong with the last answer.
        answer: The text of the last answer.
        parsed: Its claims or turns.
        grounding: The share of the claims that the pixels confirm, 0 to 1; None if it was not computed.
        dollars: The cost of all answers; None if the price of the model is unknown. Tokens and seconds are sums, too.
        attempts: The number of answers.
        batch: The batch that contains the request.
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


OUTCOME_COLUMNS: Final = ", ".join(column.name for column in fields(Outcome))


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer that was understood: its author (`by`), the prompt's variables, the content, the grounding score."""

    by: str
    variables: dict[str, str]
    parsed: list[dict[str, Any]]
    grounding: float | None


def store_path(folder: Path) -> Path:
    """Return the path of a dataset folder's store, which is outside the folder and is not uploaded with it."""
    folder = folder.absolute()
    return folder.with_name(f"{folder.name}.annotations.sqlite")


class Store(AbstractContextManager["Store"]):
    """An open store. Every write is committed at once."""

    def __init__(self, path: Path) -> None:
        """Open a store, or create it.

        Raises:
            ValueError: The file is not a store, or was written by another version of this package.
        """
        self.path = path
        self.connection = open_sqlite(path, APPLICATION, SCHEMA_VERSION, SCHEMA, "store of annotations")

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def keep_prompt(self, version: str, text: str) -> None:
        """Store the text of a prompt.

        Raises:
            ValueError: The store has another text for this version, so that its answers belong to another prompt.
        """
        self.connection.execute("INSERT OR IGNORE INTO prompts VALUES (?, ?)", (version, text))
        (stored,) = self.connection.execute("SELECT text FROM prompts WHERE version = ?", (version,)).fetchone()
        if stored != text:
            raise ValueError(f"{self.path}: prompt {version!r} has another text here; raise the version in its file")

    def outcome(self, key: str) -> Outcome | None:
        """Return the state of a request, or None if it was never sent."""
        query = f"SELECT {OUTCOME_COLUMNS} FROM requests WHERE key = ?"
        row = self.connection.execute(query, (key,)).fetchone()
        if row is None:
            return None
        status, reason, answer, parsed, *rest = row
        return Outcome(status, reason, answer, json.loads(parsed), *rest)

    def put(self, request: Request, outcome: Outcome) -> None:
        """Write the state of a request, in place of an earlier one."""
        columns = asdict(request) | asdict(outcome)
        columns["words"] = columns.pop("variables")
        for name in ("words", "parameters", "parsed"):
            columns[name] = json.dumps(columns[name])
        columns["at"] = datetime.now(UTC).isoformat(timespec="seconds")
        marks = ", ".join(f":{name}" for name in columns)
        self.connection.execute(f"INSERT OR REPLACE INTO requests ({', '.join(columns)}) VALUES ({marks})", columns)

    def answers(self, face_id: str, ability: Ability) -> Iterator[StoredAnswer]:
        """Yield the understood answers about a face, the newest first."""
        rows = self.connection.execute(
            "SELECT model, prompt, words, parsed, grounding FROM requests"
            " WHERE face_id = ? AND ability = ? AND status = 'annotated' ORDER BY at DESC, key",
            (face_id, ability),
        )
        for model, prompt, variables, parsed, grounding in rows:
            yield StoredAnswer(f"{model}, {prompt}", json.loads(variables), json.loads(parsed), grounding)

    def ungrounded(self) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
        """Yield the key, face id and claims of each description whose claims have no verdicts yet."""
        last = 0
        while rows := self.connection.execute(
            "SELECT rowid, key, face_id, parsed FROM requests WHERE rowid > ? AND ability = 'ad'"
            " AND status = 'annotated' AND json_extract(parsed, '$[0].verdict') IS NULL ORDER BY rowid LIMIT 500",
            (last,),
        ).fetchall():
            for _, key, face_id, parsed in rows:
                yield key, face_id, json.loads(parsed)
            last = rows[-1][0]

    def ground(self, key: str, claims: list[dict[str, Any]], grounding: float | None) -> None:
        """Write the claims of a description, now with their verdicts, and its grounding score."""
        values = (json.dumps(claims), grounding, key)
        self.connection.execute("UPDATE requests SET parsed = ?, grounding = ? WHERE key = ?", values)

    def digest(self) -> str:
        """Return a hash of all understood answers and all decisions."""
        content = hashlib.sha256()
        for query in (
            "SELECT key, at, parsed, grounding FROM requests WHERE status = 'annotated' ORDER BY key",
            "SELECT face_id, description, reviewer, choice, claims FROM decisions ORDER BY number",
        ):
            for row in self.connection.execute(query):
                content.update(json.dumps(row).encode())
        return content.hexdigest()

    def total_cost(self) -> float:
        """Return the cost in dollars of all answers whose price was known."""
        return float(self.connection.execute("SELECT total(dollars) FROM requests").fetchone()[0])

    def mean_tokens(self, prompt: str, model: str) -> tuple[float, float]:
        """Return the mean input and output tokens of a model's answers to a prompt; 0 if there are none."""
        tokens_in, tokens_out = self.connection.execute(
            "SELECT ifnull(avg(tokens_in), 0.0), ifnull(avg(tokens_out), 0.0) FROM requests"
            " WHERE prompt = ? AND model = ? AND attempts > 0",
            (prompt, model),
        ).fetchone()
        return tokens_in, tokens_out

    def count_outcomes(self, ability: Ability, model: str) -> dict[Status, Counter[str]]:
        """Count the reasons of each status among the requests to a model."""
        counts: dict[Status, Counter[str]] = defaultdict(Counter)
        for status, reason, count in self.connection.execute(
            "SELECT status, reason, count(*) FROM requests WHERE ability = ? AND model = ? GROUP BY status, reason",
            (ability, model),
        ):
            counts[status][reason] = count
        return counts

    def count_verdicts(self, model: str) -> tuple[Counter[str], float, int]:
        """Return the number of a model's claims by verdict, the mean grounding score, and how many scores there are."""
        described = "WHERE ability = 'ad' AND model = ? AND status = 'annotated'"
        rows = self.connection.execute(
            "SELECT json_extract(value, '$.verdict'), count(*) FROM requests, json_each(parsed)"
            f" {described} GROUP BY 1",
            (model,),
        )
        counts = Counter({str(verdict): count for verdict, count in rows})
        score, descriptions = self.connection.execute(
            f"SELECT ifnull(avg(grounding), 0.0), count(grounding) FROM requests {described}", (model,)
        ).fetchone()
        return counts, score, descriptions

    def add_batch(self, name: str, contents: list[tuple[Request, Outcome]]) -> None:
        """Write a batch and its requests, before anything is sent."""
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("INSERT INTO batches (name) VALUES (?)", (name,))
        for request, outcome in contents:
            self.put(request, replace(outcome, status="sent", batch=name))
        self.connection.execute("COMMIT")

    def drop_unsent_batches(self) -> None:
        """Delete the batches that were never uploaded, so that their requests are sent again."""
        self.connection.execute(
            "UPDATE requests SET status = iif(attempts, 'asking', 'failed'), batch = NULL"
            " WHERE status = 'sent' AND batch IN (SELECT name FROM batches WHERE file_id IS NULL)"
        )
        self.connection.execute("DELETE FROM batches WHERE file_id IS NULL")

    def open_batches(self) -> list[str]:
        """Return the names of the batches whose answers have not been fetched."""
        return [name for (name,) in self.connection.execute("SELECT name FROM batches WHERE done = 0 ORDER BY name")]

    def batch_ids(self, name: str) -> tuple[str | None, str | None]:
        """Return the server's ids of a batch's input file and of the batch; None where not known yet."""
        row = self.connection.execute("SELECT file_id, batch_id FROM batches WHERE name = ?", (name,)).fetchone()
        return row[0], row[1]

    def update_batch(self, name: str, **columns: str | int) -> None:
        """Set `file_id`, `batch_id` or `done` of a batch."""
        for column, value in columns.items():
            self.connection.execute(f"UPDATE batches SET {column} = ? WHERE name = ?", (value, name))

    def requests(self, batch: str) -> Iterator[Request]:
        """Yield the requests in a batch."""
        rows = self.connection.execute(
            "SELECT face_id, ability, prompt, words, model, parameters, pair_id FROM requests"
            " WHERE batch = ? AND status = 'sent' ORDER BY key",
            (batch,),
        ).fetchall()
        for face_id, ability, prompt, variables, model, parameters, pair_id in rows:
            yield Request(face_id, ability, prompt, json.loads(variables), model, json.loads(parameters), pair_id)
