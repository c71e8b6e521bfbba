"""`dfa-gpt push-space`: the pushed code runs as a Space."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from card_schema import problems
from hub_client import Client
from hub_double import Hub
from hub_store import TOKEN
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.sources.portraits.drawing import draw_sample
from modeling_dfa_gpt.cli import app

gradio_client = pytest.importorskip("gradio_client")

DFA_GPT = Path(sys.executable).parent / "dfa-gpt"
BASE, MODEL, SPACE = "analyst/base", "analyst/dfa-gpt-tiny", "analyst/faces"
PUSH = (DFA_GPT, "push-space", MODEL, SPACE)
FETCH = f"from huggingface_hub import snapshot_download; snapshot_download('{SPACE}', repo_type='space', local_dir='.')"


@pytest.fixture
def model(adapter: Path, base: Path, client: Client) -> None:
    """A model on the Hub."""
    client.output(DFA_GPT, "push", base, BASE)
    client.output(DFA_GPT, "push", adapter, MODEL, "--base", BASE)


def test_pushed_space_opens_the_page_of_the_model(model: None, hub: Hub, client: Client, tmp_path: Path) -> None:
    client.output(*PUSH)
    head = hub.repository("space", "faces").log()[0]
    assert problems(head.files["README.md"].content.decode(), "space") == []
    assert not [name for name in head.files if name.endswith((".pyc", ".safetensors"))]
    needed = head.files["requirements.txt"].content.decode()
    assert {"gradio", "torch"} <= set(re.findall(r"(?m)^[\w-]+", needed)) and ";" not in needed
    for name, blob in head.files.items():
        for secret in (TOKEN, str(tmp_path)):
            assert secret.encode() not in blob.content, name

    stranger = Client(hub, tmp_path / "stranger")
    stranger.output("-c", FETCH, token=None)
    locate = "import dfa_instruct, modeling_dfa_gpt as m; print(dfa_instruct.__path__[0], m.__path__[0], sep='\\n')"
    assert {Path(p).parent for p in stranger.output("-c", locate).splitlines()} == {stranger.home}
    running = subprocess.Popen(**stranger.command(("app.py",), None), stdout=subprocess.PIPE, text=True)
    try:
        line = next(line for line in running.stdout or () if "answers at" in line)
        port = re.findall(r":(\d+)", line)[0]
        visitor = gradio_client.Client(f"http://127.0.0.1:{port}/", verbose=False)
        Image.fromarray(next(draw_sample(1, 1)).image).save(tmp_path / "face.png")
        known = visitor.predict(gradio_client.handle_file(tmp_path / "face.png"), None, api_name="/analyze")
        # Without a FaceLandmarker there is a reason in place of the verdict.
        assert known["label"] in ("bona_fide", "forged") or known["reason"].startswith("the face was not detected")
        assert head.oid and hub.repository("model", "dfa-gpt-tiny").log()[0].oid in visitor.predict(api_name="/report")
    finally:
        running.terminate()
        running.wait(60)


def test_second_push_deletes_old_files_of_ours_only(hub: Hub, client: Client) -> None:
    hub.store.create("model", *MODEL.split("/"), private=False)
    client.output(*PUSH, "--private")
    repository = hub.repository("space", "faces")
    first = repository.log()[0].files
    foreign, old = next(iter(first.values())), "modeling_dfa_gpt/old.py"
    repository.add("main", "by hand", {**first, old: foreign, "notes.txt": foreign})
    client.output(*PUSH)
    assert repository.private and repository.log()[0].files == {**first, "notes.txt": foreign}


def test_dry_run_shows_the_card_and_sends_no_request(hub: Hub, client: Client) -> None:
    shown = client.output(*PUSH, "--dry-run", token=None)
    assert f"- {MODEL}" in shown and "modeling_dfa_gpt/app/page.py" in shown and not hub.requests


def test_model_that_a_space_cannot_load_is_a_one_line_error(hub: Hub, client: Client, adapter: Path) -> None:
    assert f"{MODEL}: there is no such repository" in client.refusal(*PUSH)
    assert not hub.store.repositories
    done = CliRunner().invoke(app, ["push-space", str(adapter), SPACE])
    assert done.exit_code == 2 and f"dfa-gpt push {adapter} USER/NAME" in done.stderr
