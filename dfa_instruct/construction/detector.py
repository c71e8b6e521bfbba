"""The face detector of a process, shared by all tasks that the process runs."""

from __future__ import annotations

import atexit
from functools import lru_cache

from dfa_instruct.face.detection import FaceDetector


@lru_cache(maxsize=1)
def detector() -> FaceDetector:
    """Return the open detector. Open it on the first call."""
    atexit.register(close_detector)
    return FaceDetector().__enter__()


def close_detector() -> None:
    """Close the detector if it is open. MediaPipe cannot close it while the interpreter shuts down."""
    if detector.cache_info().currsize:
        detector().__exit__(None, None, None)
        detector.cache_clear()
