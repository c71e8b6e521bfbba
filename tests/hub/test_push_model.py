"""`dfa-gpt push`: an adapter, its base, the merged model, and their cards."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from card_schema import problems
from hub_client import Client
from hub_double import Hub
from hub_store import TOKEN
from huggingface_hub.repocard_data import model_index_to_eval_results
from typer.testing import CliRunner

from dfa_instruct.bench.tasks.questions import TASKS
from dfa_instruct.vocabulary import BenchTask
from modeling_dfa_gpt.calibration import Calibration
from modeling_dfa_gpt.cli import app
from modeling_dfa_gpt.hub.card import Base, model_card

PUSH = (Path(sys.executable).parent / "dfa-gpt", "push")
BASE, ADAPTER, MERGED = "analyst/base", "analyst/dfa-gpt-tiny", "analyst/dfa-gpt-tiny-merged"
LOGITS = """
import sys
import torch
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from modeling_dfa_gpt.dfa_gpt import DfaGpt

def logits(model, name):
    image = {"type": "image", "image": Image.new("RGB", (128, 128), "tan")}
    content = [image, {"type": "text", "text": "Is it forged?"}]
    inputs = AutoProcessor.from_pretrained(name).apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
        return_tensors="pt", processor_kwargs={"add_special_tokens": False},
    )
    with torch.inference_mode():
        return model.eval()(**inputs).logits

here, adapter, base, merged = sys.argv[1:]
expected = logits(AutoModelForImageTextToText.from_pretrained(here), here)
by_peft = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), adapter)
assert torch.equal(logits(by_peft, adapter), expected)
assert torch.equal(logits(AutoModelForImageTextToText.from_pretrained(adapter), adapter), expected)
ours = DfaGpt.from_pretrained(adapter)
assert torch.equal(logits(ours.model, adapter), expected) and ours.calibration.images == 30
assert (logits(AutoModelForImageTextToText.from_pretrained(merged), merged) - expected).abs().max() < 1e-4
assert DfaGpt.from_pretrained(merged).calibration == ours.calibration
"""


def figures(start: float) -> dict[str, dict[str, float]]:
    numbers = iter(range(100))
    return {
        task: {metric: round(start + next(numbers) / 7, 2) for metric in TASKS[task].results} | unreadable(task)
        for task in BenchTask
    }


def unreadable(task: BenchTask) -> dict[str, float]:
    return {"invalid": 1.25} if "invalid" in TASKS[task].results else {}


RESULTS: dict[str, Any] = {
    "tasks": figures(80),
    "details": {"dfa_bench_dfd": {"bpcer": 1.01, "apcer_face_swapping": 2.02, "apcer_face_editing": None}},
    "scores": {"techniques": {"lips": 3.03, "macro": 3.03, "worst": 3.03}},
    "baselines": {"majority": figures(40), "chance": {"dfa_bench_dfd": {"acc": 51.5}}},
    "conversation": {
        name: dict.fromkeys(
            ("right_kind", "contradictions", "region_precision", "region_recall", "false_claims", "repeated"), number
        )
        for name, number in (("templates", 61.11), ("image_blind", 22.22))
    },
    "counts": {"images": 240},
}


@pytest.fixture(scope="session")
def calibrated(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated and measured adapter, as in a quickstart."""
    folder = tmp_path_factory.mktemp("calibrated") / "adapter"
    shutil.copytree(adapter, folder)
    tested = {"images": 60, "people": 12, "balanced_acc": 71.25, "low": 60.5, "high": 80.75}
    Calibration(2.5, -0.5, 30, tested).write(folder)
    (folder / "results.json").write_text(json.dumps(RESULTS))
    return folder


def pushed(hub: Hub, repo: str) -> dict[str, bytes]:
    commit = hub.repository("model", repo.partition("/")[2]).log()[0]
    return {path: blob.content for path, blob in commit.files.items() if path != ".gitattributes"}


