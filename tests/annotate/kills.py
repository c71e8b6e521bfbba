"""Kill `dfa-instruct annotate` at random moments, against a server that logs what it answers."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from commands import KEY, annotate_command, stored_rows

from dfa_instruct.annotate.store import store_path

SERVER = Path(__file__).with_name("misbehaving.py")


def kill_again_and_again(folder: Path, log: Path, kills: int, requests: int) -> None:
    """Start and kill runs, and let the last one end. A request with a stored answer must never be sent again."""
    behaviour = {"random": ["ok", "500", "prose"], "delay": 0.15, "log": str(log)}
    program = [sys.executable, str(SERVER), json.dumps(behaviour)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=os.environ) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            words = annotate_command(folder, address, "--concurrency", 4)
            command = [sys.executable, "-c", "from dfa_instruct.cli import app; app()", *words]
            draw = random.Random(0)
            stored: dict[str, tuple[str, int]] = {}
            for kill in range(kills + 1):
                before = len(log.read_text().splitlines()) if log.exists() else 0
                running = subprocess.Popen(command, env={**os.environ, "OPENAI_API_KEY": KEY})
                if kill < kills:
                    # from its first request on, at any moment
                    while running.poll() is None and (not log.exists() or len(log.read_text().splitlines()) == before):
                        time.sleep(0.05)
                    time.sleep(draw.uniform(0, 1.5))
                    running.kill()
                assert running.wait() == (0 if kill == kills else running.returncode)
                with closing(sqlite3.connect(store_path(folder))) as store:
                    assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                rows = {row["key"]: (row["status"], row["attempts"]) for row in stored_rows(folder)}
                for key, (status, attempts) in stored.items():
                    assert status != "annotated" or rows[key] == (status, attempts)
                    assert rows[key][1] >= attempts
                stored = rows
        finally:
            server.kill()
    assert Counter(status for status, _ in stored.values()) == {"annotated": requests}
    # Every answer is in the store, except those in progress when a run was killed.
    answered = sum(line.startswith("answered") for line in log.read_text().splitlines())
    lost = answered - sum(attempts for _, attempts in stored.values())
    assert 0 <= lost <= 4 * kills
