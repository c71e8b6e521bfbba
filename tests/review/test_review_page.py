"""The page over HTTP: who is let in, and what it shows of words that are not plain."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("gradio")

from dfa_instruct.annotate.store import Outcome, Request, Store, store_path
from dfa_instruct.review.page import Page, build, launch
from dfa_instruct.review.work import Work


@pytest.fixture(scope="module")
def work(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Work on a folder with one description by a model, which obeys nobody's rules."""
    folder = tmp_path_factory.mktemp("review") / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    said = {"region": "mouth", "artifact": "colour", "sentence": "<script>evil()</script> Red."}
    with Store(store_path(folder)) as store:
        store.keep_prompt("ad_alone 1", "Look at this face.")
        request = Request(Work(folder, "test", "ann").items[0].face_id, "ad", "ad_alone 1", {}, "<b>tiny", {})
        store.put(request, Outcome("annotated", parsed=[said]))
    return Work(folder, "test", "ann")


@pytest.fixture(scope="module")
def address(work: Work) -> Iterator[str]:
    blocks = build(work)
    yield launch(blocks)
    blocks.close(verbose=False)


def test_only_this_machine_is_let_in_by_its_own_name(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")
    assert httpx.get(address).status_code == 200
    assert httpx.get(address, headers={"host": "rebound.example"}).status_code == 400


def test_words_are_shown_and_not_obeyed(work: Work) -> None:
    face_id, page, text, _ = Page(work).begin()
    assert face_id == work.items[0].face_id and "<b>tiny" not in page and "&lt;b&gt;tiny" in page
    assert "<script>" not in page and "&lt;script&gt;evil()" in page
    assert text == "mouth (colour): <script>evil()</script> Red."
    assert page.count("data:image/png;base64,") >= 2


def test_a_key_acts_on_what_was_seen(work: Work) -> None:
    page, (first, second) = Page(work), work.items[:2]
    assert page.decide(first.face_id, "accept")[0] == second.face_id
    assert page.decide(first.face_id, "reject")[0] == second.face_id  # pressed before the next one was there
    assert (work.chosen(first), work.chosen(second)) == ("reject", None)
    assert page.take_back(second.face_id)[0] == page.take_back(second.face_id)[0] == first.face_id
    assert "There is no decision of yours to take back." in page.take_back(second.face_id)[1]
    assert page.move(first.face_id, -1)[0] == work.items[-1].face_id
