"""The review in a browser: accept, edit, reject, take back, reload, crash; all by the keyboard."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dfa_instruct.annotate.store import Outcome, Request, Store, store_path
from dfa_instruct.review.reviewer import Work

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")

EVIL = '<img src="x" onerror="window.evil = 1"> The lips are too red.'
CLAIMS = [
    {"region": "mouth", "artifact": "colour", "sentence": EVIL},
    {"region": "hairline", "artifact": "boundary", "sentence": "The hair ends at an edge."},
]
PATIENCE = 120_000
"""Milliseconds."""


@pytest.fixture
def folder(dataset_folder: Path, tmp_path: Path) -> Path:
    """A dataset folder, with descriptions of all forgeries by a model."""
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    with Store(store_path(folder)) as store:
        store.keep_prompt("ad_alone 1", "Look at this face.")
        for item in Work(folder, "test", "ann").items:
            request = Request(item.face_id, "ad", "ad_alone 1", {}, "tiny", {})
            store.put(request, Outcome("annotated", parsed=CLAIMS))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("needs chromium (apt-get install chromium)")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    flags += ["--disable-sync", "--disable-quic", "--no-first-run"]
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=flags)
        yield opened
        opened.close()


@contextmanager
def reviewing(folder: Path, reviewer: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the command; give the page's address."""
    program = "from dfa_instruct.cli import app; app()"
    command = [sys.executable, "-c", program, "review", str(folder), "--reviewer", reviewer]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}) as running:
        try:
            line = next(line for line in running.stdout or () if "the review is at" in line)
            yield line.split()[4], running
        finally:
            running.send_signal(signal.SIGINT)


class Reviewer:
    """Somebody at the page."""

    def __init__(self, browser: Any, address: str, **screen: Any) -> None:
        self.page = browser.new_page(viewport={"width": 1280, "height": 1000}, **screen)
        self.elsewhere: list[str] = []
        self.page.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or self.elsewhere.append(r.url))
        self.page.set_default_timeout(PATIENCE)
        self.page.goto(address)
        if address.startswith("http"):
            self.sees(" of ")

    def sees(self, text: str) -> None:
        self.page.locator(".review header, .review .notice", has_text=text).first.wait_for()

    def counts(self, text: str) -> None:
        self.page.locator(".review.progress", has_text=text).wait_for()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def edits(self, text: str) -> None:
        """Put another text into the editor, and stay there."""
        self.press("e", "Control+A")
        self.page.keyboard.type(text)

    def is_in_the_editor(self, text: str) -> bool:
        """Whether the editor has the focus and shows a text."""
        return bool(self.page.locator("#review-text textarea:focus").count()) and self.editor() == text

    def editor(self) -> str:
        return str(self.page.locator("#review-text textarea").input_value())


def decisions(folder: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(store_path(folder))) as store:
        return store.execute("SELECT reviewer, choice, face_id FROM decisions ORDER BY number").fetchall()


def test_a_reviewer_decides_by_the_keyboard_and_all_is_kept(browser: Any, folder: Path) -> None:
    items = Work(folder, "test", "ann").items
    with reviewing(folder, "ann") as (address, running):
        assert address.startswith("http://127.0.0.1:")
        ann = Reviewer(browser, address)
        ann.sees(f"1 of {len(items)}")
        assert ann.page.locator(".review .pictures img").count() in (1, 2)  # no bona fide of a synthesized face
        assert ann.page.evaluate("window.evil") is None and ann.page.get_by_text("onerror").count() > 0
        ann.press("a")
        ann.sees(f"2 of {len(items)}")
        ann.edits("lips (colour): They are red. a r u")
        ann.press("Control+Enter", "a", "r")
        ann.sees("The region 'lips' is none of")
        assert ann.is_in_the_editor("lips (colour): They are red. a r uar")
        ann.press("Escape")
        ann.edits("mouth (colour): They are red.")
        ann.press("Control+Enter")
        ann.sees(f"3 of {len(items)}")
        ann.press("r")
        ann.sees(f"4 of {len(items)}")
        ann.counts(f"3 of {len(items)} decided")
        kept = [
            ("ann", choice, item.face_id) for choice, item in zip(("accept", "edit", "reject"), items, strict=False)
        ]
        assert decisions(folder) == kept
        ann.page.reload()
        ann.sees(f"4 of {len(items)}")
        for position, said in (("3", "you rejected it"), ("2", "you edited it"), ("1", "you accepted it")):
            ann.press("ArrowLeft")
            ann.sees(f"{position} of {len(items)}")
            ann.sees(said)
            if position == "2":
                assert ann.editor() == "mouth (colour): They are red."
        ann.press("u")
        ann.sees(f"3 of {len(items)}")
        ann.sees("not decided yet")
        assert decisions(folder) == kept[:2]
        assert ann.elsewhere == []
        os.kill(running.pid, signal.SIGKILL)
    with reviewing(folder, "ann") as (address, _):
        ann = Reviewer(browser, address)
        ann.sees(f"3 of {len(items)}")
        ann.counts(f"2 of {len(items)} decided by ann")
    with reviewing(folder, "bob") as (address, _):
        bob = Reviewer(browser, address, color_scheme="dark")
        bob.counts("0 of")
        bob.press("a")
        bob.sees("2 of")
        bob.press("r")
        bob.counts("ann and bob: agree on 50 % of 2, Cohen’s kappa")
        for item in items[2:]:
            Work(folder, "test", "bob").decide(item, "accept")
        bob.page.reload()
        bob.sees("All are decided.")


