"""DFA-Bench of a model behind an OpenAI-compatible address, against a local server."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from bench_data import TEST, TRAIN, write_counts
from openai import _base_client
from speaking import question, speaking
from typer.testing import CliRunner

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.runner import run_bench
from dfa_instruct.cli import app
from dfa_instruct.vlm.chat import REFUSED
from dfa_instruct.vlm.endpoint import Endpoint

KEY = "sk-fake-0123456789abcdef"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(_base_client, "INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_counts(tmp_path / "dfa-instruct", train=TRAIN, test=TEST)


def bench(data: Path, address: str, *more: str) -> Any:
    return CliRunner().invoke(app, ["bench", "openai:tiny", "--base-url", address, "--data", str(data), *more])


def kept(data: Path) -> int:
    path = data.with_name("dfa-instruct.answers.sqlite")
    return sqlite3.connect(path).execute("SELECT count(*) FROM answers").fetchone()[0] if path.exists() else 0


def test_it_is_asked_each_task_with_the_picture_and_never_twice(data: Path, tmp_path: Path) -> None:
    bodies: list[dict[str, Any]] = []

    def say(body: dict[str, Any]) -> str:
        bodies.append(body)
        return "Yes" if "forged?" in question(body) else "A"

    with speaking(say) as address:
        done = bench(data, address, "--output", str(tmp_path / "out"), "--json")
        assert done.exit_code == 0, done.output
        asked = len(bodies)
        again = bench(data, address, "--json")
    assert again.exit_code == 0 and len(bodies) == asked == kept(data)
    figures = json.loads((tmp_path / "out" / "results.json").read_text())["tasks"]
    assert figures["dfa_bench_dfd"] == {"acc": 61.54, "err": 38.46, "acer": 50, "invalid": 0}
    first = next(body for body in bodies if body["max_tokens"] == 128)
    picture, text = first["messages"][0]["content"]
    assert base64.b64decode(picture["image_url"]["url"].partition(",")[2]).startswith(b"\x89PNG")
    assert text["text"] == "Is this face forged?" and first["temperature"] == 0 and "response_format" not in first
    assert first["model"] == "tiny" and first["headers"]["Authorization"] == f"Bearer {KEY}"
    talk = max(bodies, key=lambda body: len(body["messages"]))["messages"]
    assert [message["role"] for message in talk] == ["user", "assistant"] * 3 + ["user"]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    assert KEY not in done.output


def test_a_server_that_dies_half_way_is_one_line_and_the_next_run_asks_the_rest(data: Path) -> None:
    answered: list[str] = []
    dead = threading.Event()

    def say(body: dict[str, Any]) -> str | int:
        if len(answered) >= 10 and not dead.is_set():
            return 500
        answered.append(question(body))
        return "Yes" if "forged?" in question(body) else "A"

    with speaking(say) as address:
        task = ("--task", "dfa_bench_dfd", "--task", "dfa_bench_dfc", "--task", "dfa_bench_dft")
        broken = bench(data, address, *task, "--concurrency", "2")
        assert broken.exit_code == 2 and not broken.stdout.strip()
        (line,) = [line for line in broken.stderr.splitlines() if "error" in line]
        assert "openai:tiny" in line and "500 no" in line and "the same command asks for the others" in line
        assert kept(data) == len(answered) and 10 <= len(answered) < 14
        dead.set()
        whole = bench(data, address, *task, "--concurrency", "2")
    assert whole.exit_code == 0 and "DF-D" in whole.stdout
    assert len(answered) == kept(data) == 21  # faces that look alike are asked about once


def test_a_server_that_is_not_there_and_one_that_does_not_take_the_key(data: Path) -> None:
    gone = bench(data, "http://127.0.0.1:9/v1", "--limit", "1", "--task", "dfa_bench_dfd")
    assert gone.exit_code == 2 and "1 of 1 questions got no answer" in gone.stderr and "no connection" in gone.stderr
    with speaking(lambda body: 401) as address:
        refused = bench(data, address)
    assert refused.exit_code == 2 and "does not take the key in OPENAI_API_KEY: 401 no" in refused.stderr
    assert kept(data) == 0


def test_what_a_policy_withholds_is_an_answer_that_is_wrong(data: Path) -> None:
    with speaking(lambda body: {"content": None, "refusal": "This face is real, I will not judge it."}) as address:
        results = run_bench(BenchModel(Endpoint("tiny", address)), data, tasks=["dfa_bench_dfd"])
    assert results["tasks"]["dfa_bench_dfd"]["invalid"] == 100
    assert {p["answer"] for p in results["predictions"]} == {REFUSED}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["openai:"], "openai:: expected openai:NAME"),
        (["no/such", "--base-url", "http://127.0.0.1:9/v1"], "no/such: --base-url"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], said: str, data: Path) -> None:
    done = CliRunner().invoke(app, ["bench", *arguments, "--data", str(data)])
    assert done.exit_code == 2 and said in done.stderr


def test_without_a_key_and_a_server_it_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    done = CliRunner().invoke(app, ["bench", "openai:gpt-4o", "--data", str(data)])
    assert done.exit_code == 2 and "OPENAI_API_KEY is not set" in done.stderr


def test_killed_and_started_again_it_asks_only_what_is_missing(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    program = [sys.executable, str(Path(__file__).parents[1] / "speaking.py"), str(log)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            run = f"from dfa_instruct.cli import app; app(['bench', 'openai:tiny', '--base-url', {address!r}, "
            run += f"'--data', {str(data)!r}, '--concurrency', '2'])"
            running = subprocess.Popen([sys.executable, "-c", run], env=dict(os.environ), stderr=subprocess.DEVNULL)
            while len(log.read_text().splitlines()) < 8 and running.poll() is None:
                time.sleep(0.02)
            running.kill()
            running.wait()
            before = kept(data)
            assert before >= 5
            assert subprocess.run([sys.executable, "-c", run], stderr=subprocess.DEVNULL).returncode == 0
        finally:
            server.kill()
    answered = len(log.read_text().splitlines())
    assert 0 <= answered - kept(data) <= 3  # those that were under way when it was killed
