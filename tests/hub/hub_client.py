"""Run programs that use the Hub double instead of the Hub."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_double import Hub
from hub_store import TOKEN


@dataclass(frozen=True)
class Client:
    """Run Python with a fresh home folder and the unmodified `huggingface_hub`, and check that it hides the token."""

    hub: Hub
    home: Path
    xet: bool = True
    """Upload large files by Xet, the default of `huggingface_hub`, and not by git LFS."""

    def command(self, arguments: tuple[Any, ...], token: str | None) -> dict[str, Any]:
        """Return the arguments of `subprocess.run` for a Python command."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "DFA_INSTRUCT"))}
        client = {"HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.home / "hf")}
        client |= {} if self.xet else {"HF_HUB_DISABLE_XET": "1"}
        environment = {**kept, **client, **({"HF_TOKEN": token} if token else {}), "HOME": str(self.home)}
        self.home.mkdir(exist_ok=True)
        return {"args": [sys.executable, *map(str, arguments)], "env": environment, "cwd": self.home}

    def run(self, *arguments: Any, token: str | None = TOKEN) -> subprocess.CompletedProcess[str]:
        """Run a Python command."""
        done = subprocess.run(**self.command(arguments, token), capture_output=True, text=True)
        assert TOKEN not in done.stdout + done.stderr
        return done

    def output(self, *arguments: Any, token: str | None = TOKEN) -> str:
        """Run a command that must succeed, and return its output."""
        done = self.run(*arguments, token=token)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *arguments: Any, token: str | None = TOKEN) -> str:
        """Run a command that must fail with an error in one line, and return this line."""
        done = self.run(*arguments, token=token)
        *_, line = done.stderr.splitlines()
        assert done.returncode == 2 and line.startswith("error: ") and "Traceback" not in done.stderr, done.stderr
        return line
