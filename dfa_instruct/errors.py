"""Report bad input on the command line: one line that names the problem and the likely intention, and exit status 2."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

MOST_LISTED = 50
"""The largest number of known words that a message lists. TRL alone has some 250 keys."""


def printable(text: str) -> str:
    """Escape characters that would control a terminal, and bytes that are not UTF-8; file names may contain both."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogateescape").decode() for c in text)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the known word that is most similar to `word`, or else all known words.

    It is empty if no word is similar and there are more than `MOST_LISTED`.
    """
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.5) or [
        name for name in names if get_close_matches(word.casefold(), [name.casefold()], cutoff=0.5)
    ]
    if close:
        return f"; did you mean {close[0]!r}?"
    return f" (known: {', '.join(names)})" if len(names) <= MOST_LISTED else ""


@contextmanager
def one_line_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Convert errors of these types into one line on standard error and exit status 2."""
    try:
        yield
    except kinds as error:
        print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        raise SystemExit(2) from error
