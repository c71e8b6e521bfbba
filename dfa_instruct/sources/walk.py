"""Files: what lies below a folder, and which of it are pictures and videos."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from dfa_instruct.sources import ARCHIVE, HIDDEN, NOT_READ, OTHER

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif"}
    | {".heic", ".heif", ".hif", ".jp2", ".j2k", ".ppm", ".pgm", ".pnm"}
)
VIDEO_EXTENSIONS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".3gp"})
ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")

Refuse = Callable[[str, str], None]
"""Is told a file, named below its root, and why it is left out."""
Enter = Callable[[str], bool]
"""Says of a folder, named below its root, whether it is read."""


def is_picture(name: str) -> bool:
    """Tell by the end of its name whether a file is an image."""
    return name.lower().endswith(tuple(EXTENSIONS))


def is_video(name: str) -> bool:
    """Tell by the end of its name whether a file is a video."""
    return name.lower().endswith(tuple(VIDEO_EXTENSIONS))


def entries(
    root: Path, below: str = "", refuse: Refuse | None = None, follow_links: bool = False
) -> tuple[list[str], list[str]]:
    """Name the pictures and videos, and the folders, in one folder below `root`, sorted.

    Of everything else `refuse` is told: of hidden files, of what is neither a picture nor a video, of what has a name
    that no dataset could hold, and of links that lead out of the root, or to a folder or to nothing, which are not
    followed. With `follow_links`, links are followed wherever they lead, but to nothing and round in circles.
    """
    files: list[str] = []
    folders: list[str] = []
    for entry in sorted(os.scandir(root / below), key=lambda entry: entry.name):
        name = f"{below}/{entry.name}" if below else entry.name
        spelt = os.fsencode(name).decode("utf-8", "backslashreplace")
        reason = "" if spelt == name else "a name that is not UTF-8"
        if entry.name.startswith((".", "__MACOSX")):
            reason = HIDDEN
        if not reason and entry.is_symlink():
            target = Path(os.path.realpath(entry.path))  # `resolve` raises where links lead round in circles
            if not target.is_relative_to(root.resolve()) and not follow_links:
                reason = "a link that leads out of the folder"
            elif not target.exists():
                reason = "a link to nothing"
            elif target.is_dir() and not follow_links:
                reason = "a link to a folder"
            elif target in {
                (root / above).resolve() for above in (PurePosixPath(below), *PurePosixPath(below).parents)
            }:
                reason = "a link to a folder that it lies in"
        if not reason and not entry.is_dir() and not is_picture(name) and not is_video(name):
            reason = ARCHIVE if name.lower().endswith(ARCHIVES) else OTHER
        if reason:
            if refuse:
                refuse(spelt, reason)
        else:
            (folders if entry.is_dir() else files).append(entry.name)
    return files, folders


def walk(
    root: Path, refuse: Refuse | None = None, below: str = "", enter: Enter | None = None, follow_links: bool = False
) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below `root` (its name there, POSIX) and its pictures and videos, one folder at a time.

    A folder that `enter` does not want is not read; `refuse` is told of it.
    """
    files, folders = entries(root, below, refuse, follow_links)
    if files:
        yield below, files
    for folder in folders:
        name = f"{below}/{folder}" if below else folder
        if enter is None or enter(name):
            yield from walk(root, refuse, name, enter, follow_links)
        elif refuse:
            refuse(name, NOT_READ)


def find_images(folder: Path) -> list[Path]:
    """List the image files below a folder, in the order of `walk`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no image file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    files = [folder / below / name for below, names in walk(folder) for name in names if is_picture(name)]
    if not files:
        raise ValueError(f"{folder}: no image in it (expected files that end in {', '.join(sorted(EXTENSIONS))})")
    return files