def test_an_edit_that_is_not_saved_outlives_every_key(browser: Any, folder: Path) -> None:
    edit = "mouth (colour): They are red."
    with reviewing(folder, "ann") as (address, _):
        ann = Reviewer(browser, address)
        first = ann.editor()
        ann.edits(edit)
        ann.press("Escape", "ArrowRight")
        ann.sees("2 of")
        assert ann.editor() != edit
        ann.press("ArrowLeft")
        ann.sees("1 of")
        ann.sees("This edit is not saved")
        for key in ("a", "r"):
            ann.press(key)
            ann.sees("The edit is not saved. Save it (Ctrl+Enter) or drop it (D) first.")
            assert ann.editor() == edit
        ann.page.get_by_role("button", name="Accept").click()
        ann.page.reload()
        ann.sees("1 of")
        ann.sees("This edit is not saved")
        assert ann.is_in_the_editor(edit) and decisions(folder) == []
        ann.press("Escape", "d")
        ann.page.wait_for_function("text => document.querySelector('#review-text textarea').value === text", arg=first)
        ann.press("a")
        ann.sees("2 of")
    assert [choice for _, choice, _ in decisions(folder)] == ["accept"]


@pytest.mark.parametrize("gone", [signal.SIGKILL, signal.SIGSTOP])
def test_a_save_without_a_server_keeps_the_text_and_the_focus(browser: Any, folder: Path, gone: signal.Signals) -> None:
    with reviewing(folder, "ann") as (address, running):
        ann = Reviewer(browser, address)
        os.kill(running.pid, gone)
        ann.edits("mouth (colour): They are red.")
        ann.press("Control+Enter", "a", "r")
        ann.sees("Nothing was kept: the server does not answer.")
        assert ann.is_in_the_editor("mouth (colour): They are red.ar")
        assert decisions(folder) == []
        if gone == signal.SIGSTOP:
            os.kill(running.pid, signal.SIGCONT)
            ann.sees("2 of")
            return
    port = address.rstrip("/").rpartition(":")[2]
    with reviewing(folder, "ann", GRADIO_SERVER_PORT=port) as (address, _):
        ann.page.goto(address)
        ann.sees("This edit is not saved")
        assert ann.is_in_the_editor("mouth (colour): They are red.ar")
        ann.press("Control+Enter")
        ann.sees("2 of")
    assert [choice for _, choice, _ in decisions(folder)] == ["edit"]


def test_a_key_before_the_first_item_does_nothing(browser: Any, folder: Path) -> None:
    with reviewing(folder, "ann") as (address, _):
        ann = Reviewer(browser, "about:blank")
        held: list[Any] = []
        ann.page.route("**/queue/join*", lambda route: held.append(route))
        ann.page.goto(address)
        ann.page.locator("#review-accept").wait_for()
        ann.press("a", "r", "u", "d", "ArrowLeft", "e", "Control+Enter")
        for name in ("Accept", "Save", "Reject"):
            ann.page.get_by_role("button", name=name).click()
        ann.page.unroute("**/queue/join*")
        for request in held:
            request.continue_()
        ann.sees("1 of")
        assert ann.page.get_by_text("Error", exact=True).count() == 0
    assert decisions(folder) == []


def test_a_phone_shows_all_of_it(browser: Any, folder: Path) -> None:
    with reviewing(folder, "ann") as (address, _):
        ann = Reviewer(browser, address)
        ann.page.set_viewport_size({"width": 390, "height": 844})
        assert ann.page.evaluate("document.documentElement.scrollWidth") <= 390
        ann.page.get_by_role("button", name="Reject").click()
        ann.sees("2 of")
    assert [choice for _, choice, _ in decisions(folder)] == ["reject"]
