"""A small dataset folder, and a server that misbehaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from misbehaving import Misbehaviour, State, serving
from small_faces import write_faces


@pytest.fixture(scope="session")
def write_dataset() -> Callable[[Path, int], Path]:
    """Write a dataset folder with so many forgeries, and as many bona fide faces."""
    return write_faces


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractContextManager[tuple[str, State]]]:
    """Start a server that misbehaves as it is told; give its address, and what it has seen."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    @contextmanager
    def start(**behaviour: object) -> Iterator[tuple[str, State]]:
        state = State(Misbehaviour(**behaviour))
        with serving(state) as address:
            yield address, state

    return start
