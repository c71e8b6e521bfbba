"""How a command ends on bad input: one clear line, and a non-zero exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


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


def suggestion(word: str, known: Iterable[str]) -> str:
    """Say which known word was meant, and which there are: the end of a message about an unknown word."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.5) or [
        k for k in known if get_close_matches(word.casefold(), [k.casefold()], cutoff=0.5)
    ]
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}known: {', '.join(known)}"
