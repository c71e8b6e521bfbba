"""Convert a dataset folder to pairs of a right and a wrong answer, for preference optimization (Rafailov et al., 2023).

The wrong answer is the right one to the same kind of question about another face: the opposite verdict, another
category, or a description of other regions. Both are thus written in the same way, and only the image decides.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from dfa_instruct.dataset.reading import paths_of, tables_of
from dfa_instruct.vocabulary import Ability, Region

ABILITIES: Final[tuple[Ability, ...]] = ("df_d", "df_c", "ad")
COLUMNS: Final = ("face_id", "label", "category", "findings", "qa")
DRAWS: Final = 20
"""The number of other descriptions that are drawn until one names other regions."""

Truth = tuple[str, str, frozenset[Region]]
"""The label, the category and the regions with an artifact."""


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
    """
    if output.exists():
        raise FileExistsError(f"{output} exists already; choose a new file")
    paths = [path for path in paths_of(source) if path.name.startswith("train")]
    if not paths:
        raise FileNotFoundError(f"{source}: no train split (expected data/train-*.parquet)")
    known: dict[tuple[str, str], list[tuple[Truth, str]]] = defaultdict(list)
    for row in _rows(paths, COLUMNS):
        for pair in _asked(row):
            known[_kind(pair)].append((_truth(row), pair["answer"]))
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
                    wrong = _wrong(_truth(row), pair["ability"], known[_kind(pair)], rng)
                    if wrong is None:
                        continue
                    turns = {"prompt": ("user", pair["question"]), "chosen": ("assistant", pair["answer"])}
                    line: dict[str, Any] = {"images": [name]}
                    for part, (role, text) in (turns | {"rejected": ("assistant", wrong)}).items():
                        line[part] = [{"role": role, "content": text}]
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    counts[pair["ability"]] += 1
                (output.parent / name).write_bytes(row["image"]["bytes"])
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return counts


def _rows(paths: list[Path], columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for table in tables_of(paths, list(columns)):
        yield from table.to_pylist()


def _asked(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [pair for pair in row["qa"] if pair["ability"] in ABILITIES]


def _kind(pair: Mapping[str, Any]) -> tuple[str, str]:
    """Return the kind of a question. Questions of DF-D differ by the label that the answer yes means."""
    return pair["ability"], pair["template"].rpartition(".")[0] if pair["ability"] == "df_d" else ""


def _truth(row: Mapping[str, Any]) -> Truth:
    return row["label"], row["category"], frozenset(finding["region"] for finding in row["findings"])


def _wrong(truth: Truth, ability: Ability, known: list[tuple[Truth, str]], rng: np.random.Generator) -> str | None:
    """Return an answer about another face that is wrong for this one, or None if none was drawn."""
    what = ABILITIES.index(ability)
    for number in rng.integers(len(known), size=DRAWS):
        other, answer = known[number]
        if other[what] != truth[what]:
            return answer
    return None
