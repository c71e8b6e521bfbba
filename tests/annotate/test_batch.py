"""Batches, against a server with the endpoints of files and batches."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dfa_instruct.annotate import batch as batch_module
from dfa_instruct.annotate.store import store_path
from dfa_instruct.cli import app


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fake-0123456789abcdef")
    monkeypatch.setattr(batch_module, "POLL_SECONDS", 0.05)


def command(folder: Path, address: str) -> list[str]:
    where = ["--ability", "ad", "--model", "tiny", "--base-url", address, "--batch"]
    return ["annotate", str(folder), *where]


def rows(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(store_path(folder))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM requests")]


def test_batches_are_sent_polled_and_merged_and_what_was_not_understood_is_sent_again(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "MAX_REQUESTS", 15)
    folder = write_dataset(tmp_path / "faces", 40)
    with server(random=["ok", "prose", "spanish", "truncated"], polls=2) as (address, state):
        done = CliRunner().invoke(app, command(folder, address))
        assert done.exit_code == 0, done.output
        found = rows(folder)
        assert len(found) == 40 and {row["status"] for row in found} == {"annotated"}
        assert max(row["attempts"] for row in found) == 3
        assert sum(row["attempts"] for row in found) == state.answered.total()
        assert len(state.batches) >= 5 and all(len(file.splitlines()) <= 15 for file in state.files.values())
        again = next(body for body in state.bodies.values() if len(body["messages"]) == 3)
        assert again["messages"][2]["role"] == "user"
        CliRunner().invoke(app, command(folder, address))
        assert sum(row["attempts"] for row in rows(folder)) == state.answered.total()


def test_what_a_batch_comes_back_without_is_asked_by_the_next_run(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 6)
    with server(plan=["lost", "500", "ok"]) as (address, _):
        for status, reason in (
            ("failed", "completed without it"),
            ("failed", "no answer in the batch"),
            ("annotated", ""),
        ):
            done = CliRunner().invoke(app, command(folder, address))
            assert done.exit_code == (1 if status == "failed" else 0), done.output
            assert {row["status"] for row in rows(folder)} == {status}
            assert all(reason in row["reason"] for row in rows(folder))


@pytest.mark.parametrize("silent_start", [False, True])
def test_a_run_that_is_killed_after_its_upload_is_taken_up_and_nothing_is_sent_twice(
    silent_start: bool, tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 6)
    with server(polls=10**6, silent_start=silent_start) as (address, state):
        program = [sys.executable, "-c", "from dfa_instruct.cli import app; app()", *command(folder, address)]
        running = subprocess.Popen(program, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while not state.batches and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.0 if silent_start else 1.0)
        running.kill()
        running.wait()
        assert {row["status"] for row in rows(folder)} == {"sent"}
        waits = CliRunner().invoke(app, [word for word in command(folder, address) if word != "--batch"])
        assert waits.exit_code == 1 and "6 requests are in a batch" in waits.output
        state.batches["batch-0"]["polls"] = 0
        state.behaviour.silent_start = False
        done = CliRunner().invoke(app, command(folder, address))
        assert done.exit_code == 0, done.output
        assert len(state.batches) == 1 and len(state.files) == 2
        assert {row["status"] for row in rows(folder)} == {"annotated"}
        assert set(state.answered.values()) == {1}
        assert all(json.loads(row["parsed"])[0]["verdict"] for row in rows(folder))


def test_what_a_server_without_batches_was_to_get_is_asked_without_them_or_of_another_model(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 4)
    with server(batches=False) as (address, state):
        refused = CliRunner().invoke(app, command(folder, address))
        assert refused.exit_code == 2 and "batches: 404 no such path" in refused.output
        state.behaviour.batches = True
        other = CliRunner().invoke(app, [{"tiny": "small"}.get(word, word) for word in command(folder, address)])
        assert other.exit_code == 0 and {body["model"] for body in state.bodies.values()} == {"small"}
        assert {row["model"] for row in rows(folder) if row["status"] == "annotated"} == {"small"}
        single = CliRunner().invoke(app, [word for word in command(folder, address) if word != "--batch"])
        assert single.exit_code == 0, single.output
    assert sorted((row["model"], row["status"]) for row in rows(folder)) == [
        *[("small", "annotated")] * 4,
        *[("tiny", "annotated")] * 4,
    ]
