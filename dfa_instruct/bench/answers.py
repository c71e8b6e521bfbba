"""What models have answered: one SQLite file beside the dataset, so that a bench which was killed asks the rest only.

An answer is known by the model (a local one by the digest of its weights), the picture's bytes, the turns, and how long
it may be. It is written as it arrives. No picture, no key and no server's address is written here.
"""

from __future__ import annotations

import json
import os
import sqlite3
from functools import cached_property
from pathlib import Path
from typing import Final

from dfa_instruct.bench.chat import Answer, Chat
from dfa_instruct.build.sample import sample_directory
from dfa_instruct.dataset import DIRECTORY_ENV

APPLICATION: Final = 0x44464142
"""SQLite's `application_id`, by which a store is told from another database."""
SCHEMA_VERSION: Final = 1
SCHEMA: Final = f"""
CREATE TABLE answers (
    model TEXT NOT NULL,
    chat TEXT NOT NULL,
    text TEXT NOT NULL,
    first TEXT NOT NULL,
    PRIMARY KEY (model, chat)
) STRICT, WITHOUT ROWID;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SCHEMA_VERSION};
"""


def answers_path(data: Path | None) -> Path:
    """Name the store of a dataset folder (see `run_bench`); it stands beside the folder, which goes to the Hub."""
    folder = (data or Path(os.environ.get(DIRECTORY_ENV) or sample_directory())).absolute()
    return folder.with_name(f"{folder.name}.answers.sqlite")


class Answers:
    """The SQLite file, opened or made when it is first used. Several processes may hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def connection(self) -> sqlite3.Connection:
        """Open the file.

        Raises:
            ValueError: it cannot be opened, is no store, or is one of another version of this package.
        """

        def pragma(name: str) -> int:
            return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

        try:
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=30)
            if pragma("schema_version") == 0:
                connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            if (pragma("application_id"), pragma("user_version")) != (APPLICATION, SCHEMA_VERSION):
                raise sqlite3.DatabaseError("another database, or of another version; move it away")
            connection.execute("PRAGMA journal_mode = WAL")
            # What is committed outlives this process; only the machine's own end may take the last answers.
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.path}: no store of a model's answers: {error}") from error
        return connection

    def get(self, model: str, chat: Chat) -> Answer | None:
        """Return what a model has answered; None: it was not asked."""
        found = self.connection.execute(
            "SELECT text, first FROM answers WHERE model = ? AND chat = ?", (model, chat.key)
        ).fetchone()
        return None if found is None else Answer(found[0], tuple(json.loads(found[1])))

    def put(self, model: str, chat: Chat, answer: Answer) -> None:
        """Write an answer at once."""
        values = (model, chat.key, answer.text, json.dumps(answer.first))
        self.connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", values)
