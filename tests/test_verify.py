"""Each promise of a dataset folder is broken on purpose, and found broken alone."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.cli import app
from dfa_instruct.dataset import FEATURES
from dfa_instruct.records import FaceRecord, face_id_of
from dfa_instruct.verify import NAMED, PROMISES, verify
from dfa_instruct.vocabulary import SPLITS

Rows = dict[str, list[dict[str, Any]]]


def first(rows: Rows, split: str = "train", **wanted: Any) -> dict[str, Any]:
    return next(row for row in rows[split] if all(row[key] == value for key, value in wanted.items()))


def decoded(row: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))


def encode(row: dict[str, Any], pixels: np.ndarray) -> None:
    """Put other pixels into a row, and all that follows from them."""
    row["face_id"] = face_id_of(pixels)
    known = ("label", "category", "technique", "source", "source_path", "source_sha256")
    face = FaceRecord(image=pixels, identities=(), **{key: row[key] for key in known})
    row["image"] = {"bytes": face.to_png(), "path": f"{row['face_id']}.png"}


def unpaired(rows: Rows, split: str = "train") -> dict[str, Any]:
    """A synthesized face: no other row names it."""
    return first(rows, split, category="entire_face_synthesis")


def wrong_split(rows: Rows) -> None:
    unpaired(rows)["split"] = "test"


def truncated(rows: Rows) -> None:
    row = unpaired(rows)
    row["image"]["bytes"] = row["image"]["bytes"][:200]


def not_square(rows: Rows) -> None:
    row = unpaired(rows)
    encode(row, np.ascontiguousarray(decoded(row)[:-1]))


def other_size(rows: Rows) -> None:
    row = unpaired(rows)
    encode(row, np.ascontiguousarray(decoded(row)[:-1, :-1]))


def other_pixels(rows: Rows) -> None:
    row = unpaired(rows)
    name = row["face_id"]
    encode(row, np.maximum(decoded(row), 1) - np.uint8(1))
    row["face_id"] = name


def twice(rows: Rows) -> None:
    rows["train"].append(unpaired(rows))


def shared_identity(rows: Rows) -> None:
    unpaired(rows)["identities"] = first(rows, "test")["identities"]


def no_such_pair(rows: Rows) -> None:
    first(rows, category="face_editing")["pair_id"] = "0123456789abcdef"


def pair_in_another_split(rows: Rows) -> None:
    first(rows, category="face_editing")["pair_id"] = first(rows, "test", label="bona_fide")["face_id"]


def pair_of_a_forgery(rows: Rows) -> None:
    first(rows, category="face_editing")["pair_id"] = unpaired(rows)["face_id"]


def synthesis_with_a_pair(rows: Rows) -> None:
    unpaired(rows)["pair_id"] = first(rows, label="bona_fide")["face_id"]


def no_technique(rows: Rows) -> None:
    first(rows, label="bona_fide")["technique"] = "lips"


def evidence_in_bona_fide(rows: Rows) -> None:
    first(rows, label="bona_fide")["artifacts"] = [{"region": "nose", "artifact": "colour", "strength": 0.5}]


def unknown_region(rows: Rows) -> None:
    unpaired(rows)["artifacts"] = [{"region": "ear", "artifact": "colour", "strength": 0.5}]


def six_questions(rows: Rows) -> None:
    del unpaired(rows)["qa"][-1]


def empty_answer(rows: Rows) -> None:
    next(pair for pair in unpaired(rows)["qa"] if pair["ability"] == "fc")["answer"] = " "


def turned_answer(rows: Rows) -> None:
    pair = next(p for row in rows["train"] for p in row["qa"][:1] if p["answer"].startswith("Yes"))
    pair["answer"] = pair["answer"].replace("Yes", "No")


def turned_sentence(rows: Rows) -> None:
    pair = unpaired(rows)["qa"][0]
    pair["answer"] = pair["answer"].replace("forged", "bona fide")


def other_category(rows: Rows) -> None:
    unpaired(rows)["qa"][1]["answer"] = "Face swapping is used."


def bench_in_training(rows: Rows) -> None:
    unpaired(rows)["bench"] = first(rows, "test", category="entire_face_synthesis")["bench"]


def no_bench(rows: Rows) -> None:
    unpaired(rows, "test")["bench"] = []


def wrong_bench(rows: Rows) -> None:
    unpaired(rows, "test")["bench"][0]["answer"] = "No"


def recompressed_copy(rows: Rows) -> None:
    buffer = io.BytesIO()
    source = first(rows, "test", label="bona_fide")
    Image.fromarray(decoded(source)).save(buffer, "JPEG", quality=70)
    copy = {**first(rows, label="bona_fide")}
    encode(copy, np.asarray(Image.open(buffer)))
    rows["train"].append(copy)


def no_provenance(rows: Rows) -> None:
    row = unpaired(rows)
    buffer = io.BytesIO()
    Image.fromarray(decoded(row)).save(buffer, "PNG")
    row["image"]["bytes"] = buffer.getvalue()


def no_json(rows: Rows) -> None:
    unpaired(rows)["parameters"] = "seed 3"


def few_landmarks(rows: Rows) -> None:
    first(rows, label="bona_fide")["landmarks"] = [[1.0, 2.0]] * 68


@pytest.fixture(scope="module")
def rows_of(dataset_folder: Path) -> Callable[[], Rows]:
    tables = {split: pq.read_table(sorted((dataset_folder / "data").glob(f"{split}-*"))[0]) for split in SPLITS}
    return lambda: {split: table.to_pylist() for split, table in tables.items()}


def rewrite(dataset_folder: Path, rows: Rows, folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    shutil.copy(dataset_folder / "README.md", folder)
    for split, of_split in rows.items():
        table = pa.Table.from_pylist(of_split, schema=FEATURES.arrow_schema)
        pq.write_table(table, folder / "data" / next((dataset_folder / "data").glob(f"{split}-*")).name)
    return folder


def broken(folder: Path) -> set[str]:
    return {name for name, finding in verify(str(folder)).items() if finding.broken}


def test_a_dataset_that_was_built_keeps_every_promise(dataset_folder: Path) -> None:
    done = CliRunner().invoke(app, ["verify", str(dataset_folder)])
    assert done.exit_code == 0, done.output
    assert done.output.count("held") == len(PROMISES)


@pytest.mark.parametrize(
    ("breaking", "promise"),
    [
        (wrong_split, "splits"),
        (truncated, "images"),
        (not_square, "images"),
        (other_size, "images"),
        (other_pixels, "hashes"),
        (twice, "hashes"),
        (shared_identity, "identities"),
        (no_such_pair, "pairs"),
        (pair_in_another_split, "pairs"),
        (pair_of_a_forgery, "pairs"),
        (synthesis_with_a_pair, "pairs"),
        (no_technique, "labels"),
        (evidence_in_bona_fide, "labels"),
        (unknown_region, "labels"),
        (six_questions, "questions"),
        (empty_answer, "questions"),
        (turned_answer, "answers"),
        (turned_sentence, "answers"),
        (other_category, "answers"),
        (bench_in_training, "bench"),
        (no_bench, "bench"),
        (wrong_bench, "bench"),
        (recompressed_copy, "duplicates"),
        (no_provenance, "provenance"),
        (no_json, "columns"),
        (few_landmarks, "columns"),
    ],
)
def test_a_broken_promise_is_found(
    breaking: Callable[[Rows], None],
    promise: str,
    rows_of: Callable[[], Rows],
    dataset_folder: Path,
    tmp_path: Path,
) -> None:
    rows = rows_of()
    breaking(rows)
    assert broken(rewrite(dataset_folder, rows, tmp_path / "dfa-instruct")) == {promise}


def test_the_report_names_the_first_rows_and_the_status_is_1(
    rows_of: Callable[[], Rows], dataset_folder: Path, tmp_path: Path
) -> None:
    rows = rows_of()
    for row in rows["train"]:
        row["qa"].pop()
    folder = rewrite(dataset_folder, rows, tmp_path / "dfa-instruct")
    finding = verify(str(folder))["questions"]
    assert finding.broken == len(rows["train"])
    assert [e.split(":")[0] for e in finding.examples] == [f"train {r['face_id']}" for r in rows["train"][:NAMED]]
    done = CliRunner().invoke(app, ["verify", str(folder)])
    assert done.exit_code == 1
    assert finding.examples[0] in done.output and f"and {finding.broken - NAMED} more" in done.output


def test_a_missing_column_stops_the_check_of_rows(dataset_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    for path in (folder / "data").iterdir():
        pq.write_table(pq.read_table(path).drop_columns(["pair_id"]), path)
    findings = verify(str(folder))
    assert findings["columns"].examples[0] == "train, pair_id: missing; expected: Value('string')"
    assert not findings["pairs"].checked
    assert CliRunner().invoke(app, ["verify", str(folder)]).exit_code == 1


@pytest.mark.parametrize("card", [None, "no header", "---\nlicense: mit\n---\nText."])
def test_a_card_that_is_missing_or_says_nothing(
    card: str | None, rows_of: Callable[[], Rows], dataset_folder: Path, tmp_path: Path
) -> None:
    folder = rewrite(dataset_folder, rows_of(), tmp_path / "dfa-instruct")
    (folder / "README.md").unlink()
    if card is not None:
        (folder / "README.md").write_text(card)
    assert broken(folder) == {"card"}


def test_what_is_no_dataset_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert done.exit_code == 2 and str(tmp_path) in done.stderr


def test_a_folder_that_is_missing_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["verify", "runs/dfa-instrct"])  # spelt as an id on the Hub may be
    assert done.exit_code == 2 and done.stderr == "error: runs/dfa-instrct: no such folder\n"


def test_a_card_whose_header_does_not_parse_is_named(dataset_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    (folder / "README.md").write_text("---\nconfigs: [\n---\n")
    done = CliRunner().invoke(app, ["verify", str(folder)])
    assert done.exit_code == 2 and "README.md is no YAML" in done.stderr