def test_pushed_models_give_the_same_logits_and_a_merged_one_replaces_the_adapter(
    calibrated: Path, base: Path, hub: Hub, client: Client, tmp_path: Path
) -> None:
    client.output(*PUSH, base, BASE)
    client.output(*PUSH, calibrated, ADAPTER, "--base", BASE)
    client.output(*PUSH, calibrated, MERGED, "--merged")
    stranger = Client(hub, tmp_path / "stranger")
    stranger.output("-c", LOGITS, calibrated, ADAPTER, BASE, MERGED, token=None)
    for repo in (BASE, ADAPTER, MERGED):
        assert len(hub.repository("model", repo.partition("/")[2]).log()) == 2
        for name, file in pushed(hub, repo).items():
            for secret in (TOKEN, str(base), str(calibrated), str(tmp_path)):
                assert secret.encode() not in file, name
        card = pushed(hub, repo)["README.md"].decode()
        assert problems(card, "model") == [] and "license: apache-2.0\n" in card
    assert json.loads(pushed(hub, ADAPTER)["adapter_config.json"])["base_model_name_or_path"] == BASE
    assert not {"run.json", "trainer_state.json"} & set(pushed(hub, ADAPTER))
    merged = pushed(hub, MERGED)
    assert "adapter_config.json" not in merged and "PeftModel" not in merged["README.md"].decode()
    client.output(*PUSH, calibrated, ADAPTER, "--merged")
    assert "model.safetensors" in pushed(hub, ADAPTER)
    assert not {"adapter_config.json", "adapter_model.safetensors"} & set(pushed(hub, ADAPTER))


def test_adapter_with_a_local_base_is_refused(calibrated: Path, base: Path, hub: Hub) -> None:
    done = CliRunner().invoke(app, ["push", str(calibrated), ADAPTER, "--dry-run"])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert f"its base is the folder {base}, which others do not have" in done.stderr
    assert f"dfa-gpt push {base} USER/NAME" in done.stderr and "--merged" in done.stderr


def test_base_with_other_weights_is_refused(calibrated: Path, base: Path, hub: Hub, client: Client) -> None:
    line = client.refusal(*PUSH, calibrated, ADAPTER, "--base", BASE)
    assert f"--base {BASE}: there is no such repository" in line
    other = client.home / "other"
    shutil.copytree(base, other)
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    client.output(*PUSH, other, BASE)
    line = client.refusal(*PUSH, calibrated, ADAPTER, "--base", BASE)
    assert f"--base {BASE}: its weights on the Hub differ from those of the adapter's base, {base}" in line
    assert ("model", ADAPTER) not in hub.store.repositories


def test_missing_local_base_is_not_taken_for_a_hub_id(calibrated: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(calibrated, moved)
    for name, change in (("adapter_config.json", {"base_model_name_or_path": "runs/base"}), ("run.json", {})):
        held = json.loads((moved / name).read_text())
        held.update(change)
        if name == "run.json":
            held["base"] = {"name": "runs/base", "commit": None}
        (moved / name).write_text(json.dumps(held))
    done = CliRunner().invoke(app, ["push", str(moved), ADAPTER, "--dry-run"])
    assert done.exit_code == 2 and "its base is the folder runs/base" in done.stderr


def test_dry_run_shows_the_card_and_sends_no_request(calibrated: Path, hub: Hub, client: Client) -> None:
    shown = client.output(*PUSH, calibrated, ADAPTER, "--base", BASE, "--dry-run", token=None)
    size = (calibrated / "adapter_model.safetensors").stat().st_size
    assert re.search(rf"adapter_model\.safetensors +│ +{size:,} ", shown)
    assert f"base_model: {BASE}" in shown and not hub.requests


def test_card_contains_the_results(calibrated: Path) -> None:
    card = model_card(calibrated, Base("`a/base`", "a/base", {"license": "llama2"}), RESULTS, repo=ADAPTER)
    assert problems(str(card), "model") == []
    name, measured = model_index_to_eval_results(card.data.to_dict()["model-index"])
    assert name == "dfa-gpt-tiny"
    expected = [(task, value) for task, of_task in RESULTS["tasks"].items() for value in of_task.values()]
    assert [result.metric_value for result in measured] == [value for _, value in expected]
    assert measured[0].metric_args == {"baseline_majority": 40.0, "baseline_chance": 51.5}
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in card.text.splitlines() if line[:2] == "| "}
    for row, tasks in (("the model", RESULTS["tasks"]), ("majority", RESULTS["baselines"]["majority"])):
        assert [float(cell) for cell in rows[row]] == [v for of_task in tasks.values() for v in of_task.values()]
    assert [rows[name] for name in ("bona fide", "face swapping", "lips")] == [[" 1.01 "], [" 2.02 "], [" 3.03 "]]
    assert "face editing" not in rows
    assert {float(cell) for cell in rows["in the templates' words"]} == {61.11}
    for text in ("on 240 faces", "calibrated on 30 faces", "71.25 % on 60 faces", "60.5 to 80.75"):
        assert text in card.text, text
    run = json.loads((calibrated / "run.json").read_text())
    assert run["data"]["sha256"] in card.text and rows["learning_rate"] == [f" `{run['settings']['learning_rate']}` "]
    assert "model_name_or_path" not in card.text and "output_dir" not in card.text


