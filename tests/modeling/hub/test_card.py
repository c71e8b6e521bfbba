"""The cards of the bases that the package carries."""

from __future__ import annotations

import json
from pathlib import Path

from modeling_dfa_gpt.hub.card import base_card


def test_card_of_the_base_for_photographs_credits_the_portraits(adapter: Path) -> None:
    card = base_card("dfa-gpt-photo", json.loads((adapter / "run.json").read_text()))
    assert "3 steps of 4 faces" in card
    for name in ("Chris McAndrew: CC BY 3.0", "doi:10.6084/m9.figshare.5047666", "CC BY 2.0", "public domain"):
        assert name in card


def test_card_of_the_tiny_base_describes_its_training(adapter: Path) -> None:
    run = json.loads((adapter / "run.json").read_text())
    card = base_card("dfa-gpt-tiny", run)
    assert f"`{run['data']['sha256']}`" in card and f"on {run['data']['rows']} drawn faces" in card
    assert "3 steps of\n4 faces, learning rate\n0.0005, seed 0" in card and f"trl {run['versions']['trl']}" in card
