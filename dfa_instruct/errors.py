"""How a command ends on bad input: one clear line, which names what was meant, and a non-zero exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

MOST_LISTED = 50
"""Known words that a message lists; TRL alone has some 250 keys."""


def printable(text: str) -> str:
    """Spell out what a terminal would obey: a file's name may hold escape sequences, or bytes that are not UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogateescape").decode() for c in text)


def nearest(word: str, known: Iterable[str]) -> str:
    """Name the known word that is nearest to a wrong one, or all where none is, as the end of an error message."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.5) or [
        name for name in names if get_close_matches(word.casefold(), [name.casefold()], cutoff=0.5)
    ]
    if close:
        return f"; did you mean {close[0]!r}?"
    return f" (known: {', '.join(names)})" if len(names) <= MOST_LISTED else ""


@contextmanager
def one_line_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into one line on standard error and exit status 2."""
    try:
        yield
    except kinds as error:
        print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        raise SystemExit(2) from error
