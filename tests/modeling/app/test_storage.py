"""Uploads end: those that are old, that were cut off, and all of them with the app, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

pytest.importorskip("gradio")

from modeling_dfa_gpt.app import storage
from modeling_dfa_gpt.app.page import build, launch
from modeling_dfa_gpt.app.storage import upload_folder
from modeling_dfa_gpt.dfa_gpt import DfaGpt


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_upload_that_is_cut_off_is_deleted_as_an_old_one_is(
    model: DfaGpt, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(storage, "FILES_KEPT", 2)
    monkeypatch.setattr(storage, "SWEPT_EVERY", 0.2)
    blocks = build(model, str(adapter))
    address = launch(blocks, "127.0.0.1", None, None)
    try:
        url = httpx.URL(f"{address}gradio_api/upload")
        part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="cut.png"\r\n\r\n' + b"y" * 500_000
        head = f"POST {url.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n"
        with socket.create_connection((url.host, url.port)) as cut:
            cut.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + part)
            while not files(tmp_path):
                time.sleep(0.05)
        assert httpx.post(url, files={"files": ("whole.png", b"z" * 1000)}).status_code == 200
        while files(tmp_path):  # the test would not end if they stayed
            time.sleep(0.1)
    finally:
        blocks.close(verbose=False)


def test_the_folder_of_a_process_that_runs_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with upload_folder() as one:
        (one / "face.png").touch()
        with upload_folder() as other:
            assert (one / "face.png").exists() and other != one
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def heed_hangups() -> None:
    """Undo what nohup, under which the tests may run, hands on to the processes that they start."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_nothing_is_left_however_the_app_ends(adapter: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from modeling_dfa_gpt.cli import app; app()", "app", str(adapter)]
    left = {}
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        running = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            preexec_fn=heed_hangups,
        )
        try:
            line = next(line for line in running.stdout or () if "answers at" in line)
            assert files(tmp_path) == [path for path in files(tmp_path) if path.name == storage.LOCK]
            address = next(word for word in line.split() if word.startswith("http"))
            httpx.post(f"{address}gradio_api/upload", files={"files": ("face.png", b"x")}).raise_for_status()
            assert any(path.name == "face.png" for path in files(tmp_path))
            running.send_signal(number)
            assert running.wait(60) == (-number if number == signal.SIGKILL else 128 + number)
        finally:
            running.kill()
        left[number] = [path for path in files(tmp_path) if path.name == "face.png"]
    assert [len(found) for found in left.values()] == [1, 0, 0]  # a killed one's are deleted at the next start
