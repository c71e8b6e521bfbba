from __future__ import annotations

import pytest

from dfa_instruct.records import Face
from dfa_instruct.sources.portraits.drawing import draw_sample


@pytest.fixture(scope="session")
def portraits() -> list[Face]:
    return list(draw_sample(identities=8, pictures=2, size=128, seed=5))
