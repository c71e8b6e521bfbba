"""What a run that ends at any moment leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from commands import annotate_command, stored_rows
from kills import kill_again_and_again
from small_faces import write_faces


def test_nothing_that_was_stored_is_asked_again_after_a_kill(tmp_path: Path) -> None:
    kill_again_and_again(write_faces(tmp_path / "faces", 60), tmp_path / "log", kills=2, requests=60)


def test_ctrl_c_waits_for_the_requests_in_progress_and_starts_no_others(tmp_path: Path, server: Any) -> None:
    folder = write_faces(tmp_path / "faces", 300)
    with server(delay=0.3) as (address, state):
        words = annotate_command(folder, address, "--concurrency", 4)
        command = [sys.executable, "-c", "from dfa_instruct.cli import app; app()", *words]
        running = subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE)
        while running.poll() is None and len(state.times) < 8:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        printed, _ = running.communicate()
        assert running.returncode == 130 and b"interrupted" in printed
        rows = stored_rows(folder)
        assert {(row["status"], "verdict" in row["parsed"]) for row in rows} == {("annotated", True)}
        assert 8 <= len(rows) == len(state.times) < 300
