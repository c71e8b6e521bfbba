"""The plan: from faces without pixels to splits, to what is dropped, and to what that costs."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.construction.steps.plan import Plan
from dfa_instruct.construction.work_folder import DROPPED_SCHEMA, FACE_SCHEMA, ListReport, PlanReport, WorkFolder
from dfa_instruct.vocabulary import SPLITS


def face(number: int, identities: tuple[str, ...], video: str, source: str, technique: str | None = None) -> dict:
    return {
        "image": b"",
        "face_id": f"{number:016x}",
        "label": "forged" if technique else "bona_fide",
        "category": "face_swapping" if technique else "bona_fide",
        "technique": technique,
        "identities": list(identities),
        "source": source,
        "source_path": f"{video}/{number}.png",
        "source_sha256": "",
        "video": video,
        "hash": np.random.default_rng(number).bytes(32),
    }


def planned(recipe: Recipe, folder: Path, faces: list[dict[str, Any]]) -> tuple[PlanReport, list[dict[str, str]]]:
    """Run the step on one shard of faces. Return its report and what it dropped."""
    work = WorkFolder(folder)
    pq.write_table(pa.Table.from_pylist(faces, schema=FACE_SCHEMA), work.shard("faces", 0))
    pq.write_table(DROPPED_SCHEMA.empty_table(), work.dropped("faces", 0))
    work.write_report("list", ListReport([len(faces)], {}))
    Plan(recipe, work).run()
    return work.report("plan", PlanReport), list(work.all_dropped())


def faceforensics(bona_fide: int, forged: int) -> list[dict[str, Any]]:
    """Return faces of 100 people, and forgeries with two people in each."""
    people = [f"ff/{n:03d}" for n in range(100)]
    faces = [face(n, (people[n % 100],), people[n % 100], "faceforensics") for n in range(bona_fide)]
    for n in range(forged):
        a, b = people[n % 100], people[n % 100 ^ 1]
        faces.append(face(bona_fide + n, (a, b), f"simswap/{a}_{b[3:]}", "df40", "simswap"))
    return faces


@pytest.mark.parametrize("forged", [310, 330])
def test_no_forgery_is_lost_whichever_source_is_larger(tmp_path: Path, forged: int) -> None:
    source = {"kind": "faceforensics", "root": str(tmp_path)}
    report, dropped = planned(Recipe([source]), tmp_path / "work", faceforensics(320, forged))
    assert dropped == [] and report.lacking == []
    assert report.cost == f"identities in different splits cost 0 of {320 + forged} (0.0%)"


def test_people_who_are_all_joined_are_cut_and_the_table_says_what_that_cost(tmp_path: Path) -> None:
    people = [f"celeb/id{n}" for n in range(20)]
    faces = [face(n, (person,), f"{person}_0000", "celebdf") for n, person in enumerate(people)]
    for n, (a, b) in enumerate(permutations(people, 2)):
        faces.append(face(20 + n, (a, b), f"Celeb-synthesis/{a}_{b[6:]}_0000", "celebdf", "Celeb-synthesis"))
    source = {"kind": "celebdf", "root": str(tmp_path)}
    report, dropped = planned(Recipe([source], near_duplicates=-1), tmp_path / "work", faces)
    assert 0 < len(dropped) < 0.65 * len(faces)
    assert {row["reason"] for row in dropped} == {"its identities are in different splits"}
    assert report.cost == f"identities in different splits cost {len(dropped)} of 400 ({len(dropped) / 400:.1%})"


def test_a_split_without_a_category_is_reported(tmp_path: Path) -> None:
    source = {"kind": "faceforensics", "root": str(tmp_path)}
    report, _ = planned(Recipe([source]), tmp_path / "work", faceforensics(320, 0) + faceforensics(321, 1)[-1:])
    assert len(report.lacking) == 2 and set(report.lacking) < {f"{split} has no face_swapping" for split in SPLITS}


def test_the_closing_table_shows_cost_and_warnings(
    small_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swaps = replace(small_recipe, forgeries_per_face=0.04, techniques=["lips"], output=str(tmp_path / "out"))
    build(swaps, workers=1)
    printed = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "identities in different splits cost 0 of 40 (0.0%)" in printed
    assert printed.count("warning: ") == 2
