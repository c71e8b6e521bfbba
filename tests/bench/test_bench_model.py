"""Asking a model: again for one word, with room for thoughts, with probabilities, and with kept answers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_data import TEST, opened, tiny_base, write_counts
from speaking import question, speaking
from typer.testing import CliRunner

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.predictions import read_predictions
from dfa_instruct.bench.report.markdown import write_report
from dfa_instruct.bench.report.paper_tables import markdown, paper_table, read_result
from dfa_instruct.bench.results import write_results
from dfa_instruct.bench.runner import load_rows, run_bench
from dfa_instruct.bench.tasks.questions import document
from dfa_instruct.cli import app
from dfa_instruct.vlm.chat import THOUGHT_TOKENS, Answer, Chat
from dfa_instruct.vlm.endpoint import Endpoint
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel

DFD = ["dfa_bench_dfd"]
Body = dict[str, Any]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fake")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_counts(tmp_path / "dfa-instruct", test=TEST)


def kept(data: Path) -> list[tuple[str, str]]:
    path = data.with_name("dfa-instruct.answers.sqlite")
    return sqlite3.connect(path).execute("SELECT model, text FROM answers").fetchall() if path.exists() else []


def test_an_unread_answer_is_asked_again_in_the_same_conversation(data: Path, tmp_path: Path) -> None:
    hedge = "It would be wrong to call this a fake."
    bodies: list[Body] = []

    def say(body: Body) -> str:
        bodies.append(body)
        if "option is it?" in question(body):
            return "A"
        return "no" if "one word" in question(body) else hedge

    with speaking(say) as address:
        results = {
            "model": "hedging",
            **run_bench(BenchModel(Endpoint("tiny", address)), data, tasks=[*DFD, "dfa_bench_dfc"]),
        }
    assert results["answers"]["dfa_bench_dfd"] == dict.fromkeys(("unread", "thought", "cut", "empty"), 0) | {
        "asked_again": 100
    }
    assert results["answers"]["dfa_bench_dfc"]["asked_again"] == 100
    assert results["tasks"]["dfa_bench_dfd"] == {"acc": 38.46, "err": 61.54, "acer": 50, "invalid": 0}
    second = next(body for body in bodies if len(body["messages"]) == 3)["messages"]
    assert [message["role"] for message in second] == ["user", "assistant", "user"] and second[1]["content"] == hedge
    assert any(m["messages"][-1]["content"].endswith("A, B, C, D or E.") for m in bodies if len(m["messages"]) == 3)
    write_results(results, tmp_path / "out")
    write_report(results, data, tmp_path / "out")
    (first, *_) = read_predictions(tmp_path / "out")
    assert (first["answer"], first["one_word"], first["predicted"]) == (hedge, "no", "bona_fide")
    assert "| DF-D | 100.00 | 0.00 |" in (tmp_path / "out" / "report.md").read_text()
    printed = markdown(paper_table(3, [read_result(str(tmp_path / "out"))]))
    assert "asked again for one word: DF-D 100.00 %, DF-C 100.00 %" in printed


def test_what_stays_unread_is_wrong_and_what_is_read_is_not_asked_again(data: Path) -> None:
    bodies: list[Body] = []

    def say(body: Body) -> str:
        bodies.append(body)
        return "I cannot tell." if len(bodies) % 2 else "Yes"

    with speaking(say) as address:
        results = run_bench(BenchModel(Endpoint("tiny", address, concurrency=1)), data, tasks=DFD, limit=1)
        assert results["answers"]["dfa_bench_dfd"]["asked_again"] == 100 and len(bodies) == 2
    with speaking(lambda body: "I cannot tell.") as address:
        results = run_bench(BenchModel(Endpoint("tiny", address)), data, tasks=DFD, limit=1)
    assert results["tasks"]["dfa_bench_dfd"]["invalid"] == results["answers"]["dfa_bench_dfd"]["unread"] == 100


@pytest.mark.parametrize("apart", [False, True])  # within the text, or as servers with a reasoning parser give it
def test_a_model_that_thinks_gets_room_and_its_thought_is_kept(data: Path, apart: bool) -> None:
    thought = "It looks real. Not a fake? No."
    sent: list[int] = []

    def say(body: Body) -> Body:
        sent.append(body["max_tokens"])
        if body["max_tokens"] < 1000:
            cut: Body = {"content": "", "reasoning_content": thought} if apart else {"content": f"<think>{thought}"}
            return {**cut, "finish_reason": "length"}
        whole: Body = (
            {"content": "Yes", "reasoning_content": thought} if apart else {"content": f"<think>{thought}</think>Yes"}
        )
        return {**whole, "finish_reason": "stop"}

    with speaking(say) as address:
        model = opened("openai:tiny", data, address, concurrency=1)
        results = run_bench(model, data, tasks=DFD)
    assert {p["predicted"] for p in results["predictions"]} == {"forged"}
    assert {(p["thought"], p["answer"], p["finish_reason"]) for p in results["predictions"]} == {
        (thought, "Yes", "stop")
    }
    assert sent[:2] == [128, 128 + THOUGHT_TOKENS] and sent.count(128) == 1  # found out once
    assert results["answers"]["dfa_bench_dfd"] | {"thought": 100, "cut": 0} == results["answers"]["dfa_bench_dfd"]
    assert {text for _, text in kept(data)} == {"Yes"}


def test_cut_and_empty_answers_are_told_and_not_kept(data: Path, tmp_path: Path) -> None:
    said: Body = {"content": "", "finish_reason": "stop"}
    with speaking(lambda body: dict(said)) as address:
        command = ["bench", "openai:tiny", "--base-url", address, "--data", str(data), "--task", *DFD]
        done = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "out")], env={"COLUMNS": "300"})
        assert done.exit_code == 0 and "DF-D: 100 % of the answers are empty" in done.stdout and not kept(data)
        said |= {"content": "The skin of this", "finish_reason": "length"}
        done = CliRunner().invoke(app, [*command, "--answer-tokens", "7"], env={"COLUMNS": "300"})
        assert "DF-D: 100 % of the answers were cut off" in done.stdout and not kept(data)
        said |= {"content": "Yes", "finish_reason": "stop"}
        done = CliRunner().invoke(app, [*command, "--answer-tokens", "7", "--output", str(tmp_path / "out")])
    assert len(kept(data)) == 5 and {p["finish_reason"] for p in read_predictions(tmp_path / "out")} == {"stop"}
    assert json.loads((tmp_path / "out" / "results.json").read_text())["answers"]["dfa_bench_dfd"]["cut"] == 0


def test_answer_tokens_are_what_is_sent(data: Path) -> None:
    sent: set[int] = set()
    with speaking(lambda body: sent.add(body["max_tokens"]) or "<think>Hm") as address:  # type: ignore[func-returns-value]
        run_bench(opened("openai:tiny", data, address, answer_tokens=300), data, tasks=DFD)
    assert sent == {300}


def tokens(*likeliest: tuple[str, float]) -> Body:
    return {"content": [{"token": "?", "top_logprobs": [{"token": t, "logprob": p} for t, p in likeliest]}]}


def test_a_servers_probabilities_give_auc_and_calibration(data: Path) -> None:
    bodies: list[Body] = []

    def say(body: Body) -> Body:
        bodies.append(body)
        return {"content": "Yes", "logprobs": tokens((" yes", -0.3), ("Yes", -2.0), ("The", -3.0), ("No", -9999.0))}

    with speaking(say) as address:
        results = run_bench(BenchModel(Endpoint("tiny", address)), data, tasks=DFD)
    assert all(body["logprobs"] is True and body["top_logprobs"] == 20 for body in bodies)
    assert {"auc", "eer", "ece"} <= results["scores"]["probabilities"].keys()
    first = results["predictions"][0]["first_token"]
    assert first["Yes"] == pytest.approx(-0.1328, abs=1e-3) and first["No"] == -100


@pytest.mark.parametrize(
    "refusal",
    [
        {"status": 400, "error": "top_logprobs is not known"},
        {"status": 403, "error": "You are not allowed to request logprobs from this model"},
        {"status": 400, "error": "extra inputs"},
    ],
)
def test_a_server_that_refuses_them_is_asked_without_and_it_is_said_once(
    data: Path, refusal: Body, capsys: pytest.CaptureFixture[str]
) -> None:
    with speaking(lambda body: dict(refusal) if "logprobs" in body else "Yes") as address:
        results = run_bench(BenchModel(Endpoint("tiny", address)), data, tasks=[*DFD, "dfa_bench_dfc"])
    assert results["tasks"]["dfa_bench_dfd"]["acc"] == 61.54 and "probabilities" not in results["scores"]
    assert capsys.readouterr().err.count("gives no log probabilities") == 1


def asked_of(data: Path, say: Callable[[Body], Any], models: list[Body], times: int = 1) -> list[int]:
    """Ask one server so many times; return how many requests each took."""
    bodies: list[Body] = []

    def counted(body: Body) -> Any:
        bodies.append(body)
        return say(body)

    counts = []
    with speaking(counted, models) as address:
        for _ in range(times):
            bodies.clear()
            run_bench(opened("openai:tiny", data, address), data, tasks=DFD)
            counts.append(len(bodies))
    return counts


def test_kept_answers_are_of_a_model_at_an_address(data: Path) -> None:
    entry = {"id": "tiny", "root": "a", "created": 1}
    assert asked_of(data, lambda body: "Yes", [entry], times=2) == [5, 0]
    assert asked_of(data, lambda body: "No", [entry]) == [5]  # another port
    assert len({model for model, _ in kept(data)}) == 2
    assert not [model for model, _ in kept(data) if "127.0.0.1" in model]


def test_what_the_server_says_of_itself_makes_another_model(data: Path) -> None:
    models = [{"id": "tiny", "root": "weights-1", "created": 1}]
    state = {"now": "fp_1"}
    requests: list[str] = []

    def say(body: Body) -> Body:
        requests.append(question(body))
        return {"content": "Yes", "system_fingerprint": state["now"]}

    def asked(address: str) -> int:
        requests.clear()
        run_bench(opened("openai:tiny", data, address), data, tasks=DFD)
        return len([text for text in requests if text != "Say yes."])

    with speaking(say, models) as address:
        assert asked(address) == 5
        models[0]["created"] = 2  # some servers say the time of the request
        assert asked(address) == 0
        state["now"] = "fp_2"
        assert asked(address) == 5
        state["now"] = "fp_1"
        assert asked(address) == 0
        models[0]["root"] = "weights-2"
        assert asked(address) == 5


def test_the_key_is_masked_in_errors_and_not_in_answers(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " fake\n")
    seen: list[str] = []

    def say(body: Body) -> str:
        seen.append(body["headers"]["Authorization"])
        return "Yes, this is a fake."

    with speaking(say) as address:
        results = run_bench(BenchModel(Endpoint("tiny", address)), data, tasks=DFD)
    assert {p["answer"] for p in results["predictions"]} == {"Yes, this is a fake."} and set(seen) == {"Bearer fake"}
    with speaking(lambda body: {"status": 401, "error": "the key fake is unknown"}) as address:
        done = CliRunner().invoke(app, ["bench", "openai:tiny", "--base-url", address, "--data", str(data)])
    assert done.exit_code == 2 and "the key [key] is unknown" in done.stderr
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abc\ndef")
    done = CliRunner().invoke(app, ["bench", "openai:tiny", "--base-url", address, "--data", str(data)])
    assert done.exit_code == 2 and "OPENAI_API_KEY: expected one word" in done.stderr and "abc" not in done.stderr


def test_a_tiny_model_in_process_is_asked_again_and_says_how_it_ended(data: Path, tmp_path: Path) -> None:
    model = BenchModel(VisionLanguageModel(tiny_base(tmp_path / "model", seed=0)))
    model.model.budget.limit = 3
    results = run_bench(model, data, tasks=DFD, limit=2)
    assert {p["finish_reason"] for p in results["predictions"]} <= {"length", "stop"}
    assert all(p["predicted"] is not None or p["one_word"] is not None for p in results["predictions"])
    asked = model.ask_again([document(load_rows(data, 1)[0], DFD[0])], ["Maybe."], ["Yes or no?"])
    assert len(asked) == 1 and asked[0].text[0] is not None
    assert not model.model.budget.thinks


def test_a_thought_in_process_is_split_off_and_a_template_that_opens_one_is_known(data: Path, tmp_path: Path) -> None:
    folder = tiny_base(tmp_path / "model", seed=0)
    template = folder / "chat_template.jinja"
    assert template.is_file()
    template.write_text(template.read_text() + "{% if add_generation_prompt %}<think>\n{% endif %}")
    model = VisionLanguageModel(folder)
    assert model.budget.thinks
    ids = model.processor.tokenizer("Is this face forged?</think> The artifacts.", add_special_tokens=False)[
        "input_ids"
    ]
    import torch

    chat = Chat(b"", ("?",), 4, ("Yes", "No"))
    made = model._decode(chat, torch.tensor([*ids, 2]), torch.zeros(400))
    assert made == Answer("The artifacts.", (), "Is this face forged?", "stop")
    cut = model._decode(chat, torch.tensor(ids[:3]), torch.zeros(400))
    assert (cut.text, cut.finish_reason) == ("", "length") and cut.thought and not cut.is_complete
