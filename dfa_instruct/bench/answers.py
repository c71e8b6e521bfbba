"""What models have answered: one SQLite file beside the dataset, so that a bench which was killed asks the rest only.

An answer is known by the model (a local one by the digest of its weights, a server's by its name, its address and what
the server says of it), the picture's bytes, the turns, and how long it may be. It is written as it arrives, unless it
is empty or was cut. No picture, no key and no server's address is written here: of an address there is a digest.
"""

from __future__ import annotations

import json
import sqlite3
from functools import cached_property
from pathlib import Path
from typing import Final

from dfa_instruct.bench.chat import Answer, Chat
from dfa_instruct.construction.embedded_sample import default_directory
from dfa_instruct.sqlite_file import open_sqlite

APPLICATION: Final = 0x44464142
"""SQLite's `application_id`, by which a store is told from another database."""
SCHEMA_VERSION: Final = 2
SCHEMA: Final = """
CREATE TABLE answers (
    model TEXT NOT NULL,
    chat TEXT NOT NULL,
    text TEXT NOT NULL,
    first TEXT NOT NULL,
    thought TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (model, chat)
) STRICT, WITHOUT ROWID;
"""


def answers_path(data: Path | None) -> Path:
    """Name the store of a dataset folder (see `run_bench`); it stands beside the folder, which goes to the Hub."""
    folder = (data or default_directory()).absolute()
    return folder.with_name(f"{folder.name}.answers.sqlite")


class Answers:
    """The SQLite file, opened or made when it is first used. Several processes may hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def connection(self) -> sqlite3.Connection:
        """Open the file; see `open_sqlite` for its errors."""
        return open_sqlite(self.path, APPLICATION, SCHEMA_VERSION, SCHEMA, "store of a model's answers")

    def get(self, model: str, chat: Chat) -> Answer | None:
        """Return what a model has answered; None: it was not asked."""
        found = self.connection.execute(
            "SELECT text, first, thought, finish_reason, fingerprint FROM answers WHERE model = ? AND chat = ?",
            (model, chat.key),
        ).fetchone()
        return None if found is None else Answer(found[0], tuple(json.loads(found[1])), *found[2:])

    def put(self, model: str, chat: Chat, answer: Answer) -> None:
        """Write an answer at once; one that is empty or was cut is none, and is asked for again."""
        if answer.is_whole:
            told = (answer.thought, answer.finish_reason, answer.fingerprint)
            values = (model, chat.key, answer.text, json.dumps(answer.first), *told)
            self.connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def fingerprints(self, beginning: str) -> dict[str, set[str]]:
        """Return the models whose names begin so, and what the servers of each have called their own state."""
        found = self.connection.execute(
            "SELECT DISTINCT model, fingerprint FROM answers WHERE substr(model, 1, ?) = ?", (len(beginning), beginning)
        ).fetchall()
        return {model: {of for name, of in found if name == model} for model, _ in found}
