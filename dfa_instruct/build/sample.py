"""The embedded sample as a dataset folder: drawn and built once, into the cache of `datasets`."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import datasets
from filelock import FileLock

from dfa_instruct.build.orphans import end_with_this_process
from dfa_instruct.dataset import DATASET_NAME

BUILD_SAMPLE = """
import sys
from pathlib import Path
from dfa_instruct.build.pipeline import build
from dfa_instruct.build.recipe import sample_recipe
build(sample_recipe(Path(sys.argv[1])))
"""


def sample_directory() -> Path:
    """Return the dataset folder of the embedded sample, building it into the cache when it is not there.

    The cache knows it by a digest of this package's files: another version draws and asks otherwise.
    """
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted([*package.rglob("*.py"), *package.rglob("*.yaml")]):
        digest.update(file.read_bytes())
    cache = Path(datasets.config.HF_DATASETS_CACHE).expanduser()
    folder = cache / f"dfa-instruct-sample-{digest.hexdigest()[:16]}" / DATASET_NAME
    if not (folder / "README.md").is_file():
        print("building the drawn sample, once; it takes a minute or two", file=sys.stderr, flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # By a process of its own: the build's workers import its main program, which need not be guarded.
        command = [sys.executable, "-c", end_with_this_process() + BUILD_SAMPLE, str(folder)]
        with FileLock(folder.parent / "lock"):  # two processes may want it at a time
            if not (folder / "README.md").is_file():
                subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True)
    return folder
