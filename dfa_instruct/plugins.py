"""Load sources, techniques, annotators, metrics and vision-only models of other packages through entry points."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any

from dfa_instruct.errors import nearest


def load_plugin(group: str, what: str, name: str, built_in: Iterable[str], hint: str = "") -> Any:
    """Load an entry point.

    Args:
        group: The group of entry points, such as `dfa_instruct.annotators`.
        what: A word for the messages that says what is loaded.
        name: The name of the entry point.
        built_in: The names that need no plug-in, for the messages.
        hint: The end of the message about an unknown name.

    Raises:
        ValueError: The name is unknown, or its plug-in does not load.
    """
    found = entry_points(group=group)
    if name not in found.names:
        raise ValueError(f"unknown {what} {name!r}{nearest(name, [*built_in, *found.names])}{hint}")
    entry = found[name]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{what} {name}: its plug-in {entry.value} does not load: {error}") from error


def plugin_versions(group: str, json_text: str) -> dict[str, str]:
    """Return the package and version of each entry point of a group whose name is a string in the JSON text."""
    found = [entry for entry in entry_points(group=group) if f'"{entry.name}"' in json_text]
    return {entry.name: f"{entry.dist.name} {entry.dist.version}" for entry in found if entry.dist}


def call_with(function: Callable[..., Any], what: str, settings: dict[str, Any]) -> Any:
    """Call a function with settings from a recipe; raise ValueError if it does not accept one of them."""
    signature = inspect.signature(function)
    try:
        signature.bind(**settings)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise ValueError(f"{what}: {error} (it takes {known})") from error
    return function(**settings)
