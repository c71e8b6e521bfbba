"""Making `load_dataset("dfa-instruct")` known to `datasets`.

This runs when `datasets` has just been imported, perhaps by a module of this package. It therefore imports no module
that imports `datasets`, and names the builder by its module only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import datasets
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard
from yaml import YAMLError

from dfa_instruct.dataset import DATASET_NAME, DIRECTORY_ENV

BUILDER: Final = "dfa_instruct.dataset.builder"


class _ModuleFactory(datasets.load.PackagedDatasetModuleFactory):
    """Finds the folder when `data_dir` is not given; `datasets` itself would search the working directory.

    Of the folder, the files that its card names are read: a download may have left those of an earlier build there.
    """

    data_dir: str | None
    data_files: str | list[Any] | dict[str, Any] | None
    default_folder: Callable[[], Path]

    def get_module(self) -> Any:
        if self.name == DATASET_NAME and self.data_files is None:
            folder = Path(self.data_dir or os.environ.get(DIRECTORY_ENV) or self.default_folder())
            if not any((folder / "data").glob("*.parquet")):
                raise FileNotFoundError(
                    f"{folder}: no dataset folder of dfa-instruct (expected data/<split>-*.parquet)"
                )
            self.data_dir = str(folder)
            if (readme := folder / "README.md").is_file():
                try:
                    configs = MetadataConfigs.from_dataset_card_data(DatasetCard.load(readme).data)
                except YAMLError as error:
                    raise ValueError(f"{folder}: the header of its README.md is not YAML: {error}") from error
                self.data_files = configs.get("default", {}).get("data_files")
        return super().get_module()


def register(default_folder: Callable[[], Path]) -> None:
    """Make `load_dataset("dfa-instruct")` known to `datasets`.

    `datasets` 4 removed loading scripts; a packaged builder is what is left of them, and its registry is a dictionary.
    The factory stands in for its base, which would look for the files of any other name as it did before.

    Args:
        default_folder: gives the dataset folder that is meant where neither `data_dir` nor the environment names one.
    """
    _ModuleFactory.default_folder = staticmethod(default_folder)
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    code_hash = hashlib.sha256(code).hexdigest()
    datasets.packaged_modules._PACKAGED_DATASETS_MODULES[DATASET_NAME] = (BUILDER, code_hash)
    datasets.load.PackagedDatasetModuleFactory = _ModuleFactory
