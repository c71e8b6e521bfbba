"""What a step depends on: the modules that it runs, found by their imports, and the keys of the recipe that it reads.

A build that goes on where it stopped keeps what a step has made as long as the step's fingerprint is the same.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = "dfa_instruct"
ROOT: Final = Path(__file__).parents[1]
RECIPE: Final = f"{PACKAGE}.construction.recipe"
STEPS: Final = {
    "list": f"{PACKAGE}.construction.steps.list_items",
    "margins": f"{PACKAGE}.construction.steps.find_margins",
    "faces": f"{PACKAGE}.construction.steps.align_faces",
    "plan": f"{PACKAGE}.construction.steps.plan",
    "rows": f"{PACKAGE}.construction.steps.make_rows",
}
"""Step, by the folder that it fills → its module. Each reads what those before it made."""
_NAME: Final = re.compile(rf"{PACKAGE}(\.\w+)+")
_IN_PROGRAM: Final = re.compile(rf"^\s*(?:from|import)\s+({PACKAGE}(?:\.\w+)+)", re.MULTILINE)


@cache
def _parsed(module: str) -> ast.Module | None:
    """Parse a module of the package; none where there is no such module."""
    path = ROOT.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_bytes()) if file.is_file() else None


@cache
def imports_of(module: str) -> frozenset[str]:
    """Name the modules of this package that a module imports, in functions and in programs that it holds as text, too.

    What it imports for types only does not count. A string that is the name of a package stands for its files.
    """
    tree = _parsed(module)
    return frozenset(_names(tree)) if tree else frozenset()


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # a docstring runs nothing
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _NAME.fullmatch(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in below if _parsed(name)]
            yield from modules
            if len(modules) < len(below) and node.module != PACKAGE:
                yield node.module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if not _NAME.fullmatch(node.value):
                yield from _IN_PROGRAM.findall(node.value)
            elif find_spec(node.value):  # else it may be a group of entry points
                yield node.value
        yield from _names(node)


def modules_run_by(module: str) -> list[str]:
    """Name a module, all that it imports, and all that these import; and the packages that they lie in."""
    found: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        packages = {".".join(name.split(".")[:n]) for n in range(2, name.count(".") + 1)}
        waiting |= (imports_of(name) | packages) - found
    return sorted(found)


def digest_of(modules: Iterable[str]) -> str:
    """Sum up the code of modules, and of the packages among them the YAML files and the templates."""
    digest = hashlib.sha256()
    for module in modules:
        digest.update(module.encode())
        path = ROOT.joinpath(*module.split(".")[1:])
        if path.with_suffix(".py").is_file():
            digest.update(path.with_suffix(".py").read_bytes())
            continue
        for file in sorted(files(module).iterdir(), key=lambda file: file.name):
            if file.name == "__init__.py" or file.name.endswith((".yaml", ".jinja")):
                digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def keys_read_by(module: str) -> set[str]:
    """Name what a step's module asks a recipe for: `recipe.size`, and what the functions read that it takes from
    `dfa_instruct.construction.recipe`.
    """
    tree, of_recipe = _parsed(module), _parsed(RECIPE)
    assert tree and of_recipe
    taken = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == RECIPE
        for alias in node.names
    }
    functions = [node for node in of_recipe.body if isinstance(node, ast.FunctionDef) and node.name in taken]
    return {
        node.attr
        for part in (tree, *functions)
        for node in ast.walk(part)
        if isinstance(node, ast.Attribute) and _is_recipe(node.value)
    }


def _is_recipe(value: ast.expr) -> bool:
    """Tell `recipe` and `self.recipe` from any other value."""
    return (isinstance(value, ast.Name) and value.id == "recipe") or (
        isinstance(value, ast.Attribute) and value.attr == "recipe"
    )


def fingerprints(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Give each step's fingerprint: of its modules, its keys of the recipe, and the steps before it.

    Args:
        recipe: its keys and values, as JSON has them.
    """
    found: dict[str, str] = {}
    before = ""
    for step, module in STEPS.items():
        section = {key: recipe[key] for key in sorted(keys_read_by(module)) if key in recipe}
        said = json.dumps([before, digest_of(modules_run_by(module)), section], sort_keys=True)
        found[step] = before = hashlib.sha256(said.encode()).hexdigest()
    return found
