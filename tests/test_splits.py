"""Identity-disjoint splits."""

from __future__ import annotations

import json
from collections import Counter
from itertools import permutations
from pathlib import Path

import pytest

from dfa_instruct.splits import SHARES, Identities, assign_splits, read_official, split_of
from dfa_instruct.vocabulary import SPLITS, Split


def shares_of(images: dict[Identities, int], assignment: dict[str, Split]) -> tuple[dict[Split, float], float]:
    """The splits' shares of the images that are kept, and the part that is."""
    kept: Counter[Split | None] = Counter()
    for identities, n in images.items():
        kept[split_of(identities, assignment)] += n
    whole = sum(kept[s] for s in SPLITS)
    return {s: kept[s] / whole for s in SPLITS}, whole / kept.total()


def test_shares_are_kept_and_one_seed_gives_one_assignment() -> None:
    images = {(f"person {i}",): 1 + i % 5 for i in range(200)}
    assignment = assign_splits(images, seed=3)
    assert assignment == assign_splits(dict(reversed(images.items())), seed=3) != assign_splits(images, seed=4)
    assert shares_of(images, assignment)[0] == pytest.approx(SHARES, abs=0.01)


def test_both_orders_of_a_pair_stay_together_and_nothing_is_lost() -> None:
    """FaceForensics++: the graph falls into pairs."""
    images: dict[Identities, int] = {}
    for a in range(0, 1000, 2):
        first, second = f"{a:03d}", f"{a + 1:03d}"
        images |= {(first,): 32, (second,): 32, (first, second): 128, (second, first): 128}
    shares, kept = shares_of(images, assign_splits(images, seed=0))
    assert kept == 1 and shares == pytest.approx(SHARES, abs=0.005)


def test_a_graph_that_joins_all_is_cut_by_identity_near_the_shares() -> None:
    """Celeb-DF: 59 identities, nearly every ordered pair swapped."""
    people = [f"id{i}" for i in range(59)]
    images: dict[Identities, int] = {(p,): 10 for p in people}
    images |= {pair: 1 for n, pair in enumerate(permutations(people, 2)) if n % 4}
    shares, kept = shares_of(images, assign_splits(images, seed=0))
    assert shares == pytest.approx(SHARES, abs=0.03)
    assert kept > 0.5  # two random identities are in one split in 54 of 100 cases


def test_what_is_decided_takes_what_it_is_joined_with_along() -> None:
    images: dict[Identities, int] = {("a", "b"): 5, ("b", "c"): 5, ("d",): 5, ("e",): 5, ("f",): 5}
    assignment = assign_splits(images, seed=0, fixed={"b": "test", "nobody": "train"})
    assert {assignment[name] for name in "abc"} == {"test"} and "nobody" not in assignment


def test_the_official_splits_are_read(tmp_path: Path) -> None:
    for name, pairs in {"train": [["071", "054"]], "val": [["720", "672"]], "test": [["953", "974"]]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(pairs))
    assert read_official(tmp_path) == {
        **dict.fromkeys(("071", "054"), "train"),
        **dict.fromkeys(("720", "672"), "validation"),
        **dict.fromkeys(("953", "974"), "test"),
    }
    (tmp_path / "val.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"val\.json: expected a list of pairs"):
        read_official(tmp_path)


def test_too_few_identities_are_refused() -> None:
    with pytest.raises(ValueError, match="2 identities"):
        assign_splits({("a",): 5, ("b",): 5}, seed=0)
