"""A reviewer's work on a dataset folder, without the page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from dfa_instruct.annotate.answer_parsing import NotUnderstoodError
from dfa_instruct.annotate.store import Outcome, Request, Store, store_path
from dfa_instruct.cli import app
from dfa_instruct.review.reviewer import Work, lines, read_lines

CLAIMS = [
    {"region": "mouth", "artifact": "colour", "sentence": "The lips have a colour that does not fit this face."},
    {"region": "mouth", "artifact": "geometry", "sentence": "The lips have a colour that does not fit this face."},
    {"region": "hairline", "artifact": "boundary", "sentence": "The hair ends at an edge."},
]


@pytest.fixture
def folder(dataset_folder: Path, tmp_path: Path) -> Path:
    """A dataset folder with the same description of half of the test split's forgeries."""
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    rows = pq.read_table(next(folder.glob("data/test-*.parquet")), columns=["face_id", "label"]).to_pylist()
    with Store(store_path(folder)) as store:
        store.keep_prompt("ad_alone 1", "Look at this face.")
        for row in [row for row in rows if row["label"] == "forged"][::2]:
            request = Request(row["face_id"], "ad", "ad_alone 1", {}, "tiny", {})
            store.put(request, Outcome("annotated", parsed=CLAIMS))
    return folder


def test_what_the_pixels_bear_out_least_comes_first(folder: Path) -> None:
    items = Work(folder, "test", "ann").items
    described = [item for item in items if item.by != "measured"]
    assert items[: len(described)] == described and 2 < len(described) < len(items)
    scores = [item.grounding or 0.0 for item in described]
    assert scores == sorted(scores) and scores[0] < scores[-1]
    assert all(claim["verdict"] for item in described for claim in item.claims)


def test_work_goes_on_where_it_stopped_and_is_counted(folder: Path) -> None:
    work = Work(folder, "test", "ann")
    first, second, third = work.items[:3]
    work.decide(first, "accept")
    work.edit(second, "mouth (colour): The lips are too red.")
    work.decide(third, "reject")
    again = Work(folder, "test", "ann")
    assert [again.choice(item) for item in again.items[:4]] == ["accept", "edit", "reject", None]
    assert again.next_open(0) == 3 and again.progress().decided == 3
    (claim,) = again.claims(second)
    assert claim["sentence"] == "The lips are too red." and claim["verdict"]
    other = Work(folder, "test", "bob")
    assert other.next_open(0) == 0 and other.choice(first) is None
    other.decide(first, "accept")
    (agreement,) = other.progress().agreements
    assert (agreement.reviewers, agreement.count, agreement.kappa) == (("ann", "bob"), 1, None)
    assert [again.undo() for _ in range(4)] == [2, 1, 0, None]
    assert again.progress().decided == 0 and other.progress().decided == 1
    left = sum(item.contradicted for item in again.items)
    assert again.progress().contradicted_left == left > 0


def test_all_decided_stays_where_it_is(folder: Path) -> None:
    work = Work(folder, "test", "ann")
    for item in work.items:
        work.decide(item, "accept")
    assert work.next_open(len(work.items)) == 0 and work.next_open(2) == 2


def test_claims_are_edited_as_lines() -> None:
    text = lines(CLAIMS)
    assert text.splitlines()[0] == "mouth (colour, geometry): The lips have a colour that does not fit this face."
    assert read_lines(f"\n {text}\n\n") == CLAIMS
    assert read_lines(text.replace("The ", "\x1b\x00The \u202e\ud83d")) == CLAIMS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "reject it instead"),
        ("mouth: The lips are red.", r"Line 1: expected region \(artifact, artifact\): sentence, found 'mouth: "),
        ("mouth (colour): Red.\nlips (colour): Red.", "The region 'lips' is none of forehead, "),
        ("mouth (hue): Red.", "The artifact 'hue' is none of colour, "),
        ("mouth (): Red.", "The artifact '' is none of colour, "),
        ("mouth (colour): Red.\nmouth (colour): Too red.", "colour of the region mouth appears twice"),
        ("mouth (colour): Unlike the original, it is red.", "mentions a picture that its reader never sees"),
    ],
)
def test_an_edit_that_is_not_understood_says_why(text: str, message: str) -> None:
    with pytest.raises(NotUnderstoodError, match=message):
        read_lines(text)


def test_instruct_follows_the_decisions_and_the_promises_hold(folder: Path, tmp_path: Path) -> None:
    work = Work(folder, "test", "ann")
    of_model, of_measured = ([i for i in work.items if (i.by == "measured") is own] for own in (False, True))
    work.decide(of_model[0], "accept")
    work.edit(of_model[1], "chin (texture): The chin has no pores.")
    work.decide(of_model[2], "reject")
    work.decide(of_measured[0], "accept")
    work.decide(of_measured[1], "reject")
    output = tmp_path / "reviewed"
    command = ["instruct", str(folder), "--output", str(output), "--ungrounded", "review"]
    assert CliRunner().invoke(app, command).exit_code == 0
    rows = {row["face_id"]: row for row in pq.read_table(output / "data", columns=None).to_pylist()}
    by = {i: rows[item.face_id]["ad_by"] for i, item in enumerate((*of_model[:3], *of_measured[:2]))}
    assert by == {
        0: "tiny, ad_alone 1, accepted by ann",
        1: "tiny, ad_alone 1, edited by ann",
        2: "measured",
        3: "measured, accepted by ann",
        4: "measured, rejected by ann",
    }
    said = {p["ability"]: p["answer"] for p in rows[of_model[1].face_id]["qa"]}["ad"]
    assert said == "1. **Chin**: The chin has no pores."
    assert said in [question["answer"] for question in rows[of_model[1].face_id]["bench"]]
    assert [f["region"] for f in rows[of_model[0].face_id]["findings"]] == ["mouth", "hairline"]
    assert CliRunner().invoke(app, ["verify", str(output)]).exit_code == 0
    card = (output / "README.md").read_text()
    assert "people have reviewed some" in card and "| artifact description | measured, rejected by ann | 1 |" in card


def test_what_cannot_be_reviewed_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    for where, name, message in ((tmp_path, "ann", "no dataset folder"), (folder, "a, b", "reviewer: expected a name")):
        done = CliRunner().invoke(app, ["review", str(where), "--reviewer", name])
        assert done.exit_code == 2 and message in done.output and "Traceback" not in done.output
