"""What other packages add: sources, techniques, annotators and metrics, by entry points."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any

from dfa_instruct.errors import nearest


def plug_in(group: str, what: str, name: str, ours: Iterable[str], hint: str = "") -> Any:
    """Load what an entry point of this group names.

    Args:
        group: of entry points, as `dfa_instruct.annotators`.
        what: is looked for, in a word, for the message.
        name: of the entry point.
        ours: the names that are known without a plug-in, for the message.
        hint: the end of the message about an unknown name.

    Raises:
        ValueError: one line: nobody knows the name (the nearest is said), or its plug-in does not load.
    """
    found = entry_points(group=group)
    if name not in found.names:
        raise ValueError(f"unknown {what} {name!r}{nearest(name, [*ours, *found.names])}{hint}")
    entry = found[name]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{what} {name}: its plug-in {entry.value} does not load: {error}") from error


def releases(group: str, said: str) -> dict[str, str]:
    """Return the package and version behind each entry point of a group whose name stands, quoted, in JSON text."""
    found = [entry for entry in entry_points(group=group) if f'"{entry.name}"' in said]
    return {entry.name: f"{entry.dist.name} {entry.dist.version}" for entry in found if entry.dist}


def called(make: Callable[..., Any], what: str, settings: dict[str, Any]) -> Any:
    """Call `make` with the settings, or say which of them it does not take, and which it takes."""
    takes = inspect.signature(make)
    try:
        takes.bind(**settings)
    except TypeError as error:
        raise ValueError(f"{what}: {error} (it takes {', '.join(takes.parameters) or 'none'})") from error
    return make(**settings)
