"""How far people agree with the pixels and with each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from bench_data import row, write
from typer.testing import CliRunner

from dfa_instruct.cli import app
from dfa_instruct.verify.agreement import agreement, kappa
from dfa_instruct.vocabulary import REGIONS


def words(person: str, *regions: str) -> dict[str, Any]:
    findings = [{"region": region, "artifacts": ["colour"], "sentence": "Odd."} for region in regions]
    return {"person": person, "about": "", "text": "Odd.", "findings": findings}


def face(number: int, evident: list[str], *people: dict[str, Any], pairing: str = "same_frame") -> dict[str, Any]:
    artifacts = [{"region": region, "artifact": "colour", "strength": 1.0} for region in evident]
    facts = {"artifacts": artifacts, "descriptions": list(people), "pairing": pairing, "ad_by": "human"}
    return row("face_swapping", "train", number) | facts | {"source": "drawn", "identities": ["1"], "ad_by": "human"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        face(1, ["mouth"], words("ann", "mouth"), words("bob", "mouth", "eyes")),
        face(2, ["chin"], words("1", "nose"), pairing="refused"),
    ]
    return write(tmp_path / "dfa-instruct", {"train": rows})


def test_only_pairs_are_compared_with_the_pixels(folder: Path) -> None:
    found = agreement(str(folder))
    assert set(found) == {"by face_swapping", "all"}
    of_all = found["all"]
    assert (of_all.faces, len(of_all.people), len(of_all.with_pixels), len(of_all.with_each_other)) == (2, 3, 2, 1)
    assert kappa(of_all.with_pixels[:1]) == 1
    # Two of 18 decisions are shared, and one is not: (17/18 - chance) / (1 - chance).
    chance = (3 / 18) * (2 / 18) + (15 / 18) * (16 / 18)
    assert kappa(of_all.with_pixels) == pytest.approx((17 / 18 - chance) / (1 - chance))


def test_kappa_of_one_and_the_same_decision_is_undefined() -> None:
    assert math.isnan(kappa([({}, {})])) and math.isnan(kappa([(dict.fromkeys(REGIONS, ()),) * 2]))
    assert kappa([({"eyes": ()}, {"nose": ()})], ["eyes", "nose"]) == -1


def test_the_tables_are_printed_by_stats_if_people_have_described_faces(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["stats", str(folder), "--output", str(tmp_path / "s.png")], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert done.output.count("by face_swapping") == 2 and "by region" in done.output
