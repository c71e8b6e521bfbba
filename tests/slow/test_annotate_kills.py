"""Twenty kills at random moments: no request that was answered and stored is sent again, the store is whole."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "annotate"))
from kills import kill_again_and_again
from small_faces import write_faces


def test_nothing_that_was_stored_is_asked_again_after_twenty_kills(tmp_path: Path) -> None:
    kill_again_and_again(write_faces(tmp_path / "faces", 400), tmp_path / "log", kills=20, requests=400)
