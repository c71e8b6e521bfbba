"""What other packages add by an entry point: a source, a technique."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from dfa_instruct.errors import suggestion


def plug_in(group: str, what: str, name: str, own: Iterable[str], hint: str = "") -> tuple[EntryPoint, Any]:
    """Load what the entry point of this name names, a class or a function.

    Args:
        group: of entry points.
        what: is sought, as a message calls it.
        name: as a recipe gives it.
        own: names that this package knows itself.
        hint: the end of the message about an unknown name.

    Raises:
        ValueError: nobody knows the name (the nearest is said), or its package does not load.
    """
    found = entry_points(group=group)
    if name not in found.names:
        raise ValueError(f"unknown {what} {name!r}; {suggestion(name, [*own, *found.names])}{hint}")
    entry = found[name]
    try:
        return entry, entry.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{what} {name}: its plug-in {entry.value} does not load: {error}") from error
