"""Write a folder completely or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_new(output: Path) -> None:
    """Raise FileExistsError if `output` is a file or a folder that is not empty."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} is not an empty folder; use an empty or a new one")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Yield the path of a temporary folder to create. Without an error, it is moved to `output` at the end.

    Raises:
        FileExistsError: See `check_new`.
    """
    check_new(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
        folder = Path(scratch) / "folder"
        yield folder
        folder.rename(output)
