"""DFA-Instruct and DFA-Bench: the data of interactive deepfake analysis.

Importing this package registers the builder for `datasets.load_dataset("dfa-instruct")`. If `datasets` has not been
imported yet, the builder is registered when it is, because importing `datasets` takes more than a second and most
commands do not need it.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

# By default, torch's OpenMP threads spin while they wait for each other, which makes a training step many times slower
# if another process is busy (tests/benchmarks/busy.py). OpenMP reads this variable when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _register() -> None:
    from dfa_instruct.construction.embedded_sample import default_directory
    from dfa_instruct.dataset.registration import register

    register(default_folder=default_directory)


class _DatasetsFinder:
    """An import hook that registers the builder after `datasets` has been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "datasets":
            return None
        found = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, found), None)
        if spec and spec.loader:
            run = spec.loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                _register()

            spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec


if "datasets" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _DatasetsFinder())
