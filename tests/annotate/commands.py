"""Run commands in this process, and read what `annotate` has stored."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from dfa_instruct.annotate.store import store_path
from dfa_instruct.cli import app

KEY = "sk-fake-0123456789abcdef"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def annotate_command(folder: Path, address: str, *more: object, ability: str = "ad", model: str = "tiny") -> list[str]:
    """Return the words of the command, without the program's name."""
    words = ["annotate", folder, "--ability", ability, "--model", model, "--base-url", address, *more]
    return [str(word) for word in words]


def annotate(folder: Path, address: str, *more: object, **names: str) -> Result:
    return run(*annotate_command(folder, address, *more, **names))


def stored_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the requests in the store of a dataset folder."""
    with closing(sqlite3.connect(store_path(folder))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM requests")]
