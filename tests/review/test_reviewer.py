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
from dfa_instruct.instruct import templates
from dfa_instruct.review.reviewer import Work, lines, read_lines

CLAIMS = [
    {"region": "mouth", "artifact": "colour", "sentence": "The lips have a colour that does not fit this face."},
    {"region": "mouth", "artifact": "geometry", "sentence": "The lips have a colour that does not fit this face."},
    {"region": "hairline", "artifact": "boundary", "sentence": "The hair ends at an edge."},
]


@pytest.fixture
def folder(dataset_folder: Path, tmp_path: Path) -> Path:
    """A dataset folder in which half of the test split's forgeries have the same description by a model."""
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    rows = pq.read_table(next(folder.glob("data/test-*.parquet")), columns=["face_id", "label"]).to_pylist()
    with Store(store_path(folder)) as store:
        store.keep_prompt("ad_alone 1", "Look at this face.")
        for row in [row for row in rows if row["label"] == "forged"][::2]:
            request = Request(row["face_id"], "ad", "ad_alone 1", {}, "tiny", {})
            store.put(request, Outcome("annotated", parsed=CLAIMS))
    return folder


def test_the_lowest_grounding_scores_come_first(folder: Path) -> None:
    items = Work(folder, "test", "ann").items
    described = [item for item in items if item.by != "measured"]
    assert items[: len(described)] == described and 2 < len(described) < len(items)
    scores = [item.grounding or 0.0 for item in described]
    assert scores == sorted(scores) and scores[0] < scores[-1]
    assert all(claim["verdict"] for item in described for claim in item.claims)


def test_work_continues_after_a_restart_and_is_counted(folder: Path) -> None:
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


def test_the_page_stays_where_it_is_when_all_are_decided(folder: Path) -> None:
    work = Work(folder, "test", "ann")
    for item in work.items:
        work.decide(item, "accept")
    assert work.next_open(len(work.items)) == 0 and work.next_open(2) == 2


def test_lines_and_claims_convert_into_each_other() -> None:
    text = lines(CLAIMS)
    assert text.splitlines()[0] == "mouth (colour, geometry): The lips have a colour that does not fit this face."
    assert read_lines(f"\n {text}\n\n") == CLAIMS
    assert read_lines(text.replace("The ", "\x1b\x00The \u202e\ud83d")) == CLAIMS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "reject it instead"),
        ("mouth: The lips are red.", "Line 1: .*found 'mouth: "),
        ("mouth (colour): Red.\nlips (colour): Red.", "region 'lips'"),
        ("mouth (hue): Red.", "artifact 'hue'"),
        ("mouth (): Red.", "artifact ''"),
        ("mouth (colour): Red.\nmouth (colour): Too red.", "twice"),
        ("mouth (colour): Unlike the original, it is red.", "never sees"),
    ],
)
def test_an_invalid_edit_is_explained(text: str, message: str) -> None:
    with pytest.raises(NotUnderstoodError, match=message):
        read_lines(text)


def test_instruct_follows_the_decisions_and_the_promises_hold(folder: Path, tmp_path: Path) -> None:
    work = Work(folder, "test", "ann")
    by_model = [item for item in work.items if item.by != "measured"][:3]
    measured = [item for item in work.items if item.by == "measured"][:2]
    work.decide(by_model[0], "accept")
    work.edit(by_model[1], "chin (texture): The chin has no pores.")
    work.decide(by_model[2], "reject")
    work.decide(measured[0], "accept")
    work.decide(measured[1], "reject")
    output = tmp_path / "reviewed"
    command = ["instruct", str(folder), "--output", str(output), "--ungrounded", "review"]
    assert CliRunner().invoke(app, command).exit_code == 0
    rows_by_face = {row["face_id"]: row for row in pq.read_table(output / "data").to_pylist()}
    rows = [rows_by_face[item.face_id] for item in (*by_model, *measured)]
    assert [row["ad_by"] for row in rows] == [
        "tiny, ad_alone 1, accepted by ann",
        "tiny, ad_alone 1, edited by ann",
        "measured",
        "measured, accepted by ann",
        "measured, rejected by ann",
    ]
    edited = {pair["ability"]: pair["answer"] for pair in rows[1]["qa"]}["ad"]
    assert edited == "1. **Chin**: The chin has no pores."
    assert edited in [question["answer"] for question in rows[1]["bench"]]
    assert [finding["region"] for finding in rows[0]["findings"]] == ["mouth", "hairline"]
    assert CliRunner().invoke(app, ["verify", str(output)]).exit_code == 0
    card = (output / "README.md").read_text()
    assert "people have reviewed some" in card and "| artifact description | measured, rejected by ann | 1 |" in card


def test_decisions_on_descriptions_from_other_templates_are_followed(folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(Path(templates.__file__).parent, tmp_path / "own"))
    (own / "ad.yaml").write_text((own / "ad.yaml").read_text().replace(" the {region}", " the {region} of this face"))
    work = Work(folder, "test", "ann", own)
    item = next(item for item in work.items if item.by == "measured" and item.claims)
    assert "of this face" in item.description
    work.decide(item, "accept")
    output = tmp_path / "reviewed"
    command = ["instruct", str(folder), "--output", str(output), "--templates", str(own)]
    assert CliRunner().invoke(app, command).exit_code == 0
    rows = pq.read_table(output / "data", columns=["face_id", "ad_by"]).to_pylist()
    assert {row["face_id"]: row["ad_by"] for row in rows}[item.face_id] == "measured, accepted by ann"


def test_a_missing_dataset_or_a_wrong_name_is_named(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    for where, name, message in ((tmp_path, "ann", "no dataset folder"), (folder, "a, b", "reviewer: expected a name")):
        done = CliRunner().invoke(app, ["review", str(where), "--reviewer", name])
        assert done.exit_code == 2 and message in done.output
