"""The pairs from which a vision tower learns to see forgeries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import CLIPImageProcessor

from modeling_dfa_gpt.bases.forged_pairs import Pairs, degrade


def pairs_of(train: Dataset, count: int, own: float) -> Pairs:
    return Pairs(train, CLIPImageProcessor(), count, own, seed=0)


@pytest.mark.parametrize("own", [0.0, 1.0])
def test_a_pair_differs_where_its_patches_are_forged(train: Dataset, own: float) -> None:
    pairs = pairs_of(train, 12, own)
    assert len(pairs) == 12
    for item in (pairs[number] for number in range(12)):
        difference = (item["pixel_values"][1] - item["pixel_values"][0]).abs().amax(0)
        of_patch = torch.nn.functional.avg_pool2d(difference[None], 16)[0].flatten()
        forged = item["forged"].bool()
        assert item["pixel_values"].shape == (2, 3, 128, 128) and forged.shape == (64,)
        assert item["technique"] > 0 and pairs.names[0] == "bona_fide"
        if forged.any() and not forged.all():
            assert of_patch[forged].mean() > of_patch[~forged].mean()


def test_faces_that_cannot_be_forged_leave_the_datasets_own_forgeries(train: Dataset) -> None:
    without = train.remove_columns("landmarks").add_column("landmarks", [None] * len(train))
    assert {pairs_of(without, 8, 0.0).draw(np.random.default_rng(n))[3] for n in range(8)} <= set(train["technique"])
    bona_fide = without.filter(lambda label: label == "bona_fide", input_columns="label")
    with pytest.raises(ValueError, match="could be forged"):
        pairs_of(bona_fide, 8, 0.5)[0]


def test_forgeries_are_drawn_as_often_as_they_occur(train: Dataset) -> None:
    numbers = {
        technique: [n for n, of in enumerate(train["technique"]) if of == technique] for technique in ("lips", "skin")
    }
    bona_fide = [n for n, label in enumerate(train["label"]) if label == "bona_fide"]
    rows = train.select(bona_fide[:2] + numbers["lips"][:1] + 7 * numbers["skin"][:1])
    pairs = pairs_of(rows, 1, own=1.0)
    rng = np.random.default_rng(0)
    drawn = [pairs.draw(rng)[3] for _ in range(80)]
    assert set(drawn) == {"lips", "skin"} and 1 <= drawn.count("lips") <= 20  # one in eight, and not one in two


def test_small_faces_are_enlarged() -> None:
    small = np.zeros((64, 64, 3), np.uint8)
    first, second, area = degrade(small, small, np.ones((64, 64), bool), np.random.default_rng(0))
    assert first.shape == second.shape == (128, 128, 3) and area.shape == (128, 128) and area.min() == 1


def test_the_same_item_is_the_same_pair(train: Dataset) -> None:
    first, again = (pairs_of(train, 4, 0.5)[3] for _ in range(2))
    assert torch.equal(first["pixel_values"], again["pixel_values"])
    assert not torch.equal(first["pixel_values"], pairs_of(train, 4, 0.5)[2]["pixel_values"])
