"""The card of the tiny base."""

from __future__ import annotations

import json
from pathlib import Path

from modeling_dfa_gpt.hub.card import base_card


def test_card_of_the_tiny_base_describes_its_training(adapter: Path) -> None:
    run = json.loads((adapter / "run.json").read_text())
    card = base_card("dfa-gpt-tiny", run)
    assert f"`{run['data']['sha256']}`" in card and f"on {run['data']['rows']} drawn faces" in card
    assert "3 steps of\n4 faces, learning rate\n0.0005, seed 0" in card and f"trl {run['versions']['trl']}" in card
