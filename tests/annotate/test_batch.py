"""Batches, against a server with the endpoints of files and batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import annotate, annotate_command, stored_rows
from small_faces import write_faces

from dfa_instruct.annotate import batch as batch_module


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "POLL_SECONDS", 0.05)


def statuses(folder: Path) -> set[str]:
    return {row["status"] for row in stored_rows(folder)}


def test_batches_are_merged_and_what_was_not_understood_is_sent_again(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "MAX_REQUESTS", 15)
    folder = write_faces(tmp_path / "faces", 40)
    with server(random=["ok", "prose", "spanish", "truncated"], polls=2) as (address, state):
        done = annotate(folder, address, "--batch")
        assert done.exit_code == 0, done.output
        found = stored_rows(folder)
        assert len(found) == 40 and statuses(folder) == {"annotated"}
        assert max(row["attempts"] for row in found) == 3
        assert sum(row["attempts"] for row in found) == state.answered.total()
        assert len(state.batches) >= 5 and all(len(file.splitlines()) <= 15 for file in state.files.values())
        again = next(body for body in state.bodies.values() if len(body["messages"]) == 3)
        assert again["messages"][2]["role"] == "user"
        annotate(folder, address, "--batch")
        assert sum(row["attempts"] for row in stored_rows(folder)) == state.answered.total()


def test_what_a_batch_comes_back_without_is_asked_by_the_next_run(tmp_path: Path, server: Any) -> None:
    folder = write_faces(tmp_path / "faces", 6)
    with server(plan=["lost", "500", "ok"]) as (address, _):
        for status, reason in (("failed", "completed"), ("failed", "no answer in the batch"), ("annotated", "")):
            done = annotate(folder, address, "--batch")
            assert done.exit_code == (1 if status == "failed" else 0), done.output
            assert statuses(folder) == {status} and all(reason in row["reason"] for row in stored_rows(folder))


@pytest.mark.parametrize("silent_start", [False, True])
def test_a_run_that_is_killed_after_its_upload_goes_on_and_sends_nothing_twice(
    silent_start: bool, tmp_path: Path, server: Any
) -> None:
    folder = write_faces(tmp_path / "faces", 6)
    with server(polls=10**6, silent_start=silent_start) as (address, state):
        words = annotate_command(folder, address, "--batch")
        program = [sys.executable, "-c", "from dfa_instruct.cli import app; app()", *words]
        running = subprocess.Popen(program, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while not state.batches and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.0 if silent_start else 1.0)
        running.kill()
        running.wait()
        assert statuses(folder) == {"sent"}
        waits = annotate(folder, address)
        assert waits.exit_code == 1 and "6 requests are in a batch" in waits.output
        state.batches["batch-0"]["polls"] = 0
        state.behaviour.silent_start = False
        done = annotate(folder, address, "--batch")
        assert done.exit_code == 0, done.output
        assert len(state.batches) == 1 and len(state.files) == 2
        assert statuses(folder) == {"annotated"} and set(state.answered.values()) == {1}
        assert all(json.loads(row["parsed"])[0]["verdict"] for row in stored_rows(folder))


def test_requests_to_a_server_without_batches_can_be_sent_singly_or_to_another_model(
    tmp_path: Path, server: Any
) -> None:
    folder = write_faces(tmp_path / "faces", 4)
    with server(batches=False) as (address, state):
        refused = annotate(folder, address, "--batch")
        assert refused.exit_code == 2 and "batches: 404 no such path" in refused.output
        state.behaviour.batches = True
        other = annotate(folder, address, "--batch", model="small")
        assert other.exit_code == 0 and {body["model"] for body in state.bodies.values()} == {"small"}
        assert {row["model"] for row in stored_rows(folder) if row["status"] == "annotated"} == {"small"}
        single = annotate(folder, address)
        assert single.exit_code == 0, single.output
    assert sorted((row["model"], row["status"]) for row in stored_rows(folder)) == [
        *[("small", "annotated")] * 4,
        *[("tiny", "annotated")] * 4,
    ]
