"""Read the official splits of FaceForensics++."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from dfa_instruct.vocabulary import Split

FILES: Final[dict[Split, str]] = {"train": "train.json", "validation": "val.json", "test": "test.json"}


def read_official(folder: Path) -> dict[str, Split]:
    """Read the official splits of FaceForensics++ from train.json, val.json and test.json.

    Args:
        folder: The folder with the three files; each is a list of pairs of video numbers.

    Returns:
        The split of each identity, such as `ff/071`.

    Raises:
        ValueError: A file is missing, or is not a list of pairs.
    """
    assignment: dict[str, Split] = {}
    for split, name in FILES.items():
        path = folder / name
        try:
            pairs = json.loads(path.read_text(encoding="utf-8"))
            assignment |= {"ff/" + video: split for first, second in pairs for video in (first, second)}
        except (OSError, ValueError, TypeError, RecursionError) as error:
            expected = 'a list of pairs of video numbers, [["071", "054"], …]'
            raise ValueError(f"official_splits: {path}: expected {expected} ({error})") from error
    return assignment
