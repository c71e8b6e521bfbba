"""A process's face detector; it serves every task that the process runs."""

from __future__ import annotations

import atexit
from functools import lru_cache

from dfa_instruct.face.detection import FaceDetector


@lru_cache(maxsize=1)
def detector() -> FaceDetector:
    """Open it, or return the one that is open."""
    atexit.register(close_detector)
    return FaceDetector().__enter__()


def close_detector() -> None:
    """Close it, where it is open: MediaPipe's cannot close itself any more when the interpreter ends."""
    if detector.cache_info().currsize:
        detector().__exit__(None, None, None)
        detector.cache_clear()
