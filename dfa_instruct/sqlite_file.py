"""Open the SQLite files of this package, which several processes may use at the same time."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def open_sqlite(path: Path, application: int, version: int, schema: str, what: str) -> sqlite3.Connection:
    """Open an SQLite file of this package, or create it.

    Args:
        path: The file.
        application: Its `application_id`, which distinguishes it from other databases.
        version: Its `user_version`.
        schema: The statements that create its tables.
        what: A short name of the file for the messages.

    Raises:
        ValueError: The file is another database, was written by another version of this package, or cannot be opened.
    """

    def pragma(name: str) -> int:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    except sqlite3.OperationalError as error:
        raise ValueError(f"{path}: {error}; expected a {what} in a writable folder") from error
    try:
        if pragma("schema_version") == 0:
            marks = f"PRAGMA application_id = {application}; PRAGMA user_version = {version};"
            connection.executescript(f"BEGIN IMMEDIATE; {schema} {marks} COMMIT;")
        if (pragma("application_id"), pragma("user_version")) != (application, version):
            raise sqlite3.DatabaseError("it is another database or has another version; move it away")
        connection.execute("PRAGMA journal_mode = WAL")
        # Commits survive the end of this process; only a crash of the machine may lose the last ones.
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ValueError(f"{path}: not a {what}: {error}") from error
    return connection
