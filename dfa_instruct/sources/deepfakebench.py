"""Read DeepfakeBench's JSON lists of datasets as lists of files.

    {"simswap_ff": {"simswap_Fake": {"train": {"993_989": {"label": …, "frames": ["deepfakes_detection_datasets/…"]}}}}}

FaceForensics++ has a compression level between split and video. The splits are ignored: they contain the same forgeries
in train and test, and the same bona fide videos in several splits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def listed_files(path: Path) -> Iterator[str]:
    """Yield the file paths in a list, or in all lists (`*.json`) of a folder, with `/` as separator.

    Raises:
        FileNotFoundError: There is no list.
        ValueError: A list does not have this form.
    """
    lists = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not lists or not lists[0].is_file():
        raise FileNotFoundError(f"{path}: no list there; expected a JSON file of DeepfakeBench, or a folder of them")
    for file in lists:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file}: not a JSON file ({error})") from error
        names = list(_frames(content))
        if not names:
            raise ValueError(f"{file}: names no frames; expected a dataset list of DeepfakeBench")
        yield from (name.replace("\\", "/") for name in names)


def _frames(node: Any) -> Iterator[str]:
    """Yield the strings in all lists with the key `frames`, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "frames" and isinstance(value, list):
                yield from (name for name in value if isinstance(name, str))
            else:
                yield from _frames(value)
