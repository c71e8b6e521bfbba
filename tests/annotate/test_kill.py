"""What an end at any moment leaves behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from kills import kill_again_and_again

from dfa_instruct.annotate.store import store_path


def test_nothing_that_was_stored_is_asked_again_after_a_kill(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path]
) -> None:
    kill_again_and_again(write_dataset(tmp_path / "faces", 60), tmp_path / "log", kills=2, requests=60)


def test_ctrl_c_waits_for_what_is_under_way_and_begins_nothing_else(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 300)
    with server(delay=0.3) as (address, state):
        where = ["--ability", "ad", "--model", "tiny", "--base-url", address, "--concurrency", "4"]
        command = [sys.executable, "-c", "from dfa_instruct.cli import app; app()", "annotate", str(folder), *where]
        running = subprocess.Popen(command, env={**os.environ, "OPENAI_API_KEY": "sk-fake"}, stdout=subprocess.PIPE)
        while running.poll() is None and len(state.times) < 8:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate()
        assert running.returncode == 130 and b"interrupted" in said
        with closing(sqlite3.connect(store_path(folder))) as store:
            rows = store.execute("SELECT status, parsed LIKE '%verdict%' FROM requests").fetchall()
        assert set(rows) == {("annotated", 1)} and 8 <= len(rows) == len(state.times) < 300
