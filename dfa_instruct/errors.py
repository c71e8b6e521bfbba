"""How a command ends on bad input: one clear line, which names what was meant, and a non-zero exit status."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def printable(text: str) -> str:
    """Spell out what a terminal would obey: a file's name may hold escape sequences, or bytes that are no UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogateescape").decode() for c in text)


def nearest(word: str, known: Sequence[str]) -> str:
    """Name the known word that is nearest to a wrong one, as the end of an error message."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f" (known: {', '.join(known)})"


@contextmanager
def one_line_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into one line on standard error and exit status 2."""
    try:
        yield
    except kinds as error:
        print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        raise SystemExit(2) from error
