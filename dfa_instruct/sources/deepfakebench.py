"""DeepfakeBench's JSON lists of datasets, read as lists of files and nothing more.

    {"simswap_ff": {"simswap_Fake": {"train": {"993_989": {"label": …, "frames": ["deepfakes_detection_datasets/…"]}}}}}

FaceForensics++ has a compression level between split and video. The splits are not read: the same forgeries stand in
train and test, and the same bona fide videos under several splits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def listed_files(path: Path) -> Iterator[str]:
    """Yield the paths that a list names, or all lists (`*.json`) in a folder, as they stand there but with `/`.

    Raises:
        FileNotFoundError, ValueError: there is no list, or it is not of this form.
    """
    lists = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not lists or not lists[0].is_file():
        raise FileNotFoundError(f"{path}: no list there; expected a JSON file of DeepfakeBench, or a folder of them")
    for file in lists:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file}: no JSON ({error})") from error
        named = False
        for name in _frames(content):
            named = True
            yield name.replace("\\", "/")
        if not named:
            raise ValueError(f"{file}: names no frames; expected a dataset list of DeepfakeBench")


def _frames(node: Any) -> Iterator[str]:
    """Find the lists called `frames`, however many levels lie above them."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "frames" and isinstance(value, list):
                yield from (name for name in value if isinstance(name, str))
            else:
                yield from _frames(value)
