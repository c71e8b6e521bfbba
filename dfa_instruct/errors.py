"""How a command ends on bad input: one clear line, and a non-zero exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def printable(text: str) -> str:
    """Spell out what a terminal would obey: a file's name may hold escape sequences, or bytes that are no UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogateescape").decode() for c in text)


@contextmanager
def one_line_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into one line on standard error and exit status 2."""
    try:
        yield
    except kinds as error:
        print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        raise SystemExit(2) from error
