"""The contact sheet: which faces it shows, and where the artifacts are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.cli import app
from dfa_instruct.face.regions import region_masks
from dfa_instruct.verify.show import (
    CELL,
    EXAMPLE_WIDTH,
    GAP,
    HEADING,
    KIND_COLOURS,
    LABEL,
    Example,
    contact_sheet,
    draw_example,
)
from dfa_instruct.vocabulary import REGIONS


def test_a_forgery_stands_beside_its_bona_fide(dataset_folder: Path) -> None:
    rows = {row["face_id"]: row for row in load_dataset(str(dataset_folder), split="train")}
    forgery = next(row for row in rows.values() if row["technique"] == "lips" and row["artifacts"])
    bona_fide = rows[forgery["pair_id"]]
    sheet = contact_sheet(str(dataset_folder), "train", "lips", examples=1)
    tiles = [
        np.asarray(sheet.crop((x, LABEL + HEADING + LABEL, x + CELL, LABEL + HEADING + LABEL + CELL)), int)
        for x in (2 * GAP + place * (CELL + GAP) for place in range(4))
    ]
    for tile, row in zip(tiles, (bona_fide, forgery), strict=False):
        assert np.array_equal(tile, np.asarray(row["image"].resize((CELL, CELL), Image.Resampling.BICUBIC)))
    mouth = region_masks(np.float32(bona_fide["landmarks"]) * CELL / 128, CELL)["mouth"]
    assert tiles[2][mouth].mean() > 10 * tiles[2][: CELL // 3].mean()
    outlined = (tiles[3] == KIND_COLOURS[forgery["artifacts"][0]["artifact"]]).all(-1)
    assert outlined.any()
    at = np.argwhere(mouth)
    assert (np.argwhere(outlined) >= at.min(0) - 3).all() and (np.argwhere(outlined) <= at.max(0) + 3).all()


def test_every_technique_of_the_split_is_shown(dataset_folder: Path, tmp_path: Path) -> None:
    forgeries = load_dataset(str(dataset_folder), split="train").filter(lambda row: row["label"] == "forged")
    target = tmp_path / "sheet.png"
    where = [str(dataset_folder), "--output", str(target), "--split", "train"]
    done = CliRunner().invoke(app, ["show", *where, "--examples", "1"])
    assert done.exit_code == 0, done.output
    categories, techniques = set(forgeries["category"]), set(forgeries["technique"])
    with Image.open(target) as sheet:
        assert sheet.height == LABEL + HEADING * len(categories) + (LABEL + CELL + GAP) * len(techniques) + 2 * GAP


def test_a_missing_technique_split_or_folder_is_named(dataset_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'lisp'.*lips"):
        contact_sheet(str(dataset_folder), "train", technique="lisp")
    with pytest.raises(ValueError, match=r"'dev'.*train, validation, test"):
        contact_sheet(str(dataset_folder), "dev")
    done = CliRunner().invoke(app, ["show", str(tmp_path / "nowhere")])
    assert done.exit_code == 2 and "nowhere" in done.stderr


def test_a_long_list_of_artifacts_ends_with_how_many_more() -> None:
    artifacts = [{"region": region, "artifact": "colour", "strength": 1.0} for region in list(REGIONS)[:8]]
    row = {"image": Image.new("RGB", (64, 64)), "landmarks": None, "artifacts": artifacts}
    drawn = draw_example(Example(row, None))
    words = np.asarray(drawn.crop((4 * (CELL + GAP), 0, EXAMPLE_WIDTH, CELL)).convert("L"))
    assert (words[-2:] == 255).all() and (words[:-2] < 255).any(axis=1)[-30:].any()  # no line is cut
