"""The review page: access over HTTP, escaping, and the actions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("gradio")

import gradio as gr

from dfa_instruct.annotate.store import Outcome, Request, Store, store_path
from dfa_instruct.review.page import BUTTONS, Action, Page, build, launch
from dfa_instruct.review.reviewer import Work, lines


@pytest.fixture(scope="module")
def work(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A reviewer's work on a folder with one hostile description by a model."""
    folder = tmp_path_factory.mktemp("review") / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    claim = {"region": "mouth", "artifact": "colour", "sentence": "<script>evil()</script> Red."}
    with Store(store_path(folder)) as store:
        store.keep_prompt("ad_alone 1", "Look at this face.")
        request = Request(Work(folder, "test", "ann").items[0].face_id, "ad", "ad_alone 1", {}, "<b>tiny", {})
        store.put(request, Outcome("annotated", parsed=[claim]))
    return Work(folder, "test", "ann")


@pytest.fixture(scope="module")
def address(work: Work) -> Iterator[str]:
    blocks = build(work)
    yield launch(blocks)
    blocks.close(verbose=False)


def test_only_requests_to_this_machine_by_its_own_name_are_accepted(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")
    assert httpx.get(address).status_code == 200
    assert httpx.get(address, headers={"host": "rebound.example"}).status_code == 400


def test_markup_is_escaped(work: Work) -> None:
    face_id, _, page, text, _, _ = Page(work).begin()
    assert face_id == work.items[0].face_id and "<b>tiny" not in page and "&lt;b&gt;tiny" in page
    assert "<script>" not in page and "&lt;script&gt;evil()" in page
    assert text == "mouth (colour): <script>evil()</script> Red."
    assert page.count("data:image/png;base64,") >= 2


def test_a_key_acts_on_the_item_that_was_shown(work: Work) -> None:
    page, (first, second) = Page(work), work.items[:2]
    shown = first.face_id, *[lines(first.claims)] * 2
    assert page.act("accept", *shown)[0] == second.face_id
    assert page.act("reject", *shown)[0] == second.face_id  # pressed before the next item was shown
    assert (work.choice(first), work.choice(second)) == ("reject", None)
    assert page.act("back", second.face_id, "", "")[0] == page.act("back", second.face_id, "", "")[0] == first.face_id
    assert "no decision" in page.act("back", second.face_id, "", "")[-1]
    assert page.act("previous", *shown)[0] == work.items[-1].face_id
    assert page.act("next", work.items[-1].face_id, "", "")[0] == first.face_id


@pytest.mark.parametrize("action", [name for name, _, _ in BUTTONS])
def test_a_key_before_the_first_item_only_shows_it(work: Work, action: Action) -> None:
    assert Page(work).act(action, "", "", "")[0] == work.items[0].face_id
    assert work.progress().decided == 0


@pytest.fixture
def own(work: Work, tmp_path: Path) -> Work:
    """The same work on a copy of the folder, for tests that save edits."""
    shutil.copytree(work.faces.folder, tmp_path / "own")
    return Work(tmp_path / "own", "test", "ann")


def test_an_unsaved_edit_is_never_decided_on(own: Work) -> None:
    page, (first, second) = Page(own), own.items[:2]
    stored, edit = lines(first.claims), "mouth (colour): Redder than the face."
    for action in ("accept", "reject"):
        *shown, notice = page.act(action, first.face_id, stored, edit)
        assert "not saved" in notice and shown == [gr.skip(), stored, *[gr.skip()] * 3]
    assert own.choice(first) is None
    assert page.act("drop", first.face_id, stored, edit)[3] == stored
    assert page.act("save", first.face_id, stored, edit)[0] == second.face_id
    assert page.act("accept", first.face_id, edit, edit)[0] == second.face_id
    assert own.choice(first) == "edit" and lines(own.claims(first)) == edit  # accepting keeps the edit
    page.act("reject", first.face_id, edit, edit)
    assert own.choice(first) == "reject"


def test_a_save_that_fails_leaves_the_editor_alone_and_says_why(own: Work) -> None:
    page, first = Page(own), own.items[0]
    stored = lines(first.claims)
    *shown, notice = page.act("save", first.face_id, stored, "lips (colour): Red.")
    assert "The region &#39;lips&#39;" in notice
    assert shown == [gr.skip(), stored, *[gr.skip()] * 3]
    own.path.rename(own.path.with_suffix(".away"))
    own.path.mkdir()
    *shown, notice = page.act("save", first.face_id, stored, "mouth (colour): Redder.")
    assert str(own.path) in notice
    assert shown == [gr.skip(), stored, *[gr.skip()] * 3]


def test_a_change_in_another_window_is_not_overwritten_unseen(own: Work) -> None:
    here, there, first = Page(own), Page(own), own.items[0]
    stored, theirs, mine = lines(first.claims), "mouth (colour): Their edit.", "mouth (colour): My edit."
    there.act("save", first.face_id, stored, theirs)
    for action in ("accept", "reject"):
        face_id, now, _, text, _, notice = here.act(action, first.face_id, stored, stored)
        assert (face_id, now, text) == (first.face_id, theirs, theirs) and "changed in another window" in notice
    *shown, notice = here.act("save", first.face_id, stored, mine)
    assert "changed in another window" in notice and theirs in notice
    assert shown == [gr.skip(), theirs, *[gr.skip()] * 3] and lines(own.claims(first)) == theirs
    here.act("save", first.face_id, theirs, mine)
    assert lines(own.claims(first)) == mine