def test_cards_state_the_language_and_the_datasets(calibrated: Path, tmp_path: Path) -> None:
    for merged in (False, True):
        header = model_card(calibrated, Base("`b`"), repo=ADAPTER, merged=merged).data.to_dict()
        assert header["language"] == ["en"] and header["datasets"] == ["dfa-instruct"]
    run = json.loads((calibrated / "run.json").read_text())
    named = ["analyst/faces", "dfa-instruct", "runs/mine/dfa-instruct", "./faces", str(tmp_path)]
    run["settings"]["datasets"] = [{"path": name} for name in named]
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert model_card(tmp_path, Base("`b`")).data.to_dict()["datasets"] == ["analyst/faces", "dfa-instruct"]


def test_tasks_with_unparsed_answers_are_not_in_the_model_index(calibrated: Path) -> None:
    unread = {**RESULTS, "tasks": {task: dict(of_task) for task, of_task in RESULTS["tasks"].items()}}
    unread["tasks"]["dfa_bench_dft"]["invalid"] = 82.08
    unread["tasks"]["dfa_bench_dfc"]["invalid"] = 10.0
    card = model_card(calibrated, Base("`b`"), unread, repo=ADAPTER)
    assert problems(str(card), "model") == []
    _, measured = model_index_to_eval_results(card.data.to_dict()["model-index"])
    assert {result.metric_name.split()[0] for result in measured if result.metric_name} == {"DF-D", "DF-C", "AD"}
    assert "82.08 % of the answers to DF-T" in card.text
    assert "more than 10 %" in card.text and "answers to DF-C could" not in card.text
    only = {**unread, "tasks": {"dfa_bench_dft": unread["tasks"]["dfa_bench_dft"]}}
    assert "model-index" not in model_card(calibrated, Base("`b`"), only, repo=ADAPTER).data.to_dict()


def test_card_without_measurements(adapter: Path, tmp_path: Path) -> None:
    card = model_card(adapter, Base("`b`"), repo=ADAPTER)
    assert problems(str(card), "model") == [] and "model-index" not in card.data.to_dict()
    assert "not measured yet" in card.text and "is not calibrated" in card.text and " %" not in card.text
    partial = {"tasks": {"dfa_bench_dfc": {"acc": 12.5, "invalid": None}}, "details": {}, "counts": {"images": 8}}
    card = model_card(adapter, Base("`b`"), partial, repo=ADAPTER)
    assert problems(str(card), "model") == []
    [result] = model_index_to_eval_results(card.data.to_dict()["model-index"])[1]
    assert (result.metric_value, result.metric_args) == (12.5, None)
    assert "baselines were not measured" in card.text and "Conversations were not measured" in card.text
    assert "wrong DF-D answers" not in card.text


def test_card_of_a_folder_contains_the_results(tmp_path: Path) -> None:
    card = model_card(tmp_path, Base("the base", licence={"license": "mit"}), RESULTS)
    assert problems(str(card), "model") == [] and "| the model |" in card.text
    assert model_index_to_eval_results(card.data.to_dict()["model-index"])[0] == "DFA-GPT"


@pytest.mark.parametrize("broken", ["{", "{}"])
def test_invalid_results_are_named(calibrated: Path, tmp_path: Path, broken: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(broken)
    done = CliRunner().invoke(app, ["push", str(calibrated), ADAPTER, "--merged", "--results", str(file), "--dry-run"])
    assert done.exit_code == 2 and f"{file}: " in done.stderr


def test_full_model_needs_its_own_card(base: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(base, bare)
    (bare / "README.md").unlink()
    done = CliRunner().invoke(app, ["push", str(bare), BASE, "--dry-run"])
    assert done.exit_code == 2 and f"{bare / 'README.md'}: no such file" in done.stderr
