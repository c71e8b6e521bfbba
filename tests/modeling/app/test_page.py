"""The page over HTTP, through Gradio's client: answers, refusals, and the privacy of each session."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import httpx
import pytest
from PIL import Image

gradio_client = pytest.importorskip("gradio_client")

from layouts import write_video  # noqa: E402
from test_upload import encoded, hostile, noise  # noqa: E402
from visitor import serving  # noqa: E402

from modeling_dfa_gpt.app.case import Case  # noqa: E402
from modeling_dfa_gpt.app.handlers import Handlers  # noqa: E402
from modeling_dfa_gpt.app.upload import MAX_FILE_BYTES  # noqa: E402
from modeling_dfa_gpt.dfa_gpt import DfaGpt  # noqa: E402


@pytest.fixture
def client(address: str) -> gradio_client.Client:
    return gradio_client.Client(address, verbose=False)


def test_api_analyzes_chats_and_reports(client: gradio_client.Client, model: DfaGpt, portrait: Path) -> None:
    known = client.predict(gradio_client.handle_file(portrait), None, api_name="/analyze")
    expected = model.analyze(portrait)
    assert known["label"] == expected.label and known["description"] == expected.description
    assert known["probability"] == pytest.approx(expected.probability, abs=1e-4)
    streamed = list(client.submit("And the eyes?", api_name="/chat"))
    assert len(streamed) > 1 and streamed[-1].startswith(streamed[0]) and streamed[-1]
    report = client.predict(api_name="/report")
    assert known["sha256"] in report and "And the eyes?" in report


def test_sessions_do_not_see_each_other(address: str, portrait: Path) -> None:
    one, other = (gradio_client.Client(address, verbose=False) for _ in range(2))
    one.predict(gradio_client.handle_file(portrait), None, api_name="/analyze")
    for api_name, given in (("/chat", ["Is it forged?"]), ("/report", [])):
        with pytest.raises(gradio_client.exceptions.AppError, match="Give a picture first"):
            other.predict(*given, api_name=api_name)


def test_hostile_files_are_refused_and_not_served(client: gradio_client.Client, address: str, tmp_path: Path) -> None:
    for name, (content, expected) in hostile().items():
        if len(content) > MAX_FILE_BYTES:
            continue
        (tmp_path / name).write_bytes(content)
        sent = httpx.post(f"{address}gradio_api/upload", files={"files": (name, content)})
        with pytest.raises(gradio_client.exceptions.AppError) as refused:
            client.predict(gradio_client.handle_file(tmp_path / name), None, api_name="/analyze")
        assert expected in str(refused.value), name
        assert httpx.get(f"{address}gradio_api/file={sent.json()[0]}").status_code in (403, 404), name


def test_large_uploads_are_refused(address: str) -> None:
    url = f"{address}gradio_api/upload"
    large = httpx.post(url, files={"files": ("large.png", bytes(MAX_FILE_BYTES + 200_000))})
    many = httpx.post(url, files=[("files", (f"{i}.png", bytes(9_000_000))) for i in range(3)])
    endless = httpx.post(url, content=iter([b"x" * 1000]), headers={"content-type": "multipart/form-data; boundary=x"})
    for response in (large, many, endless):
        assert response.status_code == 413


def call(address: str, *data: object) -> str:
    """Call `/analyze` without the client, which would upload the file first."""
    begun = httpx.post(f"{address}gradio_api/call/analyze", json={"data": data})
    if begun.status_code != 200:
        return f"{begun.status_code} {begun.text}"
    return httpx.get(f"{address}gradio_api/call/analyze/{begun.json()['event_id']}", timeout=300).text


def test_server_paths_and_urls_are_not_opened(address: str, uploads: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(noise((64, 64)), "PNG"))
    for path in ("/etc/passwd", str(tmp_path / "secret.png"), f"{uploads}/../../etc/passwd"):
        assert httpx.get(f"{address}gradio_api/file={path}").status_code in (403, 404)
        answer = call(address, {"path": path, "meta": {"_type": "gradio.FileData"}}, None)
        assert answer.startswith("event: error") and "sha256" not in answer and "root:" not in answer
    url = {"path": "https://example.org/face.png", "meta": {"_type": "gradio.FileData"}}
    assert call(address, url, None) == call(address, None, [url]) and call(address, url, None).startswith("403 ")
    sent = httpx.post(f"{address}gradio_api/upload", files={"files": ("../../../escaped.png", b"x")})
    assert Path(sent.json()[0]).is_relative_to(uploads)
    assert not list(uploads.parent.glob("escaped*"))


@pytest.mark.parametrize("kind", ["file", "image"])
@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {}])
def test_events_neither_read_nor_delete_files_that_were_not_uploaded(
    address: str, tmp_path: Path, kind: str, meta: dict[str, object]
) -> None:
    secret, picture = tmp_path / "secret.txt", tmp_path / "secret.png"
    secret.write_bytes(b"an upload that is not a picture would be deleted")
    picture.write_bytes(encoded(noise((64, 64)), "PNG"))
    config = httpx.get(f"{address}config").json()
    taking = {part["id"] for part in config["components"] if part["type"] == kind}
    events = [event for event in config["dependencies"] if taking & set(event["inputs"])]
    assert events
    for event, path in product(events, (secret, picture)):
        data = [{"path": str(path), **meta} if part in taking else None for part in event["inputs"]]
        asked = {"data": data, "fn_index": event["id"], "session_hash": f"stranger-{event['id']}-{path.suffix}"}
        assert httpx.post(f"{address}gradio_api/queue/join", json=asked).status_code == 200
        answer = httpx.get(f"{address}gradio_api/queue/data?session_hash={asked['session_hash']}", timeout=300).text
        refusals = ('"success":false', "was not uploaded to this page", "Give a picture first")
        assert any(text in answer for text in refusals)
        assert path.exists()


def test_browser_may_only_load_from_this_server(address: str) -> None:
    page = httpx.get(address)
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "fonts.googleapis" not in page.text and "fonts.googleapis" not in httpx.get(f"{address}theme.css").text


def test_authentication_is_required(model: DfaGpt, adapter: Path, uploads: Path) -> None:
    with serving(model, adapter, ("ann", "sesame")) as address:
        assert httpx.get(f"{address}config").status_code == 401
        assert gradio_client.Client(address, auth=("ann", "sesame"), verbose=False)


def test_video_is_deleted_after_its_analysis(
    model: DfaGpt, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    handlers = Handlers(model, str(adapter))
    write_video(tmp_path / "clip.mp4", 2, rate=2)
    *_, shown = handlers.open_video({"path": str(tmp_path / "clip.mp4")})
    assert any("over time" in str(part) for part in shown) and not (tmp_path / "clip.mp4").exists()
    (tmp_path / "none.mp4").write_bytes(b"none")
    *_, shown = handlers.open_video({"path": str(tmp_path / "none.mp4")})
    assert any("cannot be read as a video" in str(part) for part in shown) and not (tmp_path / "none.mp4").exists()


@pytest.mark.usefixtures("landmarker")
def test_comparison_shows_both_pictures(
    model: DfaGpt, adapter: Path, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(portrait.parent))
    handlers = Handlers(model, str(adapter))
    *_, shown = handlers.open_picture({"path": str(portrait)})
    [case] = [part for part in shown if isinstance(part, Case)]
    answers = [turn.answer for turn in case.turns]
    *_, compared = handlers.compare(case, {"path": str(portrait)})
    assert compared.index(">Suspect<") < compared.index(">Reference<") < compared.index("in the suspect only")
    assert compared.count('aria-label="Verdict"') == 2
    only = [
        compared.partition(f"in the {name} only</th><td>")[2].partition("<")[0] for name in ("suspect", "reference")
    ]
    assert only == ["none", "none"]  # both pictures are the same
    assert [turn.answer for turn in case.turns] == answers
    assert "Give a picture first" in [*handlers.compare(None, {"path": str(portrait)})][-1]
    Image.new("RGB", (200, 200), "green").save(portrait.parent / "green.png")
    html = [*handlers.compare(case, {"path": str(portrait.parent / "green.png")})][-1]
    assert "reference picture, no face was found" in html


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from modeling_dfa_gpt.cli import app; app()", "app", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize("auth", ["sesame", "ann:", ":sesame"])
def test_incomplete_authentication_is_an_error_without_the_secret(tmp_path: Path, auth: str) -> None:
    for done in (run(str(tmp_path / "absent"), "--auth", auth), run(str(tmp_path / "absent"), DFA_GPT_AUTH=auth)):
        assert done.returncode == 2 and done.stderr.startswith("error: --auth: expected USER:PASSWORD")
        assert "sesame" not in done.stderr and len(done.stderr.splitlines()) == 1


def test_missing_model_is_a_one_line_error(tmp_path: Path) -> None:
    done = run(str(tmp_path / "absent"))
    assert done.returncode == 2 and "no such model" in done.stderr and "Traceback" not in done.stderr
