"""Break each promise of a dataset folder on purpose, and find that only this one is broken."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.annotate.measured import Measured
from dfa_instruct.cli import app
from dfa_instruct.dataset.features import FEATURES, row_columns
from dfa_instruct.evidence.paired import measure
from dfa_instruct.instruct.sampling import instruct
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.records import Artifact, Face, face_id_of
from dfa_instruct.verify.promises import NAMED, PROMISES
from dfa_instruct.verify.verify import verify
from dfa_instruct.vocabulary import REGIONS, SPLITS

Rows = dict[str, list[dict[str, Any]]]


def first(rows: Rows, split: str = "train", **wanted: Any) -> dict[str, Any]:
    return next(row for row in rows[split] if all(row[key] == value for key, value in wanted.items()))


def decoded(row: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))


def encode(row: dict[str, Any], pixels: np.ndarray) -> None:
    """Put other pixels into a row, and change everything that follows from them."""
    row["face_id"] = face_id_of(pixels)
    row["image"] = {"bytes": record(row, pixels).to_png(), "path": f"{row['face_id']}.png"}
    ask(row)


def record(row: dict[str, Any], pixels: np.ndarray | None = None) -> Face:
    known = ("label", "category", "technique", "source", "source_path", "source_sha256", "split", "face_id")
    landmarks = None if row["landmarks"] is None else np.array(row["landmarks"], np.float32)
    image = decoded(row) if pixels is None else pixels
    return Face(image=image, identities=(), landmarks=landmarks, **{key: row[key] for key in known})


def ask(row: dict[str, Any], artifacts: list[Artifact] | None = None) -> None:
    """Write the questions and answers of a row again, optionally for other artifacts."""
    face = record(row)
    if artifacts is None:
        artifacts = [Artifact(**{**a, "strength": round(a["strength"], 3)}) for a in row["artifacts"]]
    annotation = Measured().annotate(face, artifacts)
    asked = row_columns(instruct(face, artifacts, annotation, 0, {}, libraries()), face.to_png())
    row.update({key: asked[key] for key in ("artifacts", "qa", "bench", "findings")})


def unpaired(rows: Rows, split: str = "train") -> dict[str, Any]:
    """Return a synthesized face. No other row refers to it."""
    return first(rows, split, category="entire_face_synthesis")


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
    ask(row)


def twice(rows: Rows) -> None:
    rows["train"].append(unpaired(rows))


def shared_identity(rows: Rows) -> None:
    unpaired(rows)["identities"] = first(rows, "test")["identities"]


def pair_in_another_split(rows: Rows) -> None:
    first(rows, category="face_editing")["pair_id"] = first(rows, "test", label="bona_fide")["face_id"]


def pair_of_a_forgery(rows: Rows) -> None:
    first(rows, category="face_editing")["pair_id"] = unpaired(rows)["face_id"]


def pair_of_another_frame(rows: Rows) -> None:
    row = first(rows, category="face_editing")
    row["frame"], first(rows, face_id=row["pair_id"])["frame"] = 4, 3


def pair_of_a_stranger(rows: Rows) -> None:
    row = first(rows, category="face_editing")
    row["identities"] = next(
        r["identities"]
        for r in rows["train"]
        if r["label"] == "bona_fide" and not set(r["identities"]) & set(row["identities"])
    )


def pair_of_another_picture(rows: Rows) -> None:
    row = first(rows, category="face_editing")
    same = {"label": "bona_fide", "identities": row["identities"]}
    pair = next(r for r in rows["train"] if same.items() <= r.items() and r["face_id"] != row["pair_id"])
    row["pair_id"] = pair["face_id"]
    ask(row, measure(record(row), record(pair)))


def donor_in_another_split(rows: Rows) -> None:
    row = first(rows, category="face_swapping")
    other = first(rows, "test", label="bona_fide")["face_id"]
    row["parameters"] = json.dumps({**json.loads(row["parameters"]), "other": other})


def donor_without_identity(rows: Rows) -> None:
    row = first(rows, category="face_swapping")
    row["identities"] = first(rows, face_id=row["pair_id"])["identities"]


def video_in_two_splits(rows: Rows) -> None:
    for split in ("train", "test"):
        unpaired(rows, split)["video"] = "ff/000"


def no_synthesis(rows: Rows, split: str = "train") -> None:
    rows[split] = [row for row in rows[split] if row["category"] != "entire_face_synthesis"]


def empty_split(rows: Rows) -> None:
    rows["validation"] = []


def synthesis_with_a_pair(rows: Rows) -> None:
    unpaired(rows)["pair_id"] = first(rows, label="bona_fide")["face_id"]


def invented_evidence(rows: Rows) -> None:
    ask(first(rows, category="face_editing"), [Artifact("hairline", "texture", 0.9)])


def stronger_evidence(rows: Rows) -> None:
    row = next(row for row in rows["train"] if row["pair_id"] and row["artifacts"])
    ask(row, [Artifact(a["region"], a["artifact"], a["strength"] / 2) for a in row["artifacts"]])


def six_questions(rows: Rows) -> None:
    del unpaired(rows)["qa"][-1]


def empty_answer(rows: Rows) -> None:
    next(pair for pair in unpaired(rows)["qa"] if pair["ability"] == "fc")["answer"] = " "


def turned_answer(rows: Rows) -> None:
    pair = next(p for row in rows["train"] for p in row["qa"][:1] if p["answer"].startswith("Yes"))
    pair["answer"] = pair["answer"].replace("Yes", "No")


def turned_sentence(rows: Rows) -> None:
    pair = answer_of(unpaired(rows), "df_d")
    pair["answer"] = pair["answer"].replace("forged", "bona fide")


def explanation_of_another(rows: Rows) -> None:
    pair = answer_of(unpaired(rows), "df_c")
    pair["answer"] = pair["answer"].split(".")[0] + ". " + libraries().df_c.explanations["bona_fide"]


def other_region(rows: Rows) -> None:
    pairs = [pair for row in rows["train"] for pair in row["qa"] if pair["template"].startswith("fc.region_bona_fide")]
    named = [(region, pair) for pair in pairs for region in REGIONS if region in pair["question"]]
    region, here = next((region, pair) for region, pair in named if region in pair["answer"])
    here["question"] = next(pair["question"] for other, pair in named if other != region)


def technique_of_another(rows: Rows) -> None:
    pairs = [pair for row in rows["train"] for pair in row["qa"] if pair["template"].startswith("fc.technique_option")]
    pairs[0]["answer"] = "The technique is faceswap, a kind of face swapping."


def bench_in_training(rows: Rows) -> None:
    unpaired(rows)["bench"] = first(rows, "test", category="entire_face_synthesis")["bench"]


def no_bench(rows: Rows) -> None:
    unpaired(rows, "test")["bench"] = []


def wrong_bench(rows: Rows) -> None:
    unpaired(rows, "test")["bench"][0]["answer"] = "No"


def bench_in_another_order(rows: Rows) -> None:
    unpaired(rows, "test")["bench"][1]["options"].reverse()


def bench_of_another_technique(rows: Rows) -> None:
    question = unpaired(rows, "test")["bench"][3]
    question["answer"] = next(option for option in question["options"] if option != question["answer"])


def bench_of_another(rows: Rows) -> None:
    unpaired(rows, "test")["bench"][2]["answer"] = "No artifact is visible."


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


def jpeg(rows: Rows) -> None:
    row = unpaired(rows)
    buffer = io.BytesIO()
    Image.fromarray(decoded(row)).save(buffer, "JPEG")
    row["image"]["bytes"] = buffer.getvalue()


def landmark_that_is_none(rows: Rows) -> None:
    first(rows, label="bona_fide")["landmarks"][30] = [float("nan"), 50.0]


def landmarks_of_the_whole_picture(rows: Rows) -> None:
    row = first(rows, label="bona_fide")
    row["landmarks"] = (4 * np.array(row["landmarks"])).tolist()


def no_bytes(rows: Rows) -> None:
    unpaired(rows)["image"]["bytes"] = None


def no_answer(rows: Rows) -> None:
    unpaired(rows)["qa"][3]["answer"] = None


def half_a_landmark(rows: Rows) -> None:
    row = next(row for row in rows["train"] if row["landmarks"] and row["category"] not in ("bona_fide",))
    row["landmarks"][3] = [None, 4.0]


def answer_of(row: dict[str, Any], ability: str) -> dict[str, Any]:
    return next(pair for pair in row["qa"] if pair["ability"] == ability)


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


def test_questions_may_come_in_any_order_and_case(
    rows_of: Callable[[], Rows], dataset_folder: Path, tmp_path: Path
) -> None:
    """People write questions in lower case, and a dialogue has them in any order."""

    def lower_case(question: str) -> str:
        return question if "\n" in question else question.rstrip("?.").lower()

    rows = rows_of()
    for row in rows["train"]:
        row["qa"] = [{**p, "question": lower_case(p["question"])} for p in reversed(row["qa"])]
    assert broken(rewrite(dataset_folder, rows, tmp_path / "dfa-instruct")) == set()


def test_a_pair_without_landmarks_is_not_judged_by_the_face_that_was_swapped(
    dataset_folder: Path, rows_of: Callable[[], Rows], tmp_path: Path
) -> None:
    """Without landmarks the outline of a face is unknown, and a swap may change most of the square."""
    rows = rows_of()
    forgery = first(rows, category="face_swapping")
    first(rows, face_id=forgery["pair_id"])["landmarks"] = forgery["landmarks"] = None
    encode(forgery, np.ascontiguousarray(decoded(forgery)[::-1]))
    assert broken(rewrite(dataset_folder, rows, tmp_path / "dfa-instruct")) == set()


def test_a_dataset_that_was_built_keeps_every_promise(dataset_folder: Path) -> None:
    done = CliRunner().invoke(app, ["verify", str(dataset_folder)])
    assert done.exit_code == 0, done.output
    assert done.output.count("held") + done.output.count("not checked") == len(PROMISES)
    assert done.output.count("not checked") <= 1  # there is no video in it


def test_a_split_with_few_people_may_lack_a_category(
    dataset_folder: Path, rows_of: Callable[[], Rows], tmp_path: Path
) -> None:
    rows = rows_of()
    assert len({row["identities"][0] for row in rows["validation"] if row["label"] == "bona_fide"}) < 10
    no_synthesis(rows, "validation")
    done = CliRunner().invoke(app, ["verify", str(rewrite(dataset_folder, rows, tmp_path / "dfa-instruct"))])
    assert done.exit_code == 0, done.output
    assert "Warning: validation: no entire_face_synthesis" in done.output


SYNTHESIZED = {"category": "entire_face_synthesis"}
EDITED = {"category": "face_editing"}
BONA_FIDE = {"label": "bona_fide"}
ONE_ARTIFACT = {"region": "nose", "artifact": "colour", "strength": 0.5}
VALUES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "wrong split": ("splits", SYNTHESIZED, {"split": "test"}),
    "no such pair": ("pairs", EDITED, {"pair_id": "0123456789abcdef"}),
    "unknown pairing": ("pairs", EDITED, {"pairing": "guessed"}),
    "pair without pairing": ("pairs", EDITED, {"pairing": None}),
    "no source hash": ("sources", BONA_FIDE, {"source_sha256": ""}),
    "unnamed source": ("sources", BONA_FIDE, {"source_path": ""}),
    "technique of a bona fide face": ("labels", BONA_FIDE, {"technique": "lips"}),
    "artifact in a bona fide face": ("labels", BONA_FIDE, {"artifacts": [ONE_ARTIFACT]}),
    "unknown region": ("labels", SYNTHESIZED, {"artifacts": [{**ONE_ARTIFACT, "region": "ear"}]}),
    "strength that is not a number": ("labels", SYNTHESIZED, {"artifacts": [{**ONE_ARTIFACT, "strength": math.nan}]}),
    "other artifacts": ("answers, writers", SYNTHESIZED, {"artifacts": [{**ONE_ARTIFACT, "artifact": "geometry"}]}),
    "few landmarks": ("landmarks", BONA_FIDE, {"landmarks": [[1.0, 2.0]] * 68}),
    "parameters that are not JSON": ("columns", SYNTHESIZED, {"parameters": "seed 3"}),
    "null name": ("columns", SYNTHESIZED, {"face_id": None}),
    "null image": ("columns", SYNTHESIZED, {"image": None}),
    "null questions": ("columns", SYNTHESIZED, {"qa": None}),
    "null strength": ("columns", SYNTHESIZED, {"artifacts": [{**ONE_ARTIFACT, "strength": None}]}),
}
"""Case → the promise that is broken, the first row of the training split to change, and its new values."""
ANSWERS: dict[str, tuple[str, dict[str, str]]] = {
    "other category": ("df_c", {"answer": "Face swapping is used."}),
    "description of another face": ("ad", {"answer": "1. **Nose**: An edge is visible around the nose."}),
    "conversation about another face": ("fc", {"template": "fc.strongest_bona_fide.1", "answer": "None does."}),
    "unknown template": ("fc", {"template": "fc.weather.1"}),
}
"""Case → an ability, and new values for a synthesized face's first question of it. They break the promise `answers`."""


