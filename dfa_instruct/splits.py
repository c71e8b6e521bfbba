"""Identity-disjoint splits: an identity belongs to one split, and so does every picture it is in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from dfa_instruct.vocabulary import SPLITS, Split

SHARES: dict[Split, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}


def assign_splits(
    images_per_identity: Mapping[str, int], seed: int, shares: Mapping[Split, float] = SHARES
) -> dict[str, Split]:
    """Assign each identity to a split so that the splits' images come near to their shares.

    Identities are taken in an order that the seed gives, the rich in images first, each to the split that lacks most.

    Raises:
        ValueError: there are fewer identities than splits.
    """
    if len(images_per_identity) < len(SPLITS):
        raise ValueError(f"{len(images_per_identity)} identities cannot fill {len(SPLITS)} identity-disjoint splits")
    names = sorted(images_per_identity)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    total = sum(images_per_identity.values())
    filled: Counter[Split] = Counter()
    assignment: dict[str, Split] = {}
    for name in sorted(order, key=lambda n: -images_per_identity[n]):
        split = max(SPLITS, key=lambda s: shares[s] - filled[s] / total)
        assignment[name] = split
        filled[split] += images_per_identity[name]
    return assignment
