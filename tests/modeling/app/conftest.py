"""Fixtures of the app's tests: a tiny trained model, and a drawn portrait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from dfa_instruct.sources.portraits.drawing import draw_sample
from modeling_dfa_gpt.dfa_gpt import DfaGpt


@pytest.fixture(scope="session")
def model(adapter: Path) -> DfaGpt:
    return DfaGpt.from_pretrained(adapter)


@pytest.fixture(scope="session")
def portrait(landmarker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn portrait. Without a FaceLandmarker there is no verdict on it."""
    path = tmp_path_factory.mktemp("face") / "portrait.png"
    Image.fromarray(next(draw_sample(1, 1)).image).save(path)
    return path


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which Gradio stores uploads."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("uploads")
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def address(model: DfaGpt, adapter: Path, uploads: Path) -> Iterator[str]:
    """The address of a page that is being served."""
    pytest.importorskip("gradio")
    from visitor import serving

    with serving(model, adapter) as served:
        yield served
