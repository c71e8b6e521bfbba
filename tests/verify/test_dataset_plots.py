"""Count a dataset folder, and draw the counts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.cli import app
from dfa_instruct.dataset.statistics import Statistics
from dfa_instruct.verify.dataset_plots import count, draw
from dfa_instruct.vocabulary import ABILITIES, CATEGORIES, SPLITS


def test_the_counts_are_those_of_the_rows(dataset_folder: Path) -> None:
    statistics = count(str(dataset_folder))
    rows = [row for rows in load_dataset(str(dataset_folder)).values() for row in rows.remove_columns("image")]
    assert statistics.images_of() == len(rows)
    for split in SPLITS:
        of_split = [row for row in rows if row["split"] == split]
        assert statistics.images_of(split) == len(of_split)
        assert statistics.identities[split] == {name for row in of_split for name in row["identities"]}
    for category in CATEGORIES:
        assert statistics.images_of(category=category) == sum(row["category"] == category for row in rows)
    assert statistics.questions == {ability: len(rows) * (4 if ability == "fc" else 1) for ability in ABILITIES}
    answers = " ".join(pair["answer"] for row in rows for pair in row["qa"]).lower()
    assert statistics.words["texture"] >= answers.count("texture ") > 0


def test_the_options_of_df_c_are_not_counted_as_words() -> None:
    row = {"split": "train", "category": "bona_fide", "technique": None, "source": "s", "identities": ["a"]}
    pair = {"ability": "df_c", "question": "Which one?\nA. face swapping\nB. bona fide", "answer": "B. The nose's."}
    statistics = Statistics()
    statistics.add({**row, "qa": [pair, {**pair, "question": "And?", "answer": "A nose."}]})
    assert statistics.words == {"which": 1, "one": 1, "the": 1, "nose's": 1, "and": 1, "nose": 1}


def test_the_command_prints_a_table_and_writes_a_picture(dataset_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "figure.png"
    done = CliRunner().invoke(app, ["stats", str(dataset_folder), "--output", str(target)])
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in (*CATEGORIES.values(), "thin_plate", "deepfake detection", target.name))
    first = target.read_bytes()
    with Image.open(target) as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(2**24)) > 50
    CliRunner().invoke(app, ["stats", str(dataset_folder), "--output", str(target)])
    assert target.read_bytes() == first


@pytest.mark.parametrize("command", ["stats", "verify"])
def test_a_folder_without_a_dataset_is_named(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [command, str(tmp_path)])
    assert done.exit_code == 2 and str(tmp_path) in done.stderr and "data/<split>-*.parquet" in done.stderr


def test_nothing_is_drawn_without_rows() -> None:
    with pytest.raises(ValueError, match="no rows"):
        draw(Statistics())


def test_sources_are_counted_by_category_and_technique(dataset_folder: Path) -> None:
    statistics = count(str(dataset_folder))
    assert sum(statistics.sources.values()) == statistics.images_of()
    assert {source for *_, source in statistics.sources} == {"sample", "eigenface"}
    for (category, technique), images in statistics.techniques.items():
        assert sum(n for (c, t, _), n in statistics.sources.items() if (c, t) == (category, technique)) == images


def changed(dataset_folder: Path, folder: Path, change: Callable[[pa.Table], pa.Table | None]) -> Path:
    """Copy a dataset folder and change each of its tables. For None, a text is written instead."""
    shutil.copytree(dataset_folder, folder)
    for path in folder.glob("data/*"):
        table = change(pq.read_table(path))
        if table is None:
            path.write_text("no table")
        else:
            pq.write_table(table, path)
    return folder


def nulls(table: pa.Table, column: str) -> pa.Table:
    at = table.column_names.index(column)
    return table.set_column(at, column, pa.nulls(len(table), table.schema.field(at).type))


WRONG: dict[str, tuple[Callable[[pa.Table], pa.Table | None], str]] = {
    "stats": (lambda table: table.drop_columns(["qa"]), "test-00000-"),
    "stats of nulls": (lambda table: nulls(table, "qa"), "in a row of train, qa is null"),
    "stats of texts": (lambda table: None, "test-00000-"),
    "verify": (lambda table: None, "test-00000-"),
    "show of nulls": (lambda table: nulls(table, "image"), "has no image"),
    "instruct of nothing": (lambda table: table.slice(0, 0), "no rows to write"),
}
"""Command → how the tables are changed, and what the message must contain."""


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_gives_one_line(case: str, dataset_folder: Path, tmp_path: Path) -> None:
    change, said = WRONG[case]
    folder = changed(dataset_folder, tmp_path / "dfa-instruct", change)
    done = subprocess.run(
        [sys.executable, "-c", "from dfa_instruct.cli import app; app()", case.split()[0], folder],
        capture_output=True,
        text=True,
    )
    [line] = [line for line in done.stderr.splitlines() if line.strip() and "image/s" not in line]  # no progress bar
    assert done.returncode == 2 and line.startswith("error: ") and said in line


@pytest.mark.parametrize("command", [["stats"], ["push", "me/faces", "--dry-run"]], ids=["stats", "push"])
@pytest.mark.parametrize(
    ("header", "said"), [(None, "data/train-*"), ("configs: 3", "README.md"), ("- a", "README.md")]
)
def test_a_card_whose_files_are_missing_or_that_has_a_wrong_header_is_named(
    command: list[str], header: str | None, said: str, dataset_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    if header is None:
        next(folder.glob("data/train-*")).unlink()
    else:
        (folder / "README.md").write_text(f"---\n{header}\n---\nText.\n")
    done = CliRunner().invoke(app, [command[0], str(folder), *command[1:]])
    assert done.exit_code == 2 and said in done.stderr, done.stderr


@pytest.mark.parametrize("command", ["stats", "show"])
def test_the_name_of_the_picture_is_checked_first(command: str, dataset_folder: Path, tmp_path: Path) -> None:
    for output in (tmp_path, tmp_path / "a.xyz", tmp_path / "none" / "a.png"):
        done = CliRunner().invoke(app, [command, str(dataset_folder), "--output", str(output)])
        assert done.exit_code == 2 and f"--output {output}" in done.stderr
        assert list(tmp_path.iterdir()) == []
