"""Identity-disjoint splits."""

from __future__ import annotations

from collections import Counter

import pytest

from dfa_instruct.splits import SHARES, assign_splits


def test_shares_are_kept_and_one_seed_gives_one_assignment() -> None:
    sizes = {f"person {i}": 1 + i % 5 for i in range(200)}
    assignment = assign_splits(sizes, seed=3)
    assert assignment == assign_splits(dict(reversed(sizes.items())), seed=3) != assign_splits(sizes, seed=4)
    filled: Counter[str] = Counter()
    for name, split in assignment.items():
        filled[split] += sizes[name]
    for split, share in SHARES.items():
        assert filled[split] / sum(sizes.values()) == pytest.approx(share, abs=0.01)


def test_too_few_identities_are_refused() -> None:
    with pytest.raises(ValueError, match="2 identities"):
        assign_splits({"a": 5, "b": 5}, seed=0)
