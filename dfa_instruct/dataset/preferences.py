"""Convert a dataset folder to pairs of a right and a wrong answer, for preference optimization (Rafailov et al., 2023).

The wrong answer is the right one to the same kind of question about another face: the opposite verdict, another
category, or a description that names a region without an artifact, or no artifact in a forgery. Both answers are thus
written in the same way, and only the image shows which is right.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from dfa_instruct.dataset.reading import files_of, tables_of
from dfa_instruct.vocabulary import OPPOSITE, Ability, Category, Label, Region

ABILITIES: Final[tuple[Ability, ...]] = ("df_d", "df_c", "ad")
COLUMNS: Final = ("face_id", "label", "category", "findings", "qa")
DRAWS: Final = 20
"""The largest number of answers about other faces that are drawn to find a wrong one."""


class Truth(NamedTuple):
    """What the dataset knows about a face; `regions` are those with an artifact."""

    label: Label
    category: Category
    regions: frozenset[Region]


def write_preferences(source: Path, output: Path) -> Counter[str]:
    """Write the train split of a dataset folder as JSON lines for TRL's DPOTrainer, and the images beside it.

    Args:
        source: The dataset folder.
        output: The new file. Its images are written to the folder `images` beside it.

    Returns:
        The number of pairs of each ability.

    Raises:
        FileExistsError: The output exists.
        FileNotFoundError: There is no dataset, or no train split, in the folder.
        ValueError: A file cannot be read or lacks a column.
    """
    if output.exists():
        raise FileExistsError(f"{output} exists already; choose a new file")
    paths = files_of(source).get("train", [])
    if not paths:
        raise FileNotFoundError(f"{source}: no train split (expected data/train-*.parquet)")
    known: dict[tuple[str, str], list[tuple[Truth, str]]] = defaultdict(list)
    for row in _rows(paths, COLUMNS):
        for pair in _asked(row):
            known[_kind(row["label"], pair)].append((_truth(row), pair["answer"]))
    counts: Counter[str] = Counter()
    images = output.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            for row in _rows(paths, ("image", *COLUMNS)):
                rng = np.random.default_rng(int(row["face_id"], 16))
                name = f"images/{row['face_id']}.png"
                for pair in _asked(row):
                    wrong = _wrong(_truth(row), pair["ability"], known[_kind(row["label"], pair)], rng)
                    if wrong is None:
                        continue
                    (output.parent / name).write_bytes(row["image"]["bytes"])
                    turns = {"prompt": ("user", pair["question"]), "chosen": ("assistant", pair["answer"])}
                    line: dict[str, Any] = {"images": [name]}
                    for part, (role, text) in (turns | {"rejected": ("assistant", wrong)}).items():
                        line[part] = [{"role": role, "content": text}]
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    counts[pair["ability"]] += 1
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return counts


def _rows(paths: list[Path], columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for table in tables_of(paths, list(columns)):
        yield from table.to_pylist()


def _asked(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [pair for pair in row["qa"] if pair["ability"] in ABILITIES]


def _kind(label: Label, pair: Mapping[str, Any]) -> tuple[str, str]:
    """Return the kind of a question. Questions of DF-D differ by the label that the answer yes means, if any."""
    word = re.match(r"(yes|no)\b", pair["answer"], re.IGNORECASE) if pair["ability"] == "df_d" else None
    if word is None:
        return pair["ability"], ""
    return pair["ability"], label if word[1].lower() == "yes" else OPPOSITE[label]


def _truth(row: Mapping[str, Any]) -> Truth:
    return Truth(row["label"], row["category"], frozenset(finding["region"] for finding in row["findings"]))


def _wrong(truth: Truth, ability: Ability, known: list[tuple[Truth, str]], rng: np.random.Generator) -> str | None:
    """Return an answer about another face that is wrong for this one, or None if none was drawn."""
    for number in rng.integers(len(known), size=DRAWS):
        other, answer = known[number]
        if ability == "ad":
            is_wrong = bool(other.regions - truth.regions) or bool(truth.regions and not other.regions)
        else:
            is_wrong = other.label != truth.label if ability == "df_d" else other.category != truth.category
        if is_wrong:
            return answer
    return None
