"""The data are what they were: the drawn sample's Parquet files, byte by byte, against fingerprints kept here.

A change that moves code must leave this test as it is. A change that alters data on purpose (a technique, evidence,
templates, a column) replaces the fingerprints by those that the test prints, in the same commit, and its message says
what has changed. Another processor's or another library's arithmetic may round otherwise and give other fingerprints
of the same code: compare with those of the commit before, made on the same machine.
"""

from __future__ import annotations

from pathlib import Path

FINGERPRINTS = {
    "test-00000-of-00001-a8e393ea5a81b7c0.parquet",
    "train-00000-of-00001-b75e1d31b7376b0f.parquet",
    "validation-00000-of-00001-35f7ea624d2b638d.parquet",
}
"""Names of the files of `small_recipe`'s dataset; the last word of each is what its content gives."""


def test_the_small_sample_has_the_bytes_that_it_had(dataset_folder: Path) -> None:
    assert {path.name for path in (dataset_folder / "data").iterdir()} == FINGERPRINTS
