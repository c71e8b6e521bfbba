"""Counting a dataset folder, and the figure drawn of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.cli import app
from dfa_instruct.dataset.statistics import Statistics
from dfa_instruct.inspect.statistics import count, draw
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


def test_the_options_of_df_c_are_no_words() -> None:
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


def test_what_is_no_dataset_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["stats", str(tmp_path)])
    assert done.exit_code == 2
    assert str(tmp_path) in done.stderr and "expected data/<split>-*.parquet" in done.stderr
    with pytest.raises(ValueError, match="no rows"):
        draw(Statistics())


def test_sources_are_counted_by_category_and_technique(dataset_folder: Path) -> None:
    statistics = count(str(dataset_folder))
    assert sum(statistics.sources.values()) == statistics.images_of()
    assert {source for *_, source in statistics.sources} == {"sample", "eigenface"}
    for (category, technique), images in statistics.techniques.items():
        assert sum(n for (c, t, _), n in statistics.sources.items() if (c, t) == (category, technique)) == images
