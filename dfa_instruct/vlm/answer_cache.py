"""A SQLite file that keeps models' answers, so that a bench that was stopped asks only for the missing ones.

The key of an answer consists of the model (of a local one, the digest of its weights; of a server's, its name and a
digest of the address and of what the server says about it), the picture's bytes, the turns, and the maximum length.
Answers are written as they arrive, unless they are empty or cut. Pictures, keys and addresses are never written.
"""

from __future__ import annotations

import json
import sqlite3
from functools import cached_property
from pathlib import Path
from typing import Final

from dfa_instruct.sqlite_file import open_sqlite
from dfa_instruct.vlm.chat import Answer, Chat

APPLICATION: Final = 0x44464142
"""The `application_id` by which SQLite recognises such a file."""
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


class AnswerCache:
    """The SQLite file, which is opened or made on first use. Several processes may use it at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def connection(self) -> sqlite3.Connection:
        """The connection; see `open_sqlite` for its errors."""
        return open_sqlite(self.path, APPLICATION, SCHEMA_VERSION, SCHEMA, "store of a model's answers")

    def get(self, model: str, chat: Chat) -> Answer | None:
        """Return a model's answer; None if there is none."""
        found = self.connection.execute(
            "SELECT text, first, thought, finish_reason, fingerprint FROM answers WHERE model = ? AND chat = ?",
            (model, chat.key),
        ).fetchone()
        return None if found is None else Answer(found[0], tuple(json.loads(found[1])), *found[2:])

    def put(self, model: str, chat: Chat, answer: Answer) -> None:
        """Write an answer, unless it is empty or cut and so must be asked for again."""
        if answer.is_complete:
            ending = (answer.thought, answer.finish_reason, answer.fingerprint)
            values = (model, chat.key, answer.text, json.dumps(answer.first), *ending)
            self.connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def fingerprints(self, prefix: str) -> dict[str, set[str]]:
        """Return models whose names start with `prefix`, and the fingerprints that the server of each reported."""
        found = self.connection.execute(
            "SELECT DISTINCT model, fingerprint FROM answers WHERE substr(model, 1, ?) = ?", (len(prefix), prefix)
        ).fetchall()
        return {model: {of for name, of in found if name == model} for model, _ in found}
