"""Imports: a help loads nothing slow, PyTorch is loaded only for models, and importing registers the builder."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = {"datasets", "torch", "transformers", "pandas", "pyarrow", "numpy", "PIL", "cv2", "mediapipe", "sklearn"}
"""Packages that take a tenth of a second to seconds to import."""


@pytest.mark.parametrize("package", ["dfa_instruct", "modeling_dfa_gpt"])
def test_help_imports_nothing_slow(package: str) -> None:
    program = (
        f"import sys\nsys.argv = ['command', '--help']\nfrom {package}.cli import app\n"
        "try:\n    app()\nfinally:\n    print('\\nimported:', *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    shown, imported = done.stdout.rsplit("\nimported:", 1)
    assert "Usage: command" in shown
    assert SLOW & {*imported.split()} == set()


@pytest.mark.parametrize("module", ["dfa_instruct", "dfa_instruct.bench.report.markdown", "modeling_dfa_gpt.hub.push"])
def test_torch_is_not_imported_where_no_model_is_used(module: str) -> None:
    program = f"import sys, {module}\nprint('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"


@pytest.mark.parametrize(
    "imports",
    [
        "import datasets, dfa_instruct",
        "import dfa_instruct, datasets",
        "import dfa_instruct.dataset.builder, datasets",
        "import importlib.util, dfa_instruct; importlib.util.find_spec('datasets'); import datasets",
    ],
)
def test_the_builder_is_registered_for_any_order_of_imports(imports: str) -> None:
    program = f"{imports}; print(datasets.load_dataset_builder('dfa-instruct', data_dir='nowhere'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        "nowhere: no dataset folder of dfa-instruct (expected data/<split>-*.parquet)"
    )
