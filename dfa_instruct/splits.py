"""Identity-disjoint splits: an identity belongs to one split, and so does every picture it is in.

Pictures of two identities (a target and a donor) join them. Where the graph of identities falls into small components,
as FaceForensics++ does, whole components are assigned and nothing is lost. Where nearly all are joined, as in Celeb-DF,
identities are assigned one by one, and the pictures whose identities fall in different splits have to be dropped.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dfa_instruct.vocabulary import SPLITS, Split

SHARES: dict[Split, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}
GIANT = 0.5
"""A component with more images than this part of the smallest split's is split by identity."""
SHARE_WEIGHT = 5.0
"""How many images a split may cost: the sum of what the shares miss, times this, against the part that is kept."""
STARTS = 4

Identities = tuple[str, ...]


def split_of(identities: Identities, assignment: Mapping[str, Split]) -> Split | None:
    """Return the split of a picture, or None where its identities fall in different ones."""
    splits = {assignment[name] for name in identities}
    return splits.pop() if len(splits) == 1 else None


def assign_splits(
    images: Mapping[Identities, int],
    seed: int,
    shares: Mapping[Split, float] = SHARES,
    fixed: Mapping[str, Split] | None = None,
) -> dict[str, Split]:
    """Assign each identity to a split so that the splits' images come near to their shares, and few are lost.

    Args:
        images: for each set of identities, how many pictures show just these.
        seed: of the order in which identities of equal weight are taken.
        shares: of each split, of the images that are kept.
        fixed: identities whose split is decided already; what only they are joined with goes with them.

    Raises:
        ValueError: there are fewer identities than splits.
    """
    names = sorted({name for identities in images for name in identities})
    fixed = {name: split for name, split in (fixed or {}).items() if name in set(names)}
    if len(names) < len(SPLITS) and not fixed:
        raise ValueError(f"{len(names)} identities cannot fill {len(SPLITS)} identity-disjoint splits")
    rng = np.random.default_rng(seed)
    total = sum(images.values())
    filled: Counter[Split] = Counter()
    assignment: dict[str, Split] = {}

    components = _components(names, images)
    order = [components[i] for i in rng.permutation(len(components))]
    for component in sorted(order, key=lambda c: -sum(c.values())):
        members = sorted({name for identities in component for name in identities})
        decided = {fixed[name] for name in members if name in fixed}
        weight = sum(component.values())
        if len(decided) == 1:
            whole = decided.pop()
        elif decided or (weight > GIANT * min(shares.values()) * total and len(members) >= len(SPLITS)):
            assignment |= _cut(members, component, shares, fixed, rng)
            kept = Counter({s: n for s, n in _kept(component, assignment).items() if s is not None})
            filled += kept
            total -= weight - kept.total()
            continue
        else:
            whole = max(SPLITS, key=lambda s: shares[s] - filled[s] / total)
        assignment |= dict.fromkeys(members, whole)
        filled[whole] += weight
    return assignment


def _components(names: Sequence[str], images: Mapping[Identities, int]) -> list[dict[Identities, int]]:
    """Part the images by what they join, in the order of the names."""
    index = {name: i for i, name in enumerate(names)}
    edges = [(index[identities[0]], index[name]) for identities in sorted(images) for name in identities]
    first, second = np.array(edges).T
    graph = coo_array((np.ones(len(edges), np.int8), (first, second)), shape=(len(names), len(names)))
    _, label = connected_components(graph, directed=False)
    components: dict[int, dict[Identities, int]] = defaultdict(dict)
    for identities in sorted(images):
        components[label[index[identities[0]]]][identities] = images[identities]
    return [components[key] for key in sorted(components)]


def _kept(images: Mapping[Identities, int], assignment: Mapping[str, Split]) -> Counter[Split | None]:
    """Count the images of each split; None: those that fall between."""
    counts: Counter[Split | None] = Counter()
    for identities, n in images.items():
        counts[split_of(identities, assignment)] += n
    return counts


def _score(kept: Counter[Split | None], shares: Mapping[Split, float]) -> float:
    """Value an assignment: the part of the images that it keeps, less what the shares miss."""
    whole = sum(kept[s] for s in SPLITS)
    missed = sum(abs(kept[s] / max(whole, 1) - shares[s]) for s in SPLITS)
    return whole / max(kept.total(), 1) - SHARE_WEIGHT * missed


def _cut(
    members: Sequence[str],
    images: Mapping[Identities, int],
    shares: Mapping[Split, float],
    fixed: Mapping[str, Split],
    rng: np.random.Generator,
) -> dict[str, Split]:
    """Part one component by identity: from several starts, move single identities while that gains anything."""
    of: dict[str, list[tuple[Identities, int]]] = defaultdict(list)
    for identities, n in images.items():
        for name in dict.fromkeys(identities):
            of[name].append((identities, n))
    free = [name for name in members if name not in fixed]
    best: tuple[float, dict[str, Split]] | None = None
    for _ in range(STARTS):
        drawn = rng.choice(len(SPLITS), size=len(members), p=[shares[s] for s in SPLITS])
        assignment = {name: fixed.get(name, SPLITS[i]) for name, i in zip(members, drawn, strict=True)}
        kept = _kept(images, assignment)
        score = _score(kept, shares)
        moved = True
        while moved:
            moved = False
            for i in rng.permutation(len(free)):
                name, old = free[i], assignment[free[i]]
                before = _kept(dict(of[name]), assignment)
                for split in SPLITS:
                    assignment[name] = split
                    after = kept.copy()
                    after.subtract(before)
                    after.update(_kept(dict(of[name]), assignment))
                    if (new := _score(after, shares)) > score + 1e-9:
                        score, old, moved = new, split, True
                        kept, before = after, _kept(dict(of[name]), assignment)
                assignment[name] = old
        if best is None or score > best[0]:
            best = score, assignment
    assert best is not None
    return best[1]


def read_official(folder: Path) -> dict[str, Split]:
    """Read FaceForensics++'s official splits, train.json, val.json and test.json: pairs of video numbers.

    Returns:
        The split of each video number.

    Raises:
        ValueError, FileNotFoundError: a file is missing, or is no list of pairs.
    """
    assignment: dict[str, Split] = {}
    for split, name in zip(SPLITS, ("train.json", "val.json", "test.json"), strict=True):
        path = folder / name
        try:
            pairs = json.loads(path.read_text(encoding="utf-8"))
            assignment |= {str(video): split for first, second in pairs for video in (first, second)}
        except (ValueError, TypeError) as error:
            raise ValueError(f'{path}: expected a list of pairs of video numbers, [["071", "054"], …]') from error
    return assignment
