"""The embedded sample: a dataset of drawn portraits that is built once, into the cache of `datasets`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from filelock import FileLock

from dfa_instruct.construction.orphans import end_with_this_process
from dfa_instruct.dataset import DATASET_NAME, DIRECTORY_ENV

BUILD_SAMPLE = """
import sys
from pathlib import Path
from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import sample_recipe
build(sample_recipe(Path(sys.argv[1])))
"""


def default_directory() -> Path:
    """Return the folder that the variable `DFA_INSTRUCT_DIR` names, or else the folder of the embedded sample."""
    return Path(os.environ.get(DIRECTORY_ENV) or sample_directory())


def sample_directory() -> Path:
    """Return the dataset folder of the embedded sample. Build it if it is not in the cache.

    The name of its parent folder in the cache contains a digest of the code that makes the sample, because other code
    would write other bytes.
    """
    import datasets

    from dfa_instruct.construction.fingerprint import STEPS, digest_of

    card = Path(str(files("dfa_instruct.dataset_card")))
    digest = digest_of([*(path for step in STEPS for path in step.depends_on), "dataset", card])
    cache = Path(datasets.config.HF_DATASETS_CACHE).expanduser()
    folder = cache / f"dfa-instruct-sample-{digest[:16]}" / DATASET_NAME
    if not (folder / "README.md").is_file():
        print("building the drawn sample, once; this takes a minute or two", file=sys.stderr, flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # The build's workers import its main program, which may lack a main guard. So it runs in its own process.
        command = [sys.executable, "-c", end_with_this_process() + BUILD_SAMPLE, str(folder)]
        with FileLock(folder.parent / "lock"):  # two processes may want the sample at the same time
            if not (folder / "README.md").is_file():
                subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True)
    return folder
