"""Push the app to the Hub as a Space: the code of both packages, and an `app.py` that opens the page of a model."""

from __future__ import annotations

import re
import sys
from importlib.metadata import requires, version
from pathlib import Path
from typing import Final

import dfa_instruct
import modeling_dfa_gpt
from dfa_instruct.hub import CARD, check_repo, explain_hub_errors, show, token_for_pushing
from dfa_instruct.hub import push as push_files
from modeling_dfa_gpt.hub.card import space_card

PACKAGES: Final = tuple(Path(str(package.__file__)).parent for package in (dfa_instruct, modeling_dfa_gpt))
SUFFIXES: Final = (".py", ".yaml", ".txt", ".jinja")
"""Suffixes of the files that the app reads. The tiny base is a model and is left out."""
OURS: Final = re.compile(rf"app\.py|requirements\.txt|packages\.txt|({'|'.join(p.name for p in PACKAGES)})/.*")
SYSTEM_LIBRARIES: Final = ("libegl1", "libgl1", "libgles2")
"""Debian packages that MediaPipe and OpenCV need."""
APP: Final = '''"""The page of `modeling_dfa_gpt.app`, which lies beside this file."""

from modeling_dfa_gpt.cli import app

app(["app", "{model}", "--host", "0.0.0.0"])
'''


def push_space(
    model: str, repo: str, *, private: bool = False, revision: str | None = None, dry_run: bool = False
) -> None:
    """Push the app as a Space that opens a model of the Hub, or print what would be pushed.

    Args:
        model: Hub id of an adapter or a complete model.
        repo: Hub id of the Space (USER/NAME).
        private: Whether to create a private Space.
        revision: A branch. By default main, which is the one that runs.
        dry_run: Print the card and the files instead of pushing them. This needs no token.

    Raises:
        ValueError: The model is not a Hub id, or see `dfa_instruct.hub.push`.
        OSError: The Hub does not have the model, or see `dfa_instruct.hub.push`.
    """
    from huggingface_hub import HfApi

    if Path(model).exists():
        raise ValueError(f"{model}: a folder, which a Space cannot load; push it first: dfa-gpt push {model} USER/NAME")
    check_repo(model)
    check_repo(repo)
    files = space_files(model)
    if dry_run:
        show(files)
        return
    with explain_hub_errors(model):
        info = HfApi(token=token_for_pushing()).model_info(model)
    print(push_files(repo, "space", files, OURS, private=private, revision=revision))
    if info.private:
        print(f"{model} is private: give the Space a secret HF_TOKEN that can read it", file=sys.stderr)


def space_files(model: str) -> dict[str, Path | bytes]:
    """Return the files of a Space by their paths. The dependencies are listed, as pip runs before the code is there."""
    needed = [line for line in requires("dfa-instruct") or () if "extra ==" not in line or 'extra == "app"' in line]
    files: dict[str, Path | bytes] = {
        CARD: str(space_card(model, version("gradio"), version("dfa-instruct"))).encode(),
        "app.py": APP.format(model=model).encode(),
        "requirements.txt": "".join(f"{line.partition(';')[0]}\n" for line in needed).encode(),
        "packages.txt": "".join(f"{name}\n" for name in SYSTEM_LIBRARIES).encode(),
    }
    for package in PACKAGES:
        for path in sorted(package.rglob("*")):
            if path.suffix in SUFFIXES and "dfa-gpt-tiny-base" not in path.parts:
                files[path.relative_to(package.parent).as_posix()] = path
    return files