def breaking_functions() -> Iterator[Any]:
    """Yield what each test case does to the rows, and the promises that it breaks."""
    for name, (promise, wanted, values) in VALUES.items():
        yield pytest.param(partial(set_values, wanted=wanted, values=values), promise, id=name)
    for name, (ability, answer) in ANSWERS.items():
        yield pytest.param(partial(set_answer, ability=ability, answer=answer), "answers", id=name)
    for promise, functions in BREAKING.items():
        for function in functions:
            yield pytest.param(function, promise, id=function.__name__)


def set_values(rows: Rows, wanted: dict[str, str], values: dict[str, Any]) -> None:
    first(rows, **wanted).update(values)


def set_answer(rows: Rows, ability: str, answer: dict[str, str]) -> None:
    answer_of(unpaired(rows), ability).update(answer)


BREAKING: dict[str, list[Callable[[Rows], None]]] = {
    "images": [truncated, not_square, other_size, jpeg],
    "hashes": [other_pixels, twice],
    "identities": [shared_identity],
    "pairs": [
        pair_in_another_split,
        pair_of_a_forgery,
        synthesis_with_a_pair,
        pair_of_another_frame,
        pair_of_a_stranger,
    ],
    "questions": [six_questions],
    "questions, answers": [empty_answer],
    "answers": [turned_answer, turned_sentence, explanation_of_another, other_region, technique_of_another],
    "bench": [
        bench_in_training,
        no_bench,
        wrong_bench,
        bench_in_another_order,
        bench_of_another,
        bench_of_another_technique,
    ],
    "duplicates": [recompressed_copy],
    "provenance": [no_provenance],
    "landmarks": [landmark_that_is_none, landmarks_of_the_whole_picture],
    "pixels": [pair_of_another_picture],
    "donors": [donor_in_another_split, donor_without_identity],
    "videos": [video_in_two_splits],
    "categories": [no_synthesis, empty_split],
    "evidence": [invented_evidence, stronger_evidence],
    "columns": [no_bytes, no_answer, half_a_landmark],
}


