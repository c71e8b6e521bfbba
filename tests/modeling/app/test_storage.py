"""Uploads are deleted when they are old or interrupted, and when the app ends."""

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

from visitor import serving

from modeling_dfa_gpt.app import storage
from modeling_dfa_gpt.app.storage import upload_folder
from modeling_dfa_gpt.dfa_gpt import DfaGpt


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_old_and_interrupted_uploads_are_deleted(
    model: DfaGpt, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(storage, "MAX_AGE", 2)
    monkeypatch.setattr(storage, "SWEEP_INTERVAL", 0.2)
    with serving(model, adapter) as address:
        url = httpx.URL(f"{address}gradio_api/upload")
        part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="cut.png"\r\n\r\n' + b"y" * 500_000
        head = f"POST {url.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n"
        with socket.create_connection((url.host, url.port)) as cut:
            cut.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + part)
            while not files(tmp_path):
                time.sleep(0.05)
        assert httpx.post(url, files={"files": ("whole.png", b"z" * 1000)}).status_code == 200
        while files(tmp_path):  # loops forever if they are not deleted
            time.sleep(0.1)


def test_folder_of_a_running_process_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with upload_folder() as one:
        (one / "face.png").touch()
        with upload_folder() as other:
            assert (one / "face.png").exists() and other != one
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def reset_sighup() -> None:
    """Reset SIGHUP, which is ignored if the tests run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_uploads_are_deleted_however_the_app_ends(adapter: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from modeling_dfa_gpt.cli import app; app()", "app", str(adapter)]
    left = {}
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=reset_sighup)
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
    assert [len(found) for found in left.values()] == [1, 0, 0]  # after SIGKILL, at the next start
