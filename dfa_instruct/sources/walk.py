"""Find the pictures and videos below a folder."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from dfa_instruct.sources import ARCHIVE, HIDDEN, NOT_READ, OTHER

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif"}
    | {".heic", ".heif", ".hif", ".jp2", ".j2k", ".ppm", ".pgm", ".pnm"}
)
VIDEO_EXTENSIONS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".3gp"})
ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")

Refuse = Callable[[str, str], None]
"""A function that receives each file that is left out, by its path below the root, and the reason."""
Enter = Callable[[str], bool]
"""A function that receives the path of a folder below the root and returns whether to read it."""


def is_picture(name: str) -> bool:
    """Return whether a file is an image, by its extension."""
    return name.lower().endswith(tuple(EXTENSIONS))


def is_video(name: str) -> bool:
    """Return whether a file is a video, by its extension."""
    return name.lower().endswith(tuple(VIDEO_EXTENSIONS))


def entries(
    root: Path, below: str = "", refuse: Refuse | None = None, follow_links: bool = False
) -> tuple[list[str], list[str]]:
    """List the pictures and videos, and the folders, in one folder below `root`, each sorted by name.

    Everything else goes to `refuse`: hidden files, files that are neither pictures nor videos, names that are not
    UTF-8, and links that lead out of the root, to a folder or to nothing. With `follow_links`, all links are followed
    except those to nothing and those to a folder that contains them.
    """
    files: list[str] = []
    folders: list[str] = []
    for entry in sorted(os.scandir(root / below), key=lambda entry: entry.name):
        name = posixpath.join(below, entry.name)
        printable_name = os.fsencode(name).decode("utf-8", "backslashreplace")
        reason = "" if printable_name == name else "a name that is not UTF-8"
        if entry.name.startswith((".", "__MACOSX")):
            reason = HIDDEN
        if not reason and entry.is_symlink():
            reason = _reason_against_link(root, below, entry, follow_links)
        if not reason and not entry.is_dir() and not is_picture(name) and not is_video(name):
            reason = ARCHIVE if name.lower().endswith(ARCHIVES) else OTHER
        if not reason:
            (folders if entry.is_dir() else files).append(entry.name)
        elif refuse:
            refuse(printable_name, reason)
    return files, folders


def _reason_against_link(root: Path, below: str, entry: os.DirEntry[str], follow_links: bool) -> str:
    target = Path(os.path.realpath(entry.path))  # `Path.resolve` raises on a loop of links
    if not target.is_relative_to(root.resolve()) and not follow_links:
        return "a link that leads out of the folder"
    if not target.exists():
        return "a link to nothing"
    if target.is_dir() and not follow_links:
        return "a link to a folder"
    folder = root / below
    above = [folder, *list(folder.parents)[: len(Path(below).parts)]]
    return "a link to a folder that it lies in" if target in {path.resolve() for path in above} else ""


def walk(
    root: Path, refuse: Refuse | None = None, below: str = "", enter: Enter | None = None, follow_links: bool = False
) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below `root` (its POSIX path there) with its pictures and videos, one folder at a time.

    Folders for which `enter` returns False are not read and go to `refuse`.
    """
    files, folders = entries(root, below, refuse, follow_links)
    if files:
        yield below, files
    for folder in folders:
        name = posixpath.join(below, folder)
        if enter is None or enter(name):
            yield from walk(root, refuse, name, enter, follow_links)
        elif refuse:
            refuse(name, NOT_READ)


def walk_files(root: Path, refuse: Refuse | None = None, follow_links: bool = False) -> Iterator[str]:
    """Yield the path of each picture and video below `root`, in the order of `walk`."""
    for below, names in walk(root, refuse, follow_links=follow_links):
        yield from (posixpath.join(below, name) for name in names)


def find_images(folder: Path) -> list[Path]:
    """List the image files below a folder, in the order of `walk`.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It contains no image file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    files = [folder / file for file in walk_files(folder) if is_picture(file)]
    if not files:
        raise ValueError(f"{folder}: no image in it (expected files that end in {', '.join(sorted(EXTENSIONS))})")
    return files
