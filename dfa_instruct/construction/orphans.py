"""No process outlives the one that started it, however that ends: not by seconds, and not until its work is done."""

from __future__ import annotations

import os
from typing import Final

_PROGRAM: Final = """
import os, signal, threading, time

def watch():
    while os.getppid() == {parent}:
        time.sleep(0.5)
    os._exit(1)

threading.Thread(target=watch, daemon=True).start()
signal.signal(signal.SIGINT, signal.SIG_DFL)  # and on Ctrl-C without a word, for its parent has one
"""


def end_with_this_process() -> str:
    """Return a program that a child of this process carries out first, so that it ends with this process.

    It is text, for a child that imports this package before it can watch takes seconds to.
    """
    return _PROGRAM.format(parent=os.getpid())
