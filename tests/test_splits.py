"""Identity-disjoint splits."""

from __future__ import annotations

import json
from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from dfa_instruct.sources.official_splits import read_official
from dfa_instruct.splits import SHARES, TOLERANCE, Identities, assign_splits, split_images, split_of
from dfa_instruct.vocabulary import SPLITS, Split


def shares_of(images: dict[Identities, int], assignment: dict[str, Split]) -> tuple[dict[Split, float], float]:
    """Return the shares of the splits in the pictures that are kept, and the share that is kept."""
    counts: Counter[Split | None] = Counter()
    for identities, n in images.items():
        counts[split_of(identities, assignment)] += n
    kept = sum(counts[s] for s in SPLITS)
    return {s: counts[s] / kept for s in SPLITS}, kept / counts.total()


def assert_shares_of_kinds(splits: list[Split | None], kinds: list[str]) -> None:
    for kind in set(kinds):
        own = Counter(split for split, of_kind in zip(splits, kinds, strict=True) if of_kind == kind)
        assert {s: own[s] / own.total() for s in SPLITS} == pytest.approx(SHARES, abs=0.01)


def test_shares_are_kept_and_one_seed_gives_one_assignment() -> None:
    images = {(f"person {i}",): 1 + i % 5 for i in range(200)}
    assignment = assign_splits(images, seed=3)
    assert assignment == assign_splits(dict(reversed(images.items())), seed=3) != assign_splits(images, seed=4)
    assert shares_of(images, assignment)[0] == pytest.approx(SHARES, abs=0.01)


def test_both_orders_of_a_pair_stay_together_and_nothing_is_lost() -> None:
    """FaceForensics++: the components of the graph are pairs."""
    images: dict[Identities, int] = {}
    for a in range(0, 1000, 2):
        first, second = f"{a:03d}", f"{a + 1:03d}"
        images |= {(first,): 32, (second,): 32, (first, second): 128, (second, first): 128}
    shares, kept = shares_of(images, assign_splits(images, seed=0))
    assert kept == 1 and shares == pytest.approx(SHARES, abs=0.005)


def test_a_connected_graph_is_cut_near_the_shares() -> None:
    """Celeb-DF: 59 identities, nearly every ordered pair swapped."""
    people = [f"id{i}" for i in range(59)]
    images: dict[Identities, int] = {(p,): 10 for p in people}
    images |= {pair: 1 for n, pair in enumerate(permutations(people, 2)) if n % 4}
    shares, kept = shares_of(images, assign_splits(images, seed=0))
    assert shares == pytest.approx(SHARES, abs=0.03)
    assert kept > 0.5  # two random identities are in one split in 54 of 100 cases


def test_identities_follow_a_fixed_one_they_are_connected_with() -> None:
    images: dict[Identities, int] = {("a", "b"): 5, ("b", "c"): 5, ("d",): 5, ("e",): 5, ("f",): 5}
    assignment = assign_splits(images, seed=0, fixed={"b": "test", "nobody": "train"})
    assert {assignment[name] for name in "abc"} == {"test"} and "nobody" not in assignment


def random_graph(rng: np.random.Generator) -> dict[Identities, int]:
    """People, some with pictures of their own, and pictures of two or three of them."""
    people = [f"person {i}" for i in range(rng.integers(5, 40))]
    images: dict[Identities, int] = {(person,): int(rng.integers(1, 40)) for person in people if rng.random() < 0.8}
    for _ in range(rng.integers(1, 4 * len(people))):
        shown = rng.choice(people, 2 if rng.random() < 0.9 else 3, replace=False)
        images[tuple(shown.tolist())] = int(rng.integers(1, 60))
    return images


@pytest.mark.parametrize("seed", range(12))
def test_no_random_assignment_as_near_to_the_shares_loses_fewer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = random_graph(rng)
    names = sorted({name for identities in images for name in identities})

    def deviation(assignment: dict[str, Split]) -> tuple[float, float]:
        shares, kept = shares_of(images, assignment)
        return sum(abs(shares[s] - SHARES[s]) for s in SPLITS), kept

    found, kept = deviation(assign_splits(images, seed))
    for _ in range(200):
        drawn = rng.choice(len(SPLITS), len(names), p=[SHARES[s] for s in SPLITS])
        random, random_kept = deviation({name: SPLITS[i] for name, i in zip(names, drawn, strict=True)})
        assert random > max(found, TOLERANCE) or random_kept <= kept + 1e-9


@pytest.mark.parametrize("forged", [31_000, 33_000])
def test_a_larger_source_of_single_people_separates_no_pair_of_another(forged: int) -> None:
    """FaceForensics++: a thousand people, and forgeries that each show two of them."""
    identities: list[Identities] = [(f"ff/{n % 1000:03d}",) for n in range(32_000)]
    identities += [(f"ff/{n % 1000:03d}", f"ff/{n % 1000 ^ 1:03d}") for n in range(forged)]
    kinds = ["faceforensics/bona_fide"] * 32_000 + ["df40/simswap"] * forged
    splits = split_images(identities, kinds, seed=0)
    assert None not in splits
    assert_shares_of_kinds(splits, kinds)


def test_each_kind_keeps_the_shares() -> None:
    kinds = [f"kind {n % 7}" for n in range(2100)]
    assert_shares_of_kinds(split_images([(f"person {n}",) for n in range(2100)], kinds, seed=0), kinds)


def test_a_component_that_one_split_can_take_is_not_cut() -> None:
    """Celeb-DF with people who are connected with nobody: all of Celeb-DF goes into training."""
    images: dict[Identities, int] = {pair: 1 for pair in permutations([f"id{i}" for i in range(20)], 2)}
    images |= {(f"person {i}",): 1 for i in range(300)}
    shares, kept = shares_of(images, assign_splits(images, seed=0))
    assert kept == 1 and shares == pytest.approx(SHARES, abs=0.01)


def test_groups_are_cut_where_few_pictures_connect_them() -> None:
    """Ten groups of people who are swapped with each other, and one picture from each group to the next."""
    groups = [[f"{g} {i}" for i in range(8)] for g in range(10)]
    images: dict[Identities, int] = {pair: 5 for group in groups for pair in permutations(group, 2)}
    bridges: dict[Identities, int] = {(a[0], b[0]): 1 for a, b in zip(groups, [*groups[1:], groups[0]], strict=True)}
    shares, kept = shares_of(images | bridges, assign_splits(images | bridges, seed=0))
    assert shares == pytest.approx(SHARES, abs=0.01)
    assert kept >= 1 - 3 / (sum(images.values()) + len(bridges))


def test_the_official_splits_are_read(tmp_path: Path) -> None:
    for name, pairs in {"train": [["071", "054"]], "val": [["720", "672"]], "test": [["953", "974"]]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(pairs))
    assert read_official(tmp_path) == {
        **dict.fromkeys(("ff/071", "ff/054"), "train"),
        **dict.fromkeys(("ff/720", "ff/672"), "validation"),
        **dict.fromkeys(("ff/953", "ff/974"), "test"),
    }
    (tmp_path / "val.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"val\.json: expected a list of pairs"):
        read_official(tmp_path)


def test_too_few_identities_are_refused() -> None:
    with pytest.raises(ValueError, match="2 identities"):
        assign_splits({("a",): 5, ("b",): 5}, seed=0)
