"""The embedded sample as a dataset folder: drawn and built once, into the cache of `datasets`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from dfa_instruct.construction.fingerprint import STEPS, digest_of, modules_run_by
from dfa_instruct.construction.orphans import end_with_this_process
from dfa_instruct.dataset import DATASET_NAME

BUILD_SAMPLE = """
import sys
from pathlib import Path
from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import sample_recipe
build(sample_recipe(Path(sys.argv[1])))
"""


def sample_directory() -> Path:
    """Return the dataset folder of the embedded sample, building it into the cache when it is not there.

    The cache knows it by a digest of the modules that draw, forge, ask and write: other ones would write other bytes.
    """
    import datasets

    writers = (*STEPS.values(), "dfa_instruct.dataset.writer")
    digest = digest_of(sorted({name for module in writers for name in modules_run_by(module)}))
    cache = Path(datasets.config.HF_DATASETS_CACHE).expanduser()
    folder = cache / f"dfa-instruct-sample-{digest[:16]}" / DATASET_NAME
    if not (folder / "README.md").is_file():
        print("building the drawn sample, once; it takes a minute or two", file=sys.stderr, flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # By a process of its own: the build's workers import its main program, which need not be guarded.
        command = [sys.executable, "-c", end_with_this_process() + BUILD_SAMPLE, str(folder)]
        with FileLock(folder.parent / "lock"):  # two processes may want it at a time
            if not (folder / "README.md").is_file():
                subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True)
    return folder
