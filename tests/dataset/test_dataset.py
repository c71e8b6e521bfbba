"""The dataset folder and the builder: what `load_dataset` gives with and without this package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset
from PIL import Image

from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.dataset.reading import paths_of, tables_of
from dfa_instruct.dataset.writer import write_tables
from dfa_instruct.records import face_id_of
from dfa_instruct.vocabulary import ABILITIES, CATEGORIES, SPLITS


def load(folder: Path, *args: str, **kwargs: object) -> object:
    return load_dataset("dfa-instruct", *args, data_dir=str(folder), **kwargs)


def test_rows_hold_what_the_contract_says(dataset_folder: Path) -> None:
    import numpy as np

    splits = load(dataset_folder)
    assert set(splits) == set(SPLITS)
    rows = {row["face_id"]: row for split in splits.values() for row in split}
    assert len(rows) == sum(len(split) for split in splits.values())
    assert {row["category"] for row in rows.values()} == set(CATEGORIES)
    for face_id, row in rows.items():
        assert face_id == face_id_of(np.asarray(row["image"]))
        notes = {"dfa:label": "forged", "dfa:technique": row["technique"], "dfa:source_sha256": row["source_sha256"]}
        assert row["image"].text == ({} if row["label"] == "bona_fide" else notes)
        assert (row["label"] == "bona_fide") == (row["category"] == "bona_fide") == (row["technique"] is None)
        assert Counter(pair["ability"] for pair in row["qa"]) == {"df_d": 1, "df_c": 1, "ad": 1, "fc": 4}
        abilities = [question["ability"] for question in row["bench"]]
        expected = ["df_d", "df_c", "ad", *(["df_t"] if row["technique"] else [])]
        assert abilities == (expected if row["split"] == "test" else [])
        assert all(q["answer"] == row["technique"] for q in row["bench"] if q["ability"] == "df_t")
        if row["category"] in ("face_swapping", "face_reenactment", "face_editing"):
            assert rows[row["pair_id"]]["category"] == "bona_fide"
            assert rows[row["pair_id"]]["split"] == row["split"]


def test_plain_datasets_loads_the_folder_without_our_code(dataset_folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys, datasets\n"
        f"rows = datasets.load_dataset({str(dataset_folder)!r}, split='test', cache_dir={str(tmp_path)!r})\n"
        "assert 'dfa_instruct' not in sys.modules\n"
        "print(rows[0]['image'].size, rows[0]['bench'][0]['options'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "(128, 128) ['Yes', 'No']" in done.stdout


def plain_face_ids(folders: Sequence[Path], cache: Path) -> list[dict[str, list[str]]]:
    """Load folders one after the other in a process without this package and with one cache. Return their face_ids."""
    program = (
        "import json, sys, datasets\n"
        "for folder in sys.argv[1:]:\n"
        "    print(json.dumps({n: s['face_id'] for n, s in datasets.load_dataset(folder).items()}, default=list))\n"
        "assert 'dfa_instruct' not in sys.modules"
    )
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache)}
    command = [sys.executable, "-c", program, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cache.parent, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def face_ids(folder: Path) -> dict[str, list[str]]:
    """Return the face_ids in the files of each split."""
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    for path in sorted((folder / "data").iterdir()):
        found[path.name.partition("-")[0]] += pq.read_table(path, columns=["face_id"])["face_id"].to_pylist()
    return {split: ids for split, ids in found.items() if ids}


def written(folder: Path, rows: pa.Table) -> Path:
    write_tables([rows], folder)
    return folder


@pytest.fixture(scope="module")
def all_rows(dataset_folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted((dataset_folder / "data").iterdir())])


def test_folders_of_one_name_and_one_cache_each_give_their_own_rows(all_rows: pa.Table, tmp_path: Path) -> None:
    first = written(tmp_path / "a" / "dfa-instruct", all_rows)
    second = written(tmp_path / "b" / "dfa-instruct", all_rows.take([*range(0, len(all_rows), 2)]))
    own = [face_ids(first), face_ids(second)]
    assert own[0].keys() == own[1].keys() and own[0] != own[1]
    assert plain_face_ids([first, second], tmp_path / "cache") == own


def test_a_folder_that_was_built_again_gives_its_new_rows(all_rows: pa.Table, tmp_path: Path) -> None:
    """Each split has as many rows as before, so without a fingerprint the card would be the same."""
    folder, cache = tmp_path / "dfa-instruct", tmp_path / "cache"
    before = face_ids(written(folder, all_rows))
    assert plain_face_ids([folder], cache) == [before]
    shifted = all_rows["face_id"].take([*range(1, len(all_rows)), 0])
    after = face_ids(written(folder, all_rows.set_column(1, "face_id", shifted)))
    assert after != before and list(map(len, after.values())) == list(map(len, before.values()))
    assert plain_face_ids([folder], cache) == [after]
    assert {name: list(rows["face_id"]) for name, rows in load(folder).items()} == after


def test_the_card_gives_rows_and_bytes_and_files_that_it_does_not_name_are_not_read(
    dataset_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    header = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])
    info = header["dataset_info"]
    ids = face_ids(folder)
    assert {split["name"]: split["num_examples"] for split in info["splits"]} == {s: len(i) for s, i in ids.items()}
    assert info["download_size"] == sum(path.stat().st_size for path in (folder / "data").iterdir())
    assert info["dataset_size"] == sum(split["num_bytes"] for split in info["splits"])
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert loaded["test"].dataset_size == pytest.approx(info["dataset_size"], rel=0.01)
    test_file = next((folder / "data").glob("test-*"))
    shutil.copy(test_file, test_file.with_name("test-00000-of-00001-0123456789abcdef.parquet"))
    for rows in (load(folder, split="test"), load_dataset(str(folder), split="test", streaming=True)):
        assert [row["face_id"] for row in rows] == ids["test"]
    assert sum(table.num_rows for table in tables_of(paths_of(folder), ["face_id"])) == sum(map(len, ids.values()))
    (folder / "README.md").write_text("---\nconfigs: [\n---\n")
    with pytest.raises(ValueError, match=r"README\.md"):
        load(folder)


def test_configs(dataset_folder: Path) -> None:
    faces = load(dataset_folder, split="train")
    conversations = load(dataset_folder, "conversations", split="train")
    assert len(conversations) == len(faces)
    assert [m["role"] for m in conversations[0]["messages"]] == ["user", "assistant"] * 7
    assert isinstance(conversations[0]["images"][0], Image.Image)
    assert len(load(dataset_folder, "conversations_d_c", split="train")[0]["messages"]) == 4
    assert len(load(dataset_folder, "qa", split="train")) == 7 * len(faces)
    for ability in ABILITIES:
        rows = load(dataset_folder, ability, split="train")
        assert set(rows["ability"]) == {ability}
        assert rows[0]["messages"][1] == {"role": "assistant", "content": rows[0]["answer"], "branch": 0}
    branches = [tuple(m["branch"] for m in row["messages"][::2]) for row in conversations]
    assert set(branches) == {(0,) * 7, tuple(range(7))}  # some talk on, most ask each question alone


def test_streaming_and_slices(dataset_folder: Path) -> None:
    streamed = next(iter(load(dataset_folder, "qa", split="train", streaming=True)))
    assert streamed["images"][0].size == (128, 128)
    assert len(load(dataset_folder, split="train[:5]")) == 5


def test_the_directory_may_come_from_the_environment(dataset_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    assert len(load_dataset("dfa-instruct", split="test")) == len(load(dataset_folder, split="test"))


def test_the_sample_is_built_from_a_program_without_a_main_guard(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import dfa_instruct.construction.embedded_sample as d\n"
        "from datasets import load_dataset\n"
        "few = 'import dfa_instruct.construction.recipe as r; r.SAMPLE_IDENTITIES, r.SAMPLE_PICTURES = 12, 2'\n"
        "d.BUILD_SAMPLE = few + d.BUILD_SAMPLE\n"
        "print('rows', len(load_dataset('dfa-instruct', 'df_d', split='train')))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "DFA_INSTRUCT_DIR"} | {
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("rows") == 1


def test_a_folder_without_a_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        load(tmp_path)


def test_one_seed_gives_the_same_bytes(dataset_folder: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    again = tmp_path / "dfa-instruct"
    build(replace(small_recipe, output=str(again)), workers=2)
    files = sorted(p.relative_to(dataset_folder) for p in dataset_folder.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for file in files:
        assert (dataset_folder / file).read_bytes() == (again / file).read_bytes(), file


def test_a_folder_with_other_files_is_refused_and_not_changed(small_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"letter\.txt"):
        build(replace(small_recipe, output=str(tmp_path)), workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_a_failure_leaves_no_files(tmp_path: Path) -> None:
    def tables():
        raise RuntimeError("interrupted")
        yield

    with pytest.raises(RuntimeError):
        write_tables(tables(), tmp_path / "dfa-instruct")
    assert list(tmp_path.iterdir()) == []


def test_a_script_that_leaves_a_stream_in_the_middle_ends(dataset_folder: Path) -> None:
    """With Arrow's scanner, two of three such scripts never ended."""
    script = """
import sys, dfa_instruct
from datasets import load_dataset
rows = load_dataset("dfa-instruct", "conversations", data_dir=sys.argv[1], split="train", streaming=True)
for number, row in enumerate(rows):
    if number == 3:
        break
"""
    started = [subprocess.Popen([sys.executable, "-c", script, str(dataset_folder)]) for _ in range(3)]
    try:
        assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    finally:
        for process in started:
            process.kill()


def test_rows_are_filtered_as_of_any_parquet(dataset_folder: Path) -> None:
    where = {"data_dir": str(dataset_folder), "split": "train"}
    faces = load_dataset("dfa-instruct", **where, filters=[("label", "==", "bona_fide")])
    everything = load_dataset("dfa-instruct", **where)
    assert 0 < len(faces) == sum(label == "bona_fide" for label in everything["label"]) < len(everything)
