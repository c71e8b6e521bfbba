"""Identity-disjoint splits: an identity belongs to one split, and so does every picture it is in.

Pictures of two identities (a target and a donor) join them. What is joined, over all sources together, is a component.
Components are kept whole where the shares can be met so, and then nothing is lost. Where one outgrows a split, as
Celeb-DF's people do, it is cut, and the pictures whose identities fall in different splits have to be dropped: the cut
that loses fewest is sought.
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
"""What the shares may miss, summed over the splits, before a picture is lost for their sake."""
SHARE_WEIGHT = 2.0
"""How much may be lost for them then: this part of all pictures for each part that the shares miss."""
NEARER = 1e-4
"""The same while they miss less: it decides where nothing else does."""
HEAVY = 0.02
"""The place of a component with more than this part of all pictures is searched for; lighter ones fill what is left."""
STARTS = 6
TRIALS = 400, 50, 20_000
"""How many places the search for a cut tries: so many an identity, in a larger graph so many, and then these at least.
"""

Identities = tuple[str, ...]
Sides = NDArray[np.int64]
"""Of each identity the number of its split; less than 0: none yet."""


def split_of(identities: Identities, assignment: Mapping[str, Split]) -> Split | None:
    """Return the split of a picture, or None where its identities fall in different ones."""
    splits = {assignment[name] for name in identities}
    return splits.pop() if len(splits) == 1 else None


def split_images(
    identities: Sequence[Identities],
    kinds: Sequence[str],
    seed: int,
    shares: Mapping[Split, float] = SHARES,
    fixed: Mapping[str, Split] | None = None,
) -> list[Split | None]:
    """Split pictures, given by their identities and their kinds, so that each kind comes near to the shares.

    Returns:
        Of each picture its split, or None where its identities fall in different ones.

    Raises:
        ValueError: see `assign_splits`.
    """
    row = {names: n for n, names in enumerate(sorted(set(identities)))}
    column = {kind: n for n, kind in enumerate(sorted(set(kinds)))}
    at = [row[names] for names in identities], [column[kind] for kind in kinds]
    counts = csr_array(coo_array((np.ones(len(identities), int), at), shape=(len(row), len(column))))
    images = dict(zip(row, counts.sum(axis=1).tolist(), strict=True))
    assignment = assign_splits(images, seed, shares, fixed, counts)
    return [split_of(names, assignment) for names in identities]


def lost_by(identities: Sequence[Identities], listed: Sequence[Split | None]) -> int:
    """Count the pictures that a list of videos loses where an identity may be in one split only: the test's go first.

    Args:
        identities: of each picture.
        listed: where the list puts it; None: it says nothing of it, and does not lose it either.
    """
    latest: dict[str, int] = {}
    for names, split in zip(identities, listed, strict=True):
        if split is not None:
            for name in names:
                latest[name] = max(latest.get(name, 0), SPLITS.index(split))
    return sum(
        split is not None and any(latest[name] != SPLITS.index(split) for name in names)
        for names, split in zip(identities, listed, strict=True)
    )


def assign_splits(
    images: Mapping[Identities, int],
    seed: int,
    shares: Mapping[Split, float] = SHARES,
    fixed: Mapping[str, Split] | None = None,
    kinds: csr_array | None = None,
) -> dict[str, Split]:
    """Assign each identity to a split so that the splits' images come near to their shares, and few are lost.

    Args:
        images: for each set of identities, how many pictures show just these.
        seed: of the order in which identities of equal weight are taken, and of the search for a cut.
        shares: of each split, of the images that are kept.
        fixed: identities whose split is decided already; what only they are joined with goes with them.
        kinds: how many pictures of each set, in their sorted order, are of each kind, shape (sets, kinds); each kind
            comes near to the shares, too.

    Raises:
        ValueError: there are fewer identities than splits that have a share.
    """
    sets = sorted(images)
    names = sorted({name for identities in sets for name in identities})
    side: Sides = np.array([SPLITS.index(fixed[name]) if fixed and name in fixed else -1 for name in names])
    if len(names) < (splits := sum(share > 0 for share in shares.values())) and (side < 0).all():
        raise ValueError(f"{len(names)} identities cannot fill {splits} identity-disjoint splits")
    index = {name: i for i, name in enumerate(names)}
    width = max(map(len, sets))
    members = np.array([[index[name] for name in s + s[:1] * (width - len(s))] for s in sets])
    weights = np.array([images[s] for s in sets], float)
    counts = csr_array(hstack([csr_array(weights[:, None]), *([] if kinds is None else [kinds])]))
    wanted = np.array([shares[split] for split in SPLITS])
    rng = np.random.default_rng(seed)

    component = _components(members, len(names))
    of_set = component[members[:, 0]]
    place, torn = _decided(component, side)
    gathered = csr_array(coo_array((np.ones(len(sets)), (of_set, np.arange(len(sets)))))) @ counts
    weight = gathered[:, [0]].toarray()[:, 0]
    heavy = torn | ((place < 0) & (weight > HEAVY * weights.sum()))

    whole = _pack(gathered, place, np.zeros((len(SPLITS), counts.shape[1])), wanted, rng)[component]
    kept = _kept(members, weights, whole)
    if not torn.any() and (not heavy.any() or np.abs(kept / kept.sum() - wanted).sum() <= TOLERANCE):
        return {name: SPLITS[s] for name, s in zip(names, whole, strict=True)}

    searched = heavy[of_set]
    base = np.bincount(place[place >= 0], weight[place >= 0], len(SPLITS)).astype(np.float64)
    filler = weight[(place < 0) & ~heavy].sum()
    search = _Cut(members[searched], weights[searched], wanted, base, filler, total=weights.sum())
    free = np.flatnonzero(heavy[component] & (side < 0))
    movable = np.where((heavy & ~torn)[component], component, -1)
    cut = search.best(np.where(side >= 0, side, whole), free, movable, rng)

    sides = cut[members]
    filled = np.stack([counts[searched & (sides == s).all(axis=1)].sum(axis=0) for s in range(len(SPLITS))])
    gathered = gathered.multiply((~heavy)[:, None]).tocsr()
    packed = _pack(gathered, place, filled, wanted, rng)
    result = np.where(heavy[component], cut, packed[component])
    return {name: SPLITS[s] for name, s in zip(names, result, strict=True)}


def _decided(component: NDArray[np.int64], side: Sides) -> tuple[Sides, NDArray[np.bool_]]:
    """Say of each component where it lies, -1 if that is open, and whether it has identities of two splits."""
    first, last = np.full(component.max() + 1, len(SPLITS)), np.full(component.max() + 1, -1)
    np.minimum.at(first, component[side >= 0], side[side >= 0])
    np.maximum.at(last, component[side >= 0], side[side >= 0])
    return np.where(first == last, last, -1), first < last


def _components(members: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Number what pictures join, shape (identities,), in the order of the identities."""
    graph = coo_array((np.ones(members.size, np.int8), _edges(members)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _edges(members: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Join the first identity of each set with all of them."""
    return np.repeat(members[:, 0], members.shape[1]), members.ravel()


def _kept(members: NDArray[np.int64], weights: NDArray[np.float64], side: Sides) -> NDArray[np.float64]:
    """Count the pictures of each split, shape (splits,); those whose identities fall in different ones are in none."""
    sides = side[members]
    same = (sides == sides[:, :1]).all(axis=1)
    return np.bincount(sides[same, 0], weights[same], len(SPLITS)).astype(np.float64)


def _pack(
    counts: csr_array, place: Sides, filled: NDArray[np.float64], shares: NDArray[np.float64], rng: np.random.Generator
) -> Sides:
    """Put each component into the split that lacks most of what it holds, the heavy ones first.

    Args:
        counts: of pictures, shape (components, kinds); the first kind is all of them.
        place: of each component, where that is decided already.
        filled: what the splits hold before, shape (splits, kinds).
        shares: of the splits.
        rng: of the order of equal ones.
    """
    place = place.copy()
    for s in range(len(SPLITS)):
        filled[s] += counts[place == s].sum(axis=0)
    room = np.outer(shares, counts[place < 0].sum(axis=0) + filled.sum(axis=0)).tolist()
    held = filled.tolist()
    begin, kinds, numbers = counts.indptr.tolist(), counts.indices.tolist(), counts.data.tolist()
    free = rng.permutation(np.flatnonzero(place < 0))
    weight = counts[:, [0]].toarray()[:, 0]
    for c in free[np.argsort(-weight[free], kind="stable")].tolist():
        own = range(begin[c], begin[c + 1])
        fullness = [
            sum(numbers[i] * (of[kinds[i]] + numbers[i]) / most[kinds[i]] if most[kinds[i]] else np.inf for i in own)
            for of, most in zip(held, room, strict=True)
        ]
        place[c] = chosen = fullness.index(min(fullness))
        for i in own:
            held[chosen][kinds[i]] += numbers[i]
    return place


@dataclass(frozen=True)
class _Unit:
    """Identities that move together: one alone, or a component whole. Its sets lie in the split of their `members`.

    Of an identity, these are the others of its sets; in those that are in `alone` there is no other.
    """

    identities: NDArray[np.int64]
    members: NDArray[np.int64]
    weights: NDArray[np.float64]
    alone: float


@dataclass(frozen=True)
class _Cut:
    """The search for a cut of the heavy components: `members`, shape (sets, identities), and the sets' `weights`.

    `base` is what the splits hold besides, `filler` what may fill them up afterwards, `total` all there is.
    """

    members: NDArray[np.int64]
    weights: NDArray[np.float64]
    shares: NDArray[np.float64]
    base: NDArray[np.float64]
    filler: float
    total: float

    def best(
        self, whole: Sides, free: NDArray[np.int64], components: NDArray[np.int64], rng: np.random.Generator
    ) -> Sides:
        """Search from `whole`, from random places and from regions of the graph; then shake the best, again and again.

        Args:
            whole: where all identities are when no component is cut.
            free: those that may move.
            components: of each identity the number of the component that may move whole; less than 0: of none.
            rng: of starts and orders.
        """
        units = [*self._singles(free), *self._wholes(components)]
        starts = [whole.copy()]
        for _ in range(STARTS):
            for drawn in (rng.choice(len(SPLITS), len(free), p=self.shares), self._regions(len(whole), rng)[free]):
                starts.append(whole.copy())
                starts[-1][free] = drawn
        trials = min(TRIALS[0] * len(free), max(TRIALS[1] * len(free), TRIALS[2]))
        best, least = whole, np.inf
        while trials > 0 and len(free):
            if starts:
                side, most = starts.pop(), trials // (2 * len(starts) + 2)
            else:
                side, most = best.copy(), trials
                shaken = rng.choice(free, min(len(free), 2 + int(rng.integers(1 + len(free) // 10))), replace=False)
                side[shaken] = rng.integers(len(SPLITS), size=len(shaken))
            cost, spent = self._settle(side, units, most, rng)
            trials -= spent
            if cost < least - 1e-9:
                best, least = side, cost
        return best

    def _singles(self, free: NDArray[np.int64]) -> Iterator[_Unit]:
        sets: dict[int, list[int]] = defaultdict(list)
        for n, row in enumerate(self.members.tolist()):
            for i in set(row):
                sets[i].append(n)
        for i in free.tolist():
            own, weights = self.members[sets[i]], self.weights[sets[i]]
            other = own != i
            some = other.any(axis=1)
            filled = own[np.arange(len(own)), other.argmax(axis=1)]
            others = np.where(other, own, filled[:, None])[some]
            yield _Unit(np.array([i]), others, weights[some], weights[~some].sum())

    def _wholes(self, components: NDArray[np.int64]) -> Iterator[_Unit]:
        for c in np.unique(components[components >= 0]):
            own = components[self.members[:, 0]] == c
            yield _Unit(np.flatnonzero(components == c), self.members[own], self.weights[own], 0.0)

    def _cost(self, kept: list[float]) -> float:
        """Value what the splits keep: what is lost, and what the shares miss once they are filled up."""
        held = [k + b for k, b in zip(kept, self.base.tolist(), strict=True)]
        whole = max(sum(held) + self.filler, 1.0)
        # too much in one split is too little in another
        missed = 2 * sum(max(h / whole - share, 0.0) for h, share in zip(held, self.shares.tolist(), strict=True))
        return 1 - whole / self.total + NEARER * missed + SHARE_WEIGHT * max(missed - TOLERANCE, 0.0)

    def _settle(self, side: Sides, units: Sequence[_Unit], most: int, rng: np.random.Generator) -> tuple[float, int]:
        """Move units within `side` while that lowers the cost; return it, and how many were tried (about `most`)."""
        kept = _kept(self.members, self.weights, side).tolist()
        cost, spent, moved = self._cost(kept), 0, True
        while moved and spent < most:
            moved = False
            for u in rng.permutation(len(units)).tolist():
                unit = units[u]
                held = _kept(unit.members, unit.weights, side).tolist()
                if len(unit.identities) == 1:
                    place = int(side[unit.identities[0]])
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
                        side[unit.identities] = s
            spent += len(units)
        return cost, spent

    def _regions(self, count: int, rng: np.random.Generator) -> Sides:
        """Deal out the identities in an order that goes from neighbour to neighbour, a stretch of it to each split."""
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
        stretch = np.searchsorted(self.shares[turn].cumsum()[:-1] * filled[-1], filled, "right")
        side = np.zeros(count, int)
        side[order] = turn[stretch]
        return side