@pytest.mark.parametrize(("breaking", "promise"), breaking_functions())
def test_a_broken_promise_is_found(
    breaking: Callable[[Rows], None],
    promise: str,
    rows_of: Callable[[], Rows],
    dataset_folder: Path,
    tmp_path: Path,
) -> None:
    rows = rows_of()
    breaking(rows)
    assert broken(rewrite(dataset_folder, rows, tmp_path / "dfa-instruct")) == set(promise.split(", "))


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


def test_what_a_recipe_leaves_out_may_be_missing(
    rows_of: Callable[[], Rows], dataset_folder: Path, tmp_path: Path
) -> None:
    rows = {split: [r for r in of if r["category"] in ("bona_fide", "face_editing")] for split, of in rows_of().items()}
    rows["validation"] = []
    folder = rewrite(dataset_folder, rows, tmp_path / "dfa-instruct")
    recipe = tmp_path / "recipe.yaml"
    text = """
sources: [{kind: sample}]
techniques: [lips]
forgeries_per_face: 1
shares: {train: 0.8, validation: 0.0, test: 0.2}
"""
    recipe.write_text(text)
    assert broken(folder) == {"categories"}
    assert CliRunner().invoke(app, ["verify", str(folder), "--recipe", str(recipe)]).exit_code == 0
    recipe.write_text(text.replace("lips", "lips, eigenface"))
    done = CliRunner().invoke(app, ["verify", str(folder), "--recipe", str(recipe)])
    assert done.exit_code == 1 and "test: no entire_face_synthesis" in done.output


