"""The command against a server that misbehaves: every face ends annotated, or marked with its reason."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from openai import _base_client
from typer.testing import CliRunner

from dfa_instruct.annotate.store import store_path
from dfa_instruct.cli import app
from dfa_instruct.vlm import client

KEY = "sk-fake-0123456789abcdef"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(_base_client, "INITIAL_RETRY_DELAY", 0.02)
    monkeypatch.setattr(client, "WAIT", 0.02)


def annotate(folder: Path, address: str, *more: object, ability: str = "ad") -> Any:
    where = ["--ability", ability, "--model", "tiny", "--base-url", address]
    return CliRunner().invoke(app, [str(word) for word in ("annotate", folder, *where, *more)])


def rows(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(store_path(folder))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM requests")]


def test_three_hundred_requests_to_a_server_that_misbehaves_all_end_and_none_is_asked_after_its_answer(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 300)
    steps = ["ok", "429", "500", "silence", "reset", "half", "no_completion"]
    steps += ["truncated", "prose", "fenced", "turns", "spanish", "refusal"]
    with server(random=steps) as (address, state):
        done = annotate(folder, address, "--concurrency", 32, "--timeout", 8)
        assert done.exit_code == 0, done.output
        found = rows(folder)
        became = Counter((row["status"], row["reason"]) for row in found)
        refused = became["marked", "refused: I will not do this."]
        assert refused > 5 and became == {
            ("annotated", ""): 300 - refused,
            ("marked", "refused: I will not do this."): refused,
        }
        assert max(row["attempts"] for row in found) > 1
        assert sum(row["tokens_in"] for row in found) == 1000 * state.answered.total()
        before = len(state.times)
        assert annotate(folder, address).exit_code == 0 and len(state.times) == before
    assert all(json.loads(row["parsed"])[0]["verdict"] for row in found if row["status"] == "annotated")
    compared = [row for row in found if row["pair_id"]]
    assert 0.3 < len(compared) / 300 < 0.45  # half of three quarters
    assert all(row["prompt"] == ("ad_compared 1" if row["pair_id"] else "ad_alone 1") for row in found)


@pytest.mark.parametrize(
    ("step", "status", "reason"),
    [
        ("refusal", "marked", "refused: I will not do this."),
        ("sorry", "marked", "refused: I'm sorry"),
        ("policy", "marked", "refused: rejected: 400 this picture is against our policy"),
        ("prose", "marked", "Your answer holds no JSON."),
        ("truncated", "marked", "Your answer is not valid JSON, or was cut off before its end."),
        ("spanish", "marked", "Your answer is not in English."),
        ("413", "failed", "rejected: 413 no such key or model"),
        ("500", "failed", "500 the key Bearer [key] met an error (6 times)"),
        ("silence", "failed", "no answer within 0.2 s (6 times)"),
        ("reset", "failed", "no connection"),
        ("half", "failed", "an invalid answer"),
        ("error", "failed", "an invalid answer: the server's answer is not a chat completion: the model is over"),
    ],
)
def test_a_request_that_is_never_answered_well_is_marked_with_its_reason(
    step: str, status: str, reason: str, tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 2)
    with server(plan=[step]) as (address, state):
        timeout = 0.2 if step == "silence" else 60
        done = annotate(folder, address, "--timeout", timeout)
        assert done.exit_code == (1 if status == "failed" else 0)
        assert ("2 requests got no answer" in done.output) == (status == "failed")
        found = rows(folder)
        assert [row["status"] for row in found] == [status] * 2
        assert all(row["reason"].startswith(reason) for row in found), found[0]["reason"]
        asked = state.asked.total()
        assert step == "silence" or asked == 2 * {"refusal": 1, "sorry": 1, "policy": 1, "413": 1}.get(
            step, 3 if status == "marked" else 6
        )
        annotate(folder, address, "--timeout", timeout)
        assert (state.asked.total() > asked) == (status == "failed")
        state.behaviour.plan = ["ok"]
        annotate(folder, address)
        assert {row["status"] for row in rows(folder)} == ({"annotated"} if status == "failed" else {"marked"})


def test_a_complaint_goes_back_to_the_model(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 1)
    with server(plan=["spanish", "ok"]) as (address, state):
        annotate(folder, address)
        (body,) = state.bodies.values()
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
        assert "labios" in body["messages"][1]["content"] and "not in English" in body["messages"][2]["content"]
        assert body["response_format"]["json_schema"]["strict"] is True
    (row,) = rows(folder)
    assert (row["status"], row["attempts"], row["tokens_out"]) == ("annotated", 2, 200)


def test_a_server_without_structured_output_is_asked_in_words(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 3)
    with server(plan=["fenced"], structured=False) as (address, state):
        assert annotate(folder, address, "--concurrency", 1).exit_code == 0
        assert all("response_format" not in body for body in state.bodies.values())
        assert len(state.times) == 4
    assert {row["status"] for row in rows(folder)} == {"annotated"}


def test_all_wait_as_long_as_retry_after_says(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 2)
    with server(plan=["429", "ok"], retry_after="1.2") as (address, state):
        assert annotate(folder, address, "--concurrency", 1).exit_code == 0
        assert state.times[1] - state.times[0] >= 1.2


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("401", "does not take the key"),
        ("402", "model 'tiny': 402"),
        ("403", "does not take the key in OPENAI_API_KEY: 403 not served in this country"),
        ("404", "expected a model that the server has, and its whole address"),
    ],
)
def test_a_wrong_key_or_model_ends_the_run_in_one_line(
    step: str, message: str, tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 30)
    with server(plan=[step]) as (address, state):
        done = annotate(folder, address, "--concurrency", 4)
        assert done.exit_code == 2 and message in done.output and KEY not in done.output
        assert len(state.times) <= 4
    assert rows(folder) == []


def test_conversations_are_asked_of_bona_fide_faces_too_and_from_what_was_described(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 4)
    with server() as (address, _):
        annotate(folder, address)
        assert annotate(folder, address, ability="fc").exit_code == 0
    found = [row for row in rows(folder) if row["ability"] == "fc"]
    assert len(found) == 8 and {len(json.loads(row["parsed"])) for row in found} == {4}
    told = Counter("The lips have a colour" in json.loads(row["words"])["artifacts"] for row in found)
    assert told == {True: 4, False: 4}


def prices(path: Path) -> Path:
    path.write_text("as_of: 2026-01-01\nbatch: 0.5\nmodels: {tiny: {input: 10, output: 100}}\n")
    return path


def test_the_budget_is_kept_over_all_runs(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder, dear = write_dataset(tmp_path / "faces", 20), prices(tmp_path / "prices.yaml")
    with server() as (address, _):  # 0.02 dollars each
        refused = annotate(folder, address, "--budget", 0.1)
        assert refused.exit_code == 2 and "--prices" in refused.output
        missing = annotate(folder, address, "--prices", tmp_path / "none.yaml")
        assert missing.exit_code == 2 and "none.yaml: no such file" in missing.output
        for _ in range(2):
            done = annotate(folder, address, "--budget", 0.1, "--prices", dear, "--concurrency", 4)
            assert done.exit_code == 1 and "the budget is spent" in done.output
            assert 0.06 <= sum(row["dollars"] for row in rows(folder)) <= 0.1 + 1e-9
        assert annotate(folder, address, "--budget", 1, "--prices", dear).exit_code == 0
    assert sum(row["dollars"] for row in rows(folder)) == pytest.approx(0.4)


def test_the_budget_is_kept_where_the_server_counts_no_tokens(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder, dear = write_dataset(tmp_path / "faces", 20), prices(tmp_path / "prices.yaml")
    with server(plan=["no_usage"]) as (address, state):  # about 0.03 dollars each
        done = annotate(folder, address, "--budget", 0.1, "--prices", dear)
        assert done.exit_code == 1 and "the budget is spent" in done.output
        assert 1 <= len(state.times) <= 4
    assert 0.02 <= sum(row["dollars"] for row in rows(folder)) <= 0.1


@pytest.mark.parametrize("step", ["negative", "huge"])
def test_tokens_that_cannot_be_are_not_counted(
    step: str, tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any
) -> None:
    folder = write_dataset(tmp_path / "faces", 1)
    with server(plan=[step]) as (address, _):
        assert annotate(folder, address).exit_code == 1
    assert [(row["status"], row["tokens_in"]) for row in rows(folder)] == [("failed", 0)]


def test_a_server_is_named_by_its_whole_address_and_wants_its_key(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path / "faces", 1)
    bare = annotate(folder, "127.0.0.1:8000/v1")
    assert bare.exit_code == 2 and "--base-url: expected http" in bare.output and not store_path(folder).exists()
    monkeypatch.delenv("OPENAI_API_KEY")
    with server(plan=["401"]) as (address, _):
        assert "the server wants a key, and OPENAI_API_KEY is not set: 401" in annotate(folder, address).output


def test_a_dry_run_says_what_it_would_cost_and_asks_nothing(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path / "faces", 8)
    monkeypatch.delenv("OPENAI_API_KEY")
    command = ["annotate", str(folder), "--ability", "fc", "--model", "gpt-4o", "--dry-run", "--limit", "10"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and not store_path(folder).exists()
    assert "fc 1" in done.output and "10" in done.output and "as of 2025-06-01" in " ".join(done.output.split())
    asked = CliRunner().invoke(app, command[:-3])
    assert asked.exit_code == 2 and "OPENAI_API_KEY is not set" in asked.output


def test_no_key_is_left_anywhere(tmp_path: Path, write_dataset: Callable[[Path, int], Path], server: Any) -> None:
    folder = write_dataset(tmp_path / "faces", 4)
    with server(random=["500", "prose", "ok"]) as (address, state):
        said = annotate(folder, address).output + annotate(folder, address, ability="fc").output
        assert all(headers["authorization"] == f"Bearer {KEY}" for headers in state.headers)
    said += CliRunner().invoke(app, ["instruct", str(folder), "--output", str(tmp_path / "asked")]).output
    assert KEY not in said
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
