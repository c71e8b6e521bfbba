import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from dfa_instruct.annotate.store import Outcome, Request, Store, store_path

REQUEST = Request("00" * 8, "ad", "ad_alone 1", {"category": "face swapping"}, "gpt-4o", {"temperature": 0})
CLAIM = {"region": "mouth", "artifact": "colour", "sentence": "The lips are too red.", "verdict": "borne out"}
ANSWERED = Outcome("annotated", "", '{"artifacts": []}', [CLAIM], 1.0, 900, 120, 0.004, 1.5, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_path(tmp_path / "dfa-instruct")


def test_an_answer_is_there_when_the_store_is_opened_again(path: Path) -> None:
    assert path.name == "dfa-instruct.annotations.sqlite"
    with Store(path) as store:
        store.keep_prompt("ad_alone 1", "Look at this face.")
        assert store.outcome(REQUEST.key) is None
        store.put(REQUEST, replace(ANSWERED, status="asking", reason="no JSON", parsed=[], grounding=None))
        assert not list(store.written(REQUEST.face_id, "ad"))
        store.put(REQUEST, ANSWERED)
    with Store(path) as store:
        assert store.outcome(REQUEST.key) == ANSWERED
        (written,) = store.written(REQUEST.face_id, "ad")
        assert (written.by, written.parsed, written.grounding) == ("gpt-4o, ad_alone 1", [CLAIM], 1.0)
        assert written.words == REQUEST.words
        assert not list(store.written(REQUEST.face_id, "fc"))
        assert store.spent() == 0.004
        assert store.usual("ad_alone 1", "gpt-4o") == (1, 900, 120)


@pytest.mark.parametrize(
    "change",
    [
        {"face_id": "11" * 8},
        {"pair_id": "22" * 8},
        {"prompt": "ad_alone 2"},
        {"words": {"category": "face editing"}},
        {"model": "gpt-4o-mini"},
        {"parameters": {"temperature": 1}},
    ],
)
def test_another_question_has_another_key(change: dict[str, object]) -> None:
    assert replace(REQUEST, **change).key != REQUEST.key
    assert replace(REQUEST).key == REQUEST.key


def test_a_prompt_keeps_its_text(path: Path) -> None:
    with Store(path) as store:
        store.keep_prompt("ad_alone 1", "Look at this face.")
        store.keep_prompt("ad_alone 1", "Look at this face.")
        with pytest.raises(ValueError, match="raise the version"):
            store.keep_prompt("ad_alone 1", "Look at that face.")


def test_a_store_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"store\.sqlite: unable to open"):
        Store(tmp_path / "nowhere" / "store.sqlite")


def test_another_file_is_no_store(path: Path) -> None:
    path.write_text("no database at all, but long enough to be read as the header of one" * 20)
    with pytest.raises(ValueError, match="not a store of annotations"):
        Store(path)
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE requests (key TEXT)")
    other.close()
    with pytest.raises(ValueError, match="not a store of annotations"):
        Store(path)
