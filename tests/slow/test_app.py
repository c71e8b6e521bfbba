"""The app under load: ten people at once are served, and memory stays constant."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from dfa_instruct.sources.portraits.drawing import draw_sample

gradio_client = pytest.importorskip("gradio_client")

PEOPLE = 10
QUESTIONS = ("And the eyes?", "How sure are you?", "What gives it away?") * 3


@pytest.fixture
def served(adapter: Path, tmp_path: Path) -> Iterator[tuple[str, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from modeling_dfa_gpt.cli import app; app()", "app", str(adapter)]
    app = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        line = next(line for line in app.stdout or () if "answers at" in line)
        assert f"http://127.0.0.1:{port}" in line
        yield f"http://127.0.0.1:{port}/", app.pid
    finally:
        app.terminate()
        app.wait(60)


def resident(pid: int) -> int:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) // 1024


def test_ten_people_are_served_at_once(served: tuple[str, int], tmp_path: Path) -> None:
    address, pid = served
    for number, face in enumerate(draw_sample(PEOPLE, 1)):
        Image.fromarray(face.image).save(tmp_path / f"{number}.png")

    def visit(number: int) -> list[str]:
        client = gradio_client.Client(address, verbose=False, httpx_kwargs={"timeout": 600})
        picture = gradio_client.handle_file(tmp_path / f"{number}.png")
        known = client.predict(picture, None, api_name="/analyze")
        return [known["label"], *(client.predict(question, api_name="/chat") for question in QUESTIONS)]

    def all_visit() -> list[list[str]]:
        with ThreadPoolExecutor(PEOPLE) as people:
            return list(people.map(visit, range(PEOPLE)))

    start = time.perf_counter()
    first = all_visit()
    seconds = time.perf_counter() - start
    assert sum(len(answers) for answers in first) == 100
    assert all(answer for answers in first for answer in answers)
    before = resident(pid)
    assert all_visit() == first  # the answers do not depend on other visitors
    print(f"100 requests of {PEOPLE} people: {seconds:.0f} s; {before} MiB, after 200 {resident(pid)} MiB")
    assert resident(pid) < 1.2 * before
