"""Identity-disjoint splits: all pictures of an identity are in the same split.

A picture of two identities (target and donor) connects them. The connected components are computed over all sources
together. Components are kept whole if the shares can be met this way, so that no picture is lost. A component that is
too large for one split, such as the people of Celeb-DF, is cut, and pictures whose identities are then in different
splits must be dropped. The search looks for the cut that drops the fewest pictures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, hstack
from scipy.sparse.csgraph import breadth_first_order, connected_components

from dfa_instruct.vocabulary import SPLITS, Split

SHARES: dict[Split, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}
TOLERANCE = 0.05
"""The deviation from the shares, summed over the splits, that is accepted before pictures are dropped to reduce it."""
SHARE_WEIGHT = 2.0
"""The cost of a deviation beyond the tolerance, relative to the cost of dropping the same share of the pictures."""
SMALL_WEIGHT = 1e-4
"""The cost of a deviation within the tolerance, which decides between otherwise equal splits."""
HEAVY = 0.02
"""Components with more than this share of all pictures are placed by the search. Lighter ones fill the splits up."""
STARTS = 6
"""The number of pairs of random starts of the search."""
TRIALS = 400, 50, 20_000
"""For n identities, the search tries min(400 n, max(50 n, 20,000)) moves."""

Identities = tuple[str, ...]
SplitNumbers = NDArray[np.int64]
"""The number of the split of each identity (or component); a negative number means that it is not decided."""


def split_of(identities: Identities, assignment: Mapping[str, Split]) -> Split | None:
    """Return the split of a picture, or None if its identities are in different splits."""
    splits = {assignment[name] for name in identities}
    return splits.pop() if len(splits) == 1 else None


def split_images(
    identities: Sequence[Identities],
    kinds: Sequence[str],
    seed: int,
    shares: Mapping[Split, float] = SHARES,
    fixed: Mapping[str, Split] | None = None,
) -> list[Split | None]:
    """Split pictures so that the pictures of each kind come close to the shares.

    Args:
        identities: The identities in each picture.
        kinds: The kind of each picture, such as its source and technique.
        seed: See `assign_splits`.
        shares: See `assign_splits`.
        fixed: See `assign_splits`.

    Returns:
        The split of each picture, or None if its identities are in different splits.

    Raises:
        ValueError: There are fewer identities than splits with a share.
    """
    row = {names: n for n, names in enumerate(sorted(set(identities)))}
    column = {kind: n for n, kind in enumerate(sorted(set(kinds)))}
    at = [row[names] for names in identities], [column[kind] for kind in kinds]
    counts = csr_array(coo_array((np.ones(len(identities), int), at), shape=(len(row), len(column))))
    images = dict(zip(row, counts.sum(axis=1).tolist(), strict=True))
    assignment = assign_splits(images, seed, shares, fixed, counts)
    return [split_of(names, assignment) for names in identities]


def assign_splits(
    images: Mapping[Identities, int],
    seed: int,
    shares: Mapping[Split, float] = SHARES,
    fixed: Mapping[str, Split] | None = None,
    kinds: csr_array | None = None,
) -> dict[str, Split]:
    """Assign each identity to a split so that the splits come close to their shares and few pictures are dropped.

    Args:
        images: The number of pictures of each set of identities.
        seed: The seed of the search, and of the order of equally heavy components.
        shares: The share of each split in the pictures that are kept.
        fixed: The split of some identities. Identities that are connected only with these follow them.
        kinds: The number of pictures of each kind, shape (sets, kinds), with the sets in sorted order. The pictures of
            each kind come close to the shares, too.

    Raises:
        ValueError: There are fewer identities than splits with a share.
    """
    sets = sorted(images)
    names = sorted({name for identities in sets for name in identities})
    given: SplitNumbers = np.array([SPLITS.index(fixed[name]) if fixed and name in fixed else -1 for name in names])
    if len(names) < (splits := sum(share > 0 for share in shares.values())) and (given < 0).all():
        raise ValueError(f"{len(names)} identities cannot fill {splits} identity-disjoint splits")
    index = {name: i for i, name in enumerate(names)}
    width = max(map(len, sets))
    members = np.array([[index[name] for name in s + s[:1] * (width - len(s))] for s in sets])
    weights = np.array([images[s] for s in sets], float)
    counts = csr_array(hstack([csr_array(weights[:, None]), *([] if kinds is None else [kinds])]))
    wanted = np.array([shares[split] for split in SPLITS])
    rng = np.random.default_rng(seed)

    component = _components(members, len(names))
    component_of_set = component[members[:, 0]]
    place, is_split = _fixed_places(component, given)
    by_component = csr_array(coo_array((np.ones(len(sets)), (component_of_set, np.arange(len(sets)))))) @ counts
    weight = by_component[:, [0]].toarray()[:, 0]
    heavy = is_split | ((place < 0) & (weight > HEAVY * weights.sum()))

    uncut = _pack(by_component, place, np.zeros((len(SPLITS), counts.shape[1])), wanted, rng)[component]
    kept = _kept(members, weights, uncut)
    if not is_split.any() and (not heavy.any() or np.abs(kept / kept.sum() - wanted).sum() <= TOLERANCE):
        return {name: SPLITS[s] for name, s in zip(names, uncut, strict=True)}

    searched = heavy[component_of_set]
    base = np.bincount(place[place >= 0], weight[place >= 0], len(SPLITS)).astype(np.float64)
    filler = weight[(place < 0) & ~heavy].sum()
    search = _CutSearch(members[searched], weights[searched], wanted, base, filler, total=weights.sum())
    free = np.flatnonzero(heavy[component] & (given < 0))
    movable = np.where((heavy & ~is_split)[component], component, -1)
    cut = search.best(np.where(given >= 0, given, uncut), free, movable, rng)

    splits_of_set = cut[members]
    filled = np.stack([counts[searched & (splits_of_set == s).all(axis=1)].sum(axis=0) for s in range(len(SPLITS))])
    by_component = by_component.multiply((~heavy)[:, None]).tocsr()
    packed = _pack(by_component, place, filled, wanted, rng)
    result = np.where(heavy[component], cut, packed[component])
    return {name: SPLITS[s] for name, s in zip(names, result, strict=True)}


def _fixed_places(component: NDArray[np.int64], given: SplitNumbers) -> tuple[SplitNumbers, NDArray[np.bool_]]:
    """Return the split of each component, or -1, and whether its identities have been given different splits."""
    first, last = np.full(component.max() + 1, len(SPLITS)), np.full(component.max() + 1, -1)
    np.minimum.at(first, component[given >= 0], given[given >= 0])
    np.maximum.at(last, component[given >= 0], given[given >= 0])
    return np.where(first == last, last, -1), first < last


def _components(members: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the number of the connected component of each identity, shape (identities,)."""
    graph = coo_array((np.ones(members.size, np.int8), _edges(members)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _edges(members: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the edges of a graph that joins the first identity of each set to all identities of the same set."""
    return np.repeat(members[:, 0], members.shape[1]), members.ravel()


def _kept(members: NDArray[np.int64], weights: NDArray[np.float64], splits: SplitNumbers) -> NDArray[np.float64]:
    """Return the number of pictures that each split keeps, shape (splits,)."""
    splits_of_set = splits[members]
    same = (splits_of_set == splits_of_set[:, :1]).all(axis=1)
    return np.bincount(splits_of_set[same, 0], weights[same], len(SPLITS)).astype(np.float64)


def _pack(
    counts: csr_array,
    place: SplitNumbers,
    filled: NDArray[np.float64],
    shares: NDArray[np.float64],
    rng: np.random.Generator,
) -> SplitNumbers:
    """Put each component into the split that needs its kinds of pictures most, the heavy components first.

    `counts` has the shape (components, kinds), where the first kind contains all pictures; `filled` has the number of
    pictures that the splits have already, shape (splits, kinds).
    """
    place = place.copy()
    for s in range(len(SPLITS)):
        filled[s] += counts[place == s].sum(axis=0)
    capacity = np.outer(shares, counts[place < 0].sum(axis=0) + filled.sum(axis=0)).tolist()
    content = filled.tolist()
    begin, kinds, numbers = counts.indptr.tolist(), counts.indices.tolist(), counts.data.tolist()
    free = rng.permutation(np.flatnonzero(place < 0))
    weight = counts[:, [0]].toarray()[:, 0]
    for c in free[np.argsort(-weight[free], kind="stable")].tolist():
        own = range(begin[c], begin[c + 1])
        fullness = [
            sum(
                numbers[i] * (inside[kinds[i]] + numbers[i]) / limit[kinds[i]] if limit[kinds[i]] else np.inf
                for i in own
            )
            for inside, limit in zip(content, capacity, strict=True)
        ]
        place[c] = emptiest = fullness.index(min(fullness))
        for i in own:
            content[emptiest][kinds[i]] += numbers[i]
    return place


@dataclass(frozen=True)
class _Unit:
    """Identities that move together: a single identity, or a component."""

    identities: NDArray[np.int64]
    members: NDArray[np.int64]  # the identities of their sets (for a single one, the others), shape (sets, identities)
    weights: NDArray[np.float64]  # the number of pictures of each set, shape (sets,)
    alone: float  # the number of pictures of a single identity that show nobody else


@dataclass(frozen=True)
class _CutSearch:
    """The search for a cut of the heavy components."""

    members: NDArray[np.int64]  # the identities of each set, shape (sets, identities)
    weights: NDArray[np.float64]  # the number of pictures of each set, shape (sets,)
    shares: NDArray[np.float64]  # the shares of the splits
    base: NDArray[np.float64]  # the number of pictures that each split has already
    filler: float  # the number of pictures that can be distributed afterwards
    total: float  # the number of all pictures

    def best(
        self, uncut: SplitNumbers, free: NDArray[np.int64], components: NDArray[np.int64], rng: np.random.Generator
    ) -> SplitNumbers:
        """Return the best split found, starting from `uncut` (whole components only) and from random splits.

        The identities in `free` may move. `components` has, for each identity, the number of the component that may
        move as a whole, or -1.
        """
        units = [*self._single_units(free), *self._component_units(components)]
        starts = [uncut.copy()]
        for _ in range(STARTS):
            for drawn in (rng.choice(len(SPLITS), len(free), p=self.shares), self._grow(len(uncut), rng)[free]):
                starts.append(uncut.copy())
                starts[-1][free] = drawn
        trials = min(TRIALS[0] * len(free), max(TRIALS[1] * len(free), TRIALS[2]))
        best, lowest = uncut, np.inf
        while trials > 0 and len(free):
            if starts:
                splits, limit = starts.pop(), trials // (2 * len(starts) + 2)
            else:
                splits, limit = best.copy(), trials
                changed = rng.choice(free, min(len(free), 2 + int(rng.integers(1 + len(free) // 10))), replace=False)
                splits[changed] = rng.integers(len(SPLITS), size=len(changed))
            cost, spent = self._descend(splits, units, limit, rng)
            trials -= spent
            if cost < lowest - 1e-9:
                best, lowest = splits, cost
        return best

    def _single_units(self, free: NDArray[np.int64]) -> Iterator[_Unit]:
        sets: dict[int, list[int]] = defaultdict(list)
        for n, row in enumerate(self.members.tolist()):
            for i in set(row):
                sets[i].append(n)
        for i in free.tolist():
            own, weights = self.members[sets[i]], self.weights[sets[i]]
            is_other = own != i
            has_other = is_other.any(axis=1)
            first_other = own[np.arange(len(own)), is_other.argmax(axis=1)]
            others = np.where(is_other, own, first_other[:, None])[has_other]
            yield _Unit(np.array([i]), others, weights[has_other], weights[~has_other].sum())

    def _component_units(self, components: NDArray[np.int64]) -> Iterator[_Unit]:
        for c in np.unique(components[components >= 0]):
            own = components[self.members[:, 0]] == c
            yield _Unit(np.flatnonzero(components == c), self.members[own], self.weights[own], 0.0)

    def _cost(self, kept: list[float]) -> float:
        """Return the cost of the pictures that are dropped and of the deviation from the shares after filling up."""
        content = [k + b for k, b in zip(kept, self.base.tolist(), strict=True)]
        all_kept = max(sum(content) + self.filler, 1.0)
        # an excess in one split is a lack in another, so it counts twice
        excess = 2 * sum(max(n / all_kept - share, 0.0) for n, share in zip(content, self.shares.tolist(), strict=True))
        return 1 - all_kept / self.total + SMALL_WEIGHT * excess + SHARE_WEIGHT * max(excess - TOLERANCE, 0.0)

    def _descend(
        self, splits: SplitNumbers, units: Sequence[_Unit], limit: int, rng: np.random.Generator
    ) -> tuple[float, int]:
        """Move units in `splits` while that lowers the cost; return the cost and the number of tried units."""
        kept = _kept(self.members, self.weights, splits).tolist()
        cost, spent, moved = self._cost(kept), 0, True
        while moved and spent < limit:
            moved = False
            for u in rng.permutation(len(units)).tolist():
                unit = units[u]
                held = _kept(unit.members, unit.weights, splits).tolist()
                if len(unit.identities) == 1:
                    place = int(splits[unit.identities[0]])
                    gains = [h + unit.alone for h in held]
                    rest = [k - (gains[s] if s == place else 0.0) for s, k in enumerate(kept)]
                else:
                    place = -1
                    gains = [float(unit.weights.sum())] * len(SPLITS)
                    rest = [k - h for k, h in zip(kept, held, strict=True)]
                for s in range(len(SPLITS)):
                    if s == place:
                        continue
                    after = rest.copy()
                    after[s] += gains[s]
                    if (new := self._cost(after)) < cost - 1e-9:
                        cost, kept, moved = new, after, True
                        splits[unit.identities] = s
            spent += len(units)
        return cost, spent

    def _grow(self, count: int, rng: np.random.Generator) -> SplitNumbers:
        """Order the identities from neighbour to neighbour, and give a section of this order to each split."""
        graph = csr_array(coo_array((np.ones(self.members.size), _edges(self.members)), shape=(count, count)))
        order: list[int] = []
        reached = np.zeros(count, bool)
        for i in rng.permutation(np.unique(self.members)):
            if not reached[i]:
                found = breadth_first_order(graph, i, directed=False, return_predecessors=False)
                reached[found] = True
                order += found.tolist()
        rank = np.zeros(count, int)
        rank[order] = np.arange(len(order))
        filled = np.bincount(rank[self.members].max(axis=1), self.weights, len(order)).cumsum()
        turn = rng.permutation(len(SPLITS))
        section = np.searchsorted(self.shares[turn].cumsum()[:-1] * filled[-1], filled, "right")
        splits = np.zeros(count, int)
        splits[order] = turn[section]
        return splits
