from collections.abc import Callable
from pathlib import Path

from kills import kill_again_and_again


def test_nothing_that_was_stored_is_asked_again_after_a_kill(
    tmp_path: Path, write_dataset: Callable[[Path, int], Path]
) -> None:
    kill_again_and_again(write_dataset(tmp_path / "faces", 60), tmp_path / "log", kills=2, requests=60)
