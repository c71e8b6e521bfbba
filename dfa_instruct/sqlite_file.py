"""SQLite files of this package: known by their `application_id`, written at once, held by several processes."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def open_sqlite(path: Path, application: int, version: int, schema: str, what: str) -> sqlite3.Connection:
    """Open a file of this package, or make it.

    Args:
        path: the file.
        application: its `application_id`, by which it is told from another database.
        version: its `user_version`.
        schema: the statements that make its tables.
        what: it is, in a word or two, for the message.

    Raises:
        ValueError: the file is another one, or one of another version of this package, or cannot be opened.
    """

    def pragma(name: str) -> int:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    except sqlite3.OperationalError as error:
        raise ValueError(f"{path}: {error}; expected a {what} in a folder that can be written") from error
    try:
        if pragma("schema_version") == 0:
            marks = f"PRAGMA application_id = {application}; PRAGMA user_version = {version};"
            connection.executescript(f"BEGIN IMMEDIATE; {schema} {marks} COMMIT;")
        if (pragma("application_id"), pragma("user_version")) != (application, version):
            raise sqlite3.DatabaseError("another database, or of another version; move it away")
        connection.execute("PRAGMA journal_mode = WAL")
        # What is committed outlives this process; only the machine's own end may take the last answers.
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ValueError(f"{path}: not a {what}: {error}") from error
    return connection
