"""Make `load_dataset("dfa-instruct")` known to `datasets`.

This module is imported right after `datasets`, maybe from within another module of this package. So at import time it
must not import modules that import `datasets`, and it refers to the builder by the name of its module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import datasets

from dfa_instruct.dataset import DATASET_NAME

BUILDER: Final = "dfa_instruct.dataset.builder"


class _ModuleFactory(datasets.load.PackagedDatasetModuleFactory):
    """Find the dataset folder and its files.

    Without `data_dir`, `datasets` would search the working directory. And it would take all Parquet files of the
    folder, also those of an earlier build that the card does not name.
    """

    data_dir: str | None
    data_files: str | list[Any] | dict[str, Any] | None
    default_folder: Callable[[], Path]

    def get_module(self) -> Any:
        if self.name == DATASET_NAME and self.data_files is None:
            from dfa_instruct.dataset.reading import files_of

            folder = Path(self.data_dir or self.default_folder())
            self.data_dir = str(folder)
            self.data_files = {
                split: [str(path.relative_to(folder)) for path in paths] for split, paths in files_of(folder).items()
            }
        return super().get_module()


def register(default_folder: Callable[[], Path]) -> None:
    """Make `load_dataset("dfa-instruct")` known to `datasets`.

    `datasets` 4 removed loading scripts. What remains are its packaged builders, whose registry is a dictionary. The
    factory replaces its base class, and treats all other names as the base class does.

    Args:
        default_folder: Returns the dataset folder to use if `data_dir` is not given.
    """
    _ModuleFactory.default_folder = staticmethod(default_folder)
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    code_hash = hashlib.sha256(code).hexdigest()
    datasets.packaged_modules._PACKAGED_DATASETS_MODULES[DATASET_NAME] = (BUILDER, code_hash)
    datasets.load.PackagedDatasetModuleFactory = _ModuleFactory
