"""The first step: how a folder's files are distributed over shards."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.construction.steps.list_items import ListItems
from dfa_instruct.construction.work_folder import ListReport, WorkFolder


def folder_recipe(folder: Path, **settings: int) -> Recipe:
    table = "file,category,pair\n"
    for person in range(40):
        path = folder / "people" / f"{person:02d}"
        path.mkdir(parents=True)
        for picture in range(3):
            (path / f"{picture}.png").touch()
            (path / f"{picture} swapped.png").touch()
            below = f"{person:02d}/{picture}"
            table += f"{below}.png,bona_fide,\n{below} swapped.png,face_swapping,{below}.png\n"
    (folder / "table.csv").write_text(table)
    source = {"kind": "folder", "root": str(folder / "people"), "csv": str(folder / "table.csv"), "technique": "swap"}
    return Recipe([source], **settings)


def listed(recipe: Recipe, work: WorkFolder) -> list[list[dict]]:
    ListItems(recipe, work).run()
    return [pq.read_table(path).to_pylist() for path in work.shards("list")]


def test_a_picture_and_its_forgery_are_in_one_shard_and_people_are_mixed(tmp_path: Path) -> None:
    recipe = folder_recipe(tmp_path)
    shards = listed(recipe, WorkFolder(tmp_path / "work"))
    assert [len(shard) for shard in shards] == WorkFolder(tmp_path / "work").report("list", ListReport).sizes
    rows = [row for shard in shards for row in shard]
    assert len({row["path"] for row in rows}) == 240 and all(Path(row["path"]).is_file() for row in rows)
    for shard in shards:
        keys = [f"{row['source']}/{row['source_path']}" for row in shard]
        for n, row in enumerate(shard):
            assert row["pair"] is None or row["pair"] in keys[:n]
    people = [row["identities"][0] for row in rows]
    assert people != sorted(people)
    assert listed(recipe, WorkFolder(tmp_path / "again")) == shards


@pytest.mark.parametrize("settings, left", [({"fewest_images": 121}, 0), ({"most_images": 50}, 50)])
def test_techniques_are_left_out_or_limited(tmp_path: Path, settings: dict[str, int], left: int) -> None:
    work = WorkFolder(tmp_path / "work")
    shards = listed(folder_recipe(tmp_path, **settings), work)
    rows = [row for shard in shards for row in shard]
    assert sum(row["category"] == "face_swapping" for row in rows) == left and len(rows) == 120 + left
    dropped = [row["what"] for row in work.all_dropped()]
    assert len(dropped) == len(set(dropped)) == 120 - left
    assert not {f"{row['source']}/{row['source_path']}" for row in rows} & set(dropped)
