"""The Hub double, and a client that uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_client import Client
from hub_double import Hub, running


@pytest.fixture
def hub() -> Iterator[Hub]:
    """An empty Hub."""
    with running() as hub:
        yield hub


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    """A client with an empty cache."""
    return Client(hub, tmp_path / "home")
