"""The Hub double, and a machine that talks to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_client import Client
from hub_double import Hub, running


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A Hub with nothing in it."""
    with running() as hub:
        yield hub


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    """A machine with a fresh cache."""
    return Client(hub, tmp_path / "home")
