"""People's descriptions: read from CSV, JSON and DD-VQA's format, and written into a dataset word for word."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import run
from small_faces import write_faces

from dfa_instruct.annotate.descriptions import Descriptions
from dfa_instruct.annotate.store import Store, store_path
from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.review.reviewer import Work
from dfa_instruct.verify.verify import verify

EYES = "The eyes, sadly, look  *blurry*  -- and too large!"
WHOLE = "The image looks fake. The nose is crooked the mouth looks unnatural."


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of six bona fide pictures, 0.png to 5.png, and a forgery of each, 0f.png to 5f.png."""
    return write_faces(tmp_path_factory.mktemp("faces") / "dfa-instruct", 6)


@pytest.fixture
def folder(faces: Path, tmp_path: Path) -> Path:
    """The same dataset at a place where its store is new."""
    (tmp_path / "dfa-instruct").symlink_to(faces)
    return tmp_path / "dfa-instruct"


def table(path: Path, *rows: tuple[str, ...], header: str = "file,region,text") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


def rows_in(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    found = [row for path in folder.glob("data/*.parquet") for row in pq.read_table(path).to_pylist()]
    return {(row["source_path"], row["label"]): row for row in found}


def written(folder: Path, *files: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Annotate, write the dataset anew, verify it, and return its rows."""
    done = run("annotate", folder, *(word for file in files for word in ("--human", file)))
    assert done.exit_code == 0, done.output
    output = folder.with_name("described")
    assert run("instruct", folder, "--output", output).exit_code == 0
    findings = verify(str(output))
    assert [name for name in ("columns", "labels", "answers", "writers", "bench") if findings[name].broken] == []
    return rows_in(output)


def test_several_people_stand_side_by_side_word_for_word(folder: Path, tmp_path: Path) -> None:
    file = table(
        tmp_path / "words.csv",
        ("0f.png", "eyes", EYES),
        ("0f.png", "skin", "waxy"),
        ("0f.png", "eyes", "Too dark"),
        ("0.png", "", "Fine."),
    )
    rows = written(folder, file)
    row = rows["0f.png", "forged"]
    assert [(d["person"], d["about"], d["text"]) for d in row["descriptions"]] == [
        ("1", "eyes", EYES),
        ("1", "skin", "waxy"),
        ("2", "eyes", "Too dark"),
    ]
    assert row["ad_by"] == "human" and row["grounding"] is None
    assert next(pair["answer"] for pair in row["qa"] if pair["ability"] == "ad") == f"Eyes: {EYES}\nSkin: waxy"
    assert [(f["region"], {*f["artifacts"]}) for f in row["findings"]] == [("eyes", {"sharpness", "geometry"})]
    assert rows["1f.png", "forged"]["ad_by"] == "measured" and rows["1f.png", "forged"]["descriptions"] == []
    bona_fide = rows["0.png", "bona_fide"]
    assert bona_fide["ad_by"] == "human" and bona_fide["findings"] == []


def test_forgeries_made_from_a_described_picture_are_not_described(tmp_path: Path) -> None:
    folder = tmp_path / "dfa-instruct"
    sources = [{"kind": "sample", "identities": 12, "pictures": 1}]
    build(Recipe(sources, size=64, forgeries_per_face=1, output=str(folder)), workers=1)
    rows = rows_in(folder)
    path = next(path for path, label in rows if label == "forged" and (path, "bona_fide") in rows)
    done = run("annotate", folder, "--human", table(tmp_path / "words.csv", (path, "", "It looks fine.")))
    assert done.exit_code == 0, done.output
    with Store(store_path(folder)) as store:
        described = {key for key, row in rows.items() if Descriptions(store).of(row["face_id"], row["label"])}
    assert described == {(path, "bona_fide")}


def test_files_of_dd_vqa_are_read(folder: Path, tmp_path: Path) -> None:
    asked = {
        "0": {"question": "Does the image looks real/fake?", "answer": ["Fake. The chin is odd.", WHOLE]},
        "1": {"question": "Does the person's nose look real/fake?", "answer": ["Fake. The nose is crooked."]},
        "2": {"question": "Do the person's eyes look real/fake?", "answer": ["Eyes too big.", "Eyes too small."]},
    }
    (tmp_path / "words").mkdir()
    (tmp_path / "words/Deepfakes.json").write_text(json.dumps({"3f": asked, "nowhere": asked}))
    row = written(folder, tmp_path / "words")["3f.png", "forged"]
    assert [(d["person"], d["about"]) for d in row["descriptions"]] == [
        ("1", ""),
        ("2", ""),
        ("2", "nose"),  # one answer of two people: it repeats a sentence of the second
        ("1", "eyes"),
        ("2", "eyes"),
    ]
    assert {f["region"]: f["artifacts"] for f in row["findings"]} == {"chin": [], "eyes": ["geometry"]}
    answer = next(pair["answer"] for pair in row["qa"] if pair["ability"] == "ad")
    assert answer == "Fake. The chin is odd.\nEyes too big."


def test_named_people_may_come_in_several_files_and_change_their_minds(folder: Path, tmp_path: Path) -> None:
    ann = tmp_path / "ann.json"
    ann.write_text(json.dumps([{"file": "2f.png", "region": "chin", "text": "The chin is odd.", "person": "ann"}]))
    bob = table(tmp_path / "bob.csv", ("2f.png", "It looks fine.", "bob"), header="file,text,person")
    people = [d["person"] for d in written(folder, ann, bob)["2f.png", "forged"]["descriptions"]]
    assert people == ["ann", "bob"]
    ann.write_text(ann.read_text().replace("odd", "blurred"))
    first = written(folder, ann)["2f.png", "forged"]["descriptions"]
    assert [(d["person"], d["text"]) for d in first] == [("ann", "The chin is blurred."), ("bob", "It looks fine.")]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            "file,words\n0.png,odd\n",
            "row 1: expected file and text, and optionally region and person; found file, words",
        ),
        ("file,text\n0.png,\n", "row 1: text is empty"),
        ("file,text\nx.png,odd\n", "no face is from a picture that is described"),
        ("file,text,person\n0.png,odd,ann\n0.png,fine,ann\n", "person ann has described the face otherwise in"),
    ],
)
def test_bad_files_are_named_and_nothing_is_stored(folder: Path, tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "words.csv").write_text(content)
    done = run("annotate", folder, "--human", tmp_path / "words.csv")
    assert done.exit_code != 0 and complaint in done.output.replace("\n", " "), done.output
    assert not store_path(folder).exists()


def test_json_of_another_kind_is_named(folder: Path, tmp_path: Path) -> None:
    for content in ("3", "[3]", '{"0": 3}', "{", '{"0": {"0": {"question": "?"}}}'):
        (tmp_path / "words.json").write_text(content)
        done = run("annotate", folder, "--human", tmp_path / "words.json")
        assert done.exit_code != 0 and "words.json" in done.output and "Traceback" not in done.output, content
    assert run("annotate", folder, "--human", tmp_path / "none.csv").exit_code != 0


def test_either_people_or_a_model_write(folder: Path, tmp_path: Path) -> None:
    for words in ((), ("--ability", "ad"), ("--human", tmp_path, "--ability", "ad", "--model", "tiny")):
        done = run("annotate", folder, *words)
        assert done.exit_code != 0 and "--human" in done.output


def test_what_people_describe_is_not_reviewed(folder: Path, tmp_path: Path) -> None:
    before = len(Work(folder, "test", "ann").items)
    assert run("annotate", folder, "--human", table(tmp_path / "w.csv", ("2f.png", "", "odd chin"))).exit_code == 0
    assert len(Work(folder, "test", "ann").items) == before - 1


def test_words_of_people_are_pushed_only_by_those_who_may(folder: Path, tmp_path: Path) -> None:
    written(folder, table(tmp_path / "w.csv", ("2f.png", "chin", "odd")))
    words = "push", tmp_path / "described", "user/faces", "--dry-run", "--without-images"
    refused = run(*words)
    assert refused.exit_code != 0 and "--may-redistribute descriptions" in refused.output
    assert run(*words, "--may-redistribute", "descriptions").exit_code == 0
