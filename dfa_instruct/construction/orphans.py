"""Make child processes end with their parent, however the parent ends."""

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
signal.signal(signal.SIGINT, signal.SIG_DFL)  # end without a traceback on Ctrl-C, because the parent prints one
"""


def end_with_this_process() -> str:
    """Return Python code that a child process runs first, so that it ends within seconds of this process.

    The code imports only the standard library, because importing this package would take seconds, in which the child
    process would not notice the end of its parent.
    """
    return _PROGRAM.format(parent=os.getpid())
