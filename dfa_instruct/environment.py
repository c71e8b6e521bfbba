"""Secrets that are taken from the environment."""

from __future__ import annotations

import os


def secret(name: str) -> str:
    """Return a secret of the environment, without white space around it.

    Args:
        name: the variable.

    Returns:
        An empty text where it is not set.

    Raises:
        ValueError: it holds what no HTTP header takes, such as a line break; the message does not show it.
    """
    value = os.environ.get(name, "").strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError(f"{name}: expected one word of printable ASCII characters, found others in it (not shown)")
    return value
