"""Read secrets from the environment."""

from __future__ import annotations

import os


def secret(name: str) -> str:
    """Return the secret in an environment variable without surrounding white space, or "" if it is not set.

    Raises:
        ValueError: The value contains characters that no HTTP header may contain, such as a line break. The message
            does not show the value.
    """
    value = os.environ.get(name, "").strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError(f"{name}: expected one word of printable ASCII characters, found other characters (not shown)")
    return value
