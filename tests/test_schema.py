"""A field that is added to `FaceRecord` becomes a column of the work folder and of the dataset."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import make_dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfa_instruct.records import Face
from dfa_instruct.schema import arrow_schema, from_columns, to_columns

PROGRAM = """
import sys
from pathlib import Path
from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe

build(Recipe([{"kind": "sample", "identities": 8, "pictures": 2}], size=64, forgeries_per_face=0.5, output=sys.argv[1],
    techniques=["lips", "delaunay_swap"]), workers=1)
"""


def test_a_new_field_of_the_record_becomes_a_column(copied_package: Path, tmp_path: Path) -> None:
    records = copied_package / "dfa_instruct" / "records.py"
    text = records.read_text()
    assert text.count("    split: Split | None = None\n") == 1
    cameras = '    cameras: tuple[str, ...] = ("first", "second")\n'
    records.write_text(text.replace("    split: Split | None = None\n", f"    split: Split | None = None\n{cameras}"))
    folder = tmp_path / "dfa-instruct"
    done = subprocess.run([sys.executable, "-c", PROGRAM, folder], cwd=copied_package, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tables = [pq.read_table(path) for path in sorted((folder / "data").iterdir())]
    assert {row["category"] for table in tables for row in table.select(["category"]).to_pylist()} == {
        "bona_fide",
        "face_editing",
        "face_swapping",
    }
    for table in tables:
        assert table["cameras"].to_pylist() == [["first", "second"]] * len(table)


def test_a_face_is_restored_from_its_columns() -> None:
    face = Face(
        image=np.arange(48, dtype=np.uint8).reshape(4, 4, 3),
        label="forged",
        category="face_editing",
        technique="lips",
        identities=("a", "b"),
        source="test",
        source_path="a/ü.png",
        source_sha256="0" * 64,
        frame=7,
        landmarks=np.full((81, 2), 1.25, np.float32),
        parameters={"seed": 3, "colour": "red"},
    )
    table = pa.Table.from_pylist([to_columns(face)], schema=arrow_schema(Face))
    again = from_columns(Face, table.to_pylist()[0], image=face.image)
    for name in ("face_id", "label", "identities", "frame", "video", "split", "parameters", "source_path"):
        assert getattr(again, name) == getattr(face, name), name
    assert np.array_equal(again.landmarks, face.landmarks) and again.landmarks.dtype == np.float32
    assert table["image"][0].as_py() == face.image.tobytes()


def test_a_type_without_a_column_type_is_named() -> None:
    with pytest.raises(TypeError, match=r"<class 'complex'>"):
        arrow_schema(make_dataclass("Odd", [("size", complex)]))
