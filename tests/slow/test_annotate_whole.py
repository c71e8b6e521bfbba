"""From the drawn sample to two steps of training, with what a model wrote; and a real server of a real, tiny model."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from datasets import load_dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "annotate"))
from misbehaving import TURNS, Misbehaviour, State, serving

from dfa_instruct.annotate.store import store_path
from dfa_instruct.review.reviewer import Work

PATIENCE = 300


def dfa_instruct(*words: object, status: int = 0) -> str:
    command = [sys.executable, "-c", "from dfa_instruct.cli import app; app()", *map(str, words)]
    environment = {**os.environ, "OPENAI_API_KEY": "sk-fake"}
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == status, done.stdout
    return done.stdout


def test_sample_build_annotate_review_instruct_verify_load_and_train(
    dataset_folder: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modeling_dfa_gpt.sft import train

    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    steps = ["ok", "500", "prose", "429", "truncated"]
    with serving(State(Misbehaviour(random=steps))) as address:
        for ability in ("ad", "fc"):
            dfa_instruct("annotate", folder, "--ability", ability, "--model", "tiny", "--base-url", address)
    work = Work(folder, "test", "ann")
    accepted, rejected = work.items[:2]
    work.decide(accepted, "accept")
    work.decide(rejected, "reject")
    dfa_instruct("instruct", folder)
    dfa_instruct("verify", folder)
    by = {row["face_id"]: row["ad_by"] for row in load_dataset("dfa-instruct", data_dir=str(folder), split="test")}
    assert by[accepted.face_id] == f"{accepted.by}, accepted by ann" != by[rejected.face_id] == "measured"
    rows = load_dataset("dfa-instruct", "conversations", data_dir=str(folder), split="train")
    assert any(TURNS[0]["answer"] == message["content"] for message in rows[0]["messages"])
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(folder))
    recipe = Path(__file__).parents[2] / "recipes" / "dfa-gpt-tiny" / "sft.yaml"
    where = ["--model_name_or_path", str(base), "--output_dir", str(tmp_path / "adapter")]
    train(["--config", str(recipe), *where, "--max_steps", "2", "--gradient_accumulation_steps", "1"])
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_transformers_serve_is_asked_with_pictures_and_its_prose_is_marked(
    dataset_folder: Path, base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    program = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", program, "serve", str(base), "--port", str(port)]
    with subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}) as server:
        try:
            deadline = time.monotonic() + PATIENCE
            while not answers(port):
                assert server.poll() is None and time.monotonic() < deadline
                time.sleep(1)
            address = f"http://127.0.0.1:{port}/v1"
            where = ["--ability", "ad", "--model", base, "--base-url", address, "--limit", 2, "--concurrency", 1]
            said = dfa_instruct("annotate", folder, *where)
        finally:
            server.kill()
    print(said)
    with closing(sqlite3.connect(store_path(folder))) as store:
        rows = store.execute("SELECT status, reason, attempts, tokens_in, tokens_out, answer FROM requests").fetchall()
    print(rows)
    assert len(rows) == 2
    for status, reason, attempts, tokens_in, tokens_out, answer in rows:
        assert (status, attempts) == ("marked", 3) and "JSON" in reason
        assert tokens_in > 3 * 64 and tokens_out > 0 and answer  # the picture's tokens are among them


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
