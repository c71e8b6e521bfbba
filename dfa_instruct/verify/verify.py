"""Check every promise of a dataset folder on its rows, and compare the pixels of a sample of its pairs.

The dataset is read once, and a second time for the sample. Only names, splits and hashes are kept in memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dfa_instruct.annotate import Annotator
from dfa_instruct.annotate.registry import annotator
from dfa_instruct.construction.recipe import Recipe, techniques_of
from dfa_instruct.dataset.features import FEATURES
from dfa_instruct.dataset.reading import open_splits, rows_of
from dfa_instruct.instruct.templates import Libraries, libraries
from dfa_instruct.records import FaceRecord
from dfa_instruct.schema import from_columns
from dfa_instruct.sources.registry import categories_of
from dfa_instruct.verify.across_rows import AcrossRows
from dfa_instruct.verify.annotation_checks import check_answers, check_questions
from dfa_instruct.verify.pixel_checks import check_pixels
from dfa_instruct.verify.promises import Findings
from dfa_instruct.verify.row_checks import (
    check_image,
    check_labels,
    check_landmarks,
    check_nulls,
    check_parameters,
    check_source,
)
from dfa_instruct.vocabulary import CATEGORIES, SPLITS, Category, Split

_FACE_ID: Final = re.compile(r"[0-9a-f]{16}")


def verify(where: str, recipe: Recipe | None = None) -> Findings:
    """Check every promise in `PROMISES`, with a progress bar.

    If the columns are not as promised, the rows are not checked.

    Args:
        where: A dataset folder, or the id of a repository on the Hub.
        recipe: The recipe of the build. Splits and categories that it leaves out may be missing. Without a recipe, each
            split must have all categories, unless there is a test split only.

    Raises:
        FileNotFoundError: See `dfa_instruct.dataset.reading.open_splits`.
        ValueError: See there.
    """
    splits = open_splits(where)
    findings = Findings()
    _check_card(findings, where)
    library = libraries(recipe.templates if recipe else None)
    described_by = annotator(recipe.annotator if recipe else "measured", library)
    for name, rows in splits.items():
        _check_columns(findings, name, rows.features or {})
    if findings["columns"].broken:
        return findings
    across = AcrossRows(findings)
    unsound: set[str] = set()
    for name, rows in splits.items():
        for number, row in enumerate(rows_of(where, name, rows.decode(False), "verify")):
            if not _check_row(findings, across, described_by, library, name, number, row):
                unsound.add(row["face_id"])
    pairs = across.pairs()
    across.duplicates()
    if recipe or [*splits] != ["test"]:  # a dataset to test on only may have any categories
        across.filled(expected_categories(recipe))
    check_pixels(findings, where, pairs, unsound)
    return findings


def _check_row(
    findings: Findings,
    across: AcrossRows,
    described_by: Annotator,
    library: Libraries,
    split: str,
    number: int,
    row: Mapping[str, Any],
) -> bool:
    """Check a row. Return whether its picture and its landmarks can be compared with those of its pair."""
    name = f"{split} {row['face_id'] or f'row {number}'}"
    if not check_nulls(findings, name, row):
        return False
    is_right_split = split == row["split"] and split in SPLITS
    findings.check("splits", is_right_split, f"{name}: its column `split` is {row['split']!r}")
    across.add(split, name, row, check_parameters(findings, name, row))
    check_source(findings, name, row)
    pixels = check_image(findings, name, row)
    fits = pixels is not None and across.add_pixels(name, row, pixels)
    placed = pixels is not None and check_landmarks(findings, name, row, len(pixels))
    labelled = check_labels(findings, name, row)
    check_questions(findings, name, row)
    if labelled and _FACE_ID.fullmatch(row["face_id"]):
        check_answers(findings, name, split, row, from_columns(FaceRecord, row, parameters={}), described_by, library)
    return fits and placed


def _check_card(findings: Findings, where: str) -> None:
    from huggingface_hub import DatasetCard

    try:
        card = DatasetCard.load(Path(where, "README.md") if Path(where).exists() else where)
    except (OSError, ValueError) as error:
        findings.check("card", False, f"README.md: {' '.join(str(error).split())}")
        return
    findings.check("card", bool(card.data.to_dict().get("configs")), "README.md: its header has no `configs`")
    findings.check("card", bool(card.text.strip()), "README.md: there is no text below its header")


def _check_columns(findings: Findings, split: str, features: Mapping[str, Any]) -> None:
    for name in dict.fromkeys([*FEATURES, *features]):
        found, expected = features.get(name, "missing"), FEATURES.get(name, "no such column")
        findings.check("columns", found == expected, f"{split}, {name}: {found}; expected: {expected}")


def expected_categories(recipe: Recipe | None) -> dict[Split, list[Category]]:
    """Return the categories that a recipe puts into each split. Without a recipe, these are all.

    Categories that only a table of the user's names are not expected. If the recipe holds something out, it may be all
    of a category. So the other splits are only expected to have bona fide faces.
    """
    if recipe is None:
        return {split: list(CATEGORIES) for split in SPLITS}
    found: set[Category] = set()
    if recipe.forgeries_per_face:
        found |= {technique.category for technique in techniques_of(recipe)}
    for source in recipe.sources:
        found.update(categories_of(source))
    everything: list[Category] = [category for category in CATEGORIES if category in found]
    bona_fide: list[Category] = ["bona_fide"]
    return {
        split: bona_fide if recipe.held_out and split != "test" else everything
        for split in SPLITS
        if recipe.shares[split] > 0 or recipe.official_splits
    }
