"""What several tests need: small real faces, a dataset folder, a tiny model."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dfa_instruct.construction.recipe import Recipe

os.environ.setdefault("HF_HUB_OFFLINE", "1")


REAL = {"photos", "synthesized", "landmarker"}
"""Fixtures that stand for what a clone does not bring; a test that asks for one is marked `real_pictures`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need real pictures, or the model that finds faces."""
    for item in items:
        if REAL & {*getattr(item, "fixturenames", ())}:
            item.add_marker("real_pictures")


@pytest.fixture(scope="session")
def dataset_folder(small_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder built from a few drawn portraits."""
    from dfa_instruct.construction.pipeline import build

    folder = tmp_path_factory.mktemp("data") / "dfa-instruct"
    build(replace(small_recipe, output=str(folder)), workers=1)
    return folder


@pytest.fixture
def copied_package(tmp_path: Path) -> Path:
    """A folder with a copy of the package, for tests that edit its code and run it there."""
    root, copy = Path(__file__).parents[1], tmp_path / "copy"
    for package, place in (("dfa_instruct", "dfa_instruct"), ("dataset_card", "dfa_instruct/dataset_card")):
        shutil.copytree(root / package, copy / place, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    """The recipe of a dataset of a few drawn portraits."""
    sources = [{"kind": "sample", "identities": 20, "pictures": 2}]
    return Recipe(sources=sources, size=128, forgeries_per_face=1.5)


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of real photographs."""
    return _given("DFA_TEST_PHOTOS")


@pytest.fixture(scope="session")
def synthesized() -> Path:
    """The folder of a generator's faces."""
    return _given("DFA_TEST_SYNTHESIZED")


@pytest.fixture(scope="session")
def landmarker() -> Path:
    """MediaPipe's model, which finds the faces of photographs, and of drawn portraits from 256 pixels on."""
    from dfa_instruct.face.detection import LandmarkerUnavailableError, landmarker_path

    try:
        return landmarker_path()
    except LandmarkerUnavailableError as error:
        pytest.skip(str(error))


def _given(variable: str) -> Path:
    folder = os.environ.get(variable)
    if not folder or not os.environ.get("DFA_FACE_LANDMARKER"):
        pytest.skip(f"needs {variable} and DFA_FACE_LANDMARKER")
    return Path(folder)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny base that the package carries."""
    from modeling_dfa_gpt.bases import TINY_BASE

    folder = tmp_path_factory.mktemp("model") / "base"
    shutil.copytree(TINY_BASE, folder)
    return folder


@pytest.fixture(scope="session")
def adapter(base: Path, dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on the tiny base, trained for a few steps by the project's own recipe."""
    from modeling_dfa_gpt.sft import train

    folder = tmp_path_factory.mktemp("model") / "adapter"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
        recipe = Path(__file__).parents[1] / "recipes" / "dfa-gpt-tiny" / "sft.yaml"
        where = ["--model_name_or_path", str(base), "--output_dir", str(folder)]
        train(["--config", str(recipe), *where, "--max_steps", "3", "--gradient_accumulation_steps", "1"])
    return folder
