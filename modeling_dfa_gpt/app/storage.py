"""Where uploads lie, and for how long: in a folder that ends with the app, and each file for some minutes."""

from __future__ import annotations

import asyncio
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from gradio.utils import get_upload_folder

PREFIX = "dfa-gpt-app-"
LOCK = "lock"
FILES_KEPT = 900
"""Seconds that an upload is on disk at most; one that is refused goes at once, and all of them when the app ends."""
SWEPT_EVERY = 60
"""Seconds."""
LEAST_COUNTED = 100_000
"""Bytes that a file counts as at least, so that small ones cannot be endlessly many."""


@contextmanager
def upload_folder() -> Iterator[Path]:
    """Make a folder for uploads, and delete it at the end; delete those that killed processes left, too."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as made, FileLock(Path(made) / LOCK):
        owner = Path(made).stat().st_uid
        for left in Path(made).parent.glob(f"{PREFIX}*/{LOCK}"):
            with suppress(OSError, Timeout):  # it is in use: the system lets go of a lock when its process ends
                if left.parent.lstat().st_uid == owner:
                    with FileLock(left, blocking=False):
                        shutil.rmtree(left.parent)
        (uploads := Path(made) / "uploads").mkdir()
        yield uploads


def _files(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Yield the files in a folder and below: path, bytes, and the time of the last change."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            known = path.lstat()
            if stat.S_ISREG(known.st_mode):
                yield path, known.st_size, known.st_ctime


def bytes_held(folder: Path) -> int:
    """Count the bytes of the files in a folder, each as `LEAST_COUNTED` at least."""
    return sum(max(size, LEAST_COUNTED) for _, size, _ in _files(folder))


def sweep(folder: Path) -> None:
    """Delete the files that are older than `FILES_KEPT`, those of uploads that were cut off, too."""
    for path, _, changed in _files(folder):
        if time.time() - changed > FILES_KEPT:
            path.unlink(missing_ok=True)


@asynccontextmanager
async def sweeping(_: Any) -> AsyncIterator[None]:
    """Sweep Gradio's folder of uploads as long as the app runs (a lifespan of Starlette)."""

    async def forever() -> None:
        while True:
            await asyncio.sleep(SWEPT_EVERY)
            await asyncio.to_thread(sweep, Path(get_upload_folder()))

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
