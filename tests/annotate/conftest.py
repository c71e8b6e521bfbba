"""A server that misbehaves, and an API key for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from commands import KEY
from misbehaving import Misbehaviour, State, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractContextManager[tuple[str, State]]]:
    """Start a server with a `Misbehaviour`; yield its address and what it has seen."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    @contextmanager
    def start(**behaviour: object) -> Iterator[tuple[str, State]]:
        state = State(Misbehaviour(**behaviour))
        with serving(state) as address:
            yield address, state

    return start
