"""The layout of the packages: which module may import which, how long a file may be, and unique file names."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dfa_instruct"
LAYERS = (
    ("vocabulary", "environment", "errors", "yaml_file", "sqlite_file"),
    ("records", "plugins", "hub"),
    ("schema", "face"),
    ("duplicates", "splits", "pairs"),
    ("evidence", "techniques", "sources"),
    ("vlm",),
    ("instruct",),
    ("dataset",),
    ("annotate",),
    ("construction",),
    ("verify", "bench", "review"),
    ("push",),
    ("cli", "__init__"),
)
"""The rooms from the lowest layer to the highest. A room imports from lower layers and from itself."""
LAYER_OF = {room: number for number, layer in enumerate(LAYERS) for room in layer}
LONGEST_FILE = 400
DRAWING = "sources/portraits/drawing.py"

NAME = re.compile(r"(?:dfa_instruct|modeling_dfa_gpt)(?:\.\w+)+")
IN_PROGRAM = re.compile(r"^\s*(?:from|import)\s+((?:dfa_instruct|modeling_dfa_gpt)[\w.]*)", re.MULTILINE)


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that code names: in imports, wherever they stand, and in programs and names held as text."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in below if name in MODULES)
            if any(name not in MODULES for name in below):
                yield node.module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from [node.value] if NAME.fullmatch(node.value) else IN_PROGRAM.findall(node.value)
        yield from imported(node)


def graph() -> dict[str, set[str]]:
    """Module → the modules of this package that it imports, and the packages that these lie in."""
    arrows: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        found = {module for module in imported(parsed(path)) if module in MODULES}
        above = {module.rpartition(".")[0] for module in (*found, name)} & MODULES.keys()
        arrows[name] = (found | above) - {name}
    return arrows


def test_the_imports_have_no_circle() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_no_layer_imports_a_higher_one() -> None:
    def room(module: str) -> str:
        return module.split(".")[1]

    assert {room(name) for name in MODULES} == set(LAYER_OF)
    wrong = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if room(name) != room(other) and LAYER_OF[room(other)] >= LAYER_OF[room(name)]
    ]
    assert wrong == []


def test_the_data_know_nothing_of_the_model() -> None:
    named = {
        name: [m for m in imported(parsed(path)) if m.startswith("modeling_dfa_gpt")] for name, path in MODULES.items()
    }
    assert {name: modules for name, modules in named.items() if modules} == {}


def test_no_file_is_long() -> None:
    files = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in MODULES.values()}
    assert {file: n for file, n in files.items() if n > LONGEST_FILE and file != DRAWING} == {}


@pytest.mark.parametrize("package", ["dfa_instruct", "modeling_dfa_gpt"])
def test_no_file_name_stands_twice(package: str) -> None:
    files = Counter(path.name for path in (PACKAGE.parent / package).rglob("*.py"))
    twice = {name for name, count in files.items() if count > 1}
    assert twice <= {"__init__.py", "registry.py"}
