"""Fixtures of the app's tests: a tiny trained model, and a drawn portrait."""

from __future__ import annotations

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
