"""Store uploads in a folder that is deleted when the app ends, and delete each upload after some minutes."""

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
MAX_AGE = 900
"""Seconds after which an upload is deleted. Refused uploads are deleted at once."""
SWEEP_INTERVAL = 60
"""Seconds."""
MIN_COUNTED_BYTES = 100_000
"""The smallest number of bytes that a file counts as, which limits the number of small files."""


@contextmanager
def upload_folder() -> Iterator[Path]:
    """Create a folder for uploads and delete it at the end. Also delete the folders of killed processes."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as created, FileLock(Path(created) / LOCK):
        owner = Path(created).stat().st_uid
        for lock in Path(created).parent.glob(f"{PREFIX}*/{LOCK}"):
            with suppress(OSError, Timeout):  # a running process holds its lock; the system frees it when it ends
                if lock.parent.lstat().st_uid == owner:
                    with FileLock(lock, blocking=False):
                        shutil.rmtree(lock.parent)
        (uploads := Path(created) / "uploads").mkdir()
        yield uploads


def _files(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Yield the path, size in bytes and time of the last change of every file below a folder."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                yield path, status.st_size, status.st_ctime


def stored_bytes(folder: Path) -> int:
    """Return the total size of the files below a folder, each counted as at least `MIN_COUNTED_BYTES`."""
    return sum(max(size, MIN_COUNTED_BYTES) for _, size, _ in _files(folder))


def sweep(folder: Path) -> None:
    """Delete the files that are older than `MAX_AGE`, including those of interrupted uploads."""
    for path, _, changed in _files(folder):
        if time.time() - changed > MAX_AGE:
            path.unlink(missing_ok=True)


@asynccontextmanager
async def sweeping(_: Any) -> AsyncIterator[None]:
    """Sweep Gradio's upload folder regularly while the app runs (a lifespan of Starlette)."""

    async def sweep_forever() -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            await asyncio.to_thread(sweep, Path(get_upload_folder()))

    task = asyncio.create_task(sweep_forever())
    try:
        yield
    finally:
        task.cancel()