@pytest.mark.parametrize("size", [0, 100, 0.5])
def test_a_file_that_is_cut_short_is_named(dataset_folder: Path, tmp_path: Path, size: float) -> None:
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    path = next((folder / "data").glob("test-*"))
    content = path.read_bytes()
    path.write_bytes(content[: int(size * len(content)) if size < 1 else int(size)])
    done = CliRunner().invoke(app, ["verify", str(folder)])
    assert done.exit_code == 2 and done.stderr.splitlines()[-1].startswith("error: ")
    assert path.name in done.stderr.splitlines()[-1]


def test_a_file_whose_middle_is_broken_is_named(dataset_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    path = next((folder / "data").glob("test-*"))
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])
    done = CliRunner().invoke(app, ["verify", str(folder)])
    assert done.exit_code == 2 and "split test" in done.stderr.splitlines()[-1]


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
def test_a_card_that_is_missing_or_names_no_files(
    card: str | None, rows_of: Callable[[], Rows], dataset_folder: Path, tmp_path: Path
) -> None:
    folder = rewrite(dataset_folder, rows_of(), tmp_path / "dfa-instruct")
    (folder / "README.md").unlink()
    if card is not None:
        (folder / "README.md").write_text(card)
    assert broken(folder) == {"card"}


def test_a_folder_that_is_missing_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    for where in ("runs/dfa-instrct", "dfa-instrct"):  # both could be ids on the Hub
        done = CliRunner().invoke(app, ["verify", where])
        assert done.exit_code == 2 and done.stderr == f"error: {where}: no such folder\n"


def test_a_card_whose_header_does_not_parse_is_named(dataset_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    (folder / "README.md").write_text("---\nconfigs: [\n---\n")
    done = CliRunner().invoke(app, ["verify", str(folder)])
    assert done.exit_code == 2 and "README.md" in done.stderr
