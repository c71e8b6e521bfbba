"""The choice of faces, techniques and donors for forgeries, and the record of each forgery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from dfa_instruct.pairs import is_false_pair
from dfa_instruct.records import Face
from dfa_instruct.techniques import Technique
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, SPLITS, Category, Split

MAX_ATTEMPTS = 6
"""The number of donors or drivers that are tried for a face before its forgery is dropped."""
POOL_SIZE = 400
"""The number of bona fide faces of each split that donors, drivers and the training of techniques are drawn from."""


def assign_forgeries(
    bona_fide: Sequence[int],
    targets: Sequence[int],
    categories: Sequence[Category],
    per_face: float,
    rng: np.random.Generator,
) -> Iterator[tuple[int | None, int, int, int]]:
    """Assign a target and a technique to each forgery.

    Each category gets the same number of forgeries. Its techniques take turns, and its targets are used equally often.

    Args:
        bona_fide: The indices of the bona fide faces.
        targets: The indices of those bona fide faces that have landmarks and can be forged.
        categories: The category of each technique.
        per_face: The number of forgeries for each bona fide face.
        rng: The random generator for the order of the targets.

    Yields:
        The index of the target (None for entire face synthesis), the index of the technique, a number that is unique
        within the category, and the index of the face whose split the forgery belongs to.
    """
    share = round(per_face * len(bona_fide) / max(len(set(categories)), 1))
    for category in FORGERY_CATEGORIES:
        own = [t for t, c in enumerate(categories) if c == category]
        if not own or not targets:
            continue
        if category == "entire_face_synthesis":
            for n in range(share):
                yield None, own[n % len(own)], n, bona_fide[n * len(bona_fide) // share]
            continue
        drawn = [i for _ in range(share // len(targets) + 1) for i in rng.permutation(targets)]
        for n, i in enumerate(drawn[:share]):
            yield int(i), own[n % len(own)], n, int(i)


def draw_pool(
    aligned: Sequence[int],
    identities: Sequence[tuple[str, ...]],
    splits: Sequence[Split | None],
    rng: np.random.Generator,
) -> list[int]:
    """Draw the faces that serve as donors and drivers: up to `POOL_SIZE` from each split, from many different people.

    Args:
        aligned: The indices of the bona fide faces that have landmarks.
        identities: The identities of every face.
        splits: The split of every face.
        rng: The random generator.

    Returns:
        The indices of the drawn faces in ascending order.
    """
    drawn_before: Counter[tuple[str, ...]] = Counter()
    ranked: list[tuple[int, int, int]] = []
    for i in rng.permutation(aligned):
        ranked.append((drawn_before[identities[i]], len(ranked), int(i)))
        drawn_before[identities[i]] += 1
    ranked.sort()
    return sorted(i for split in SPLITS for i in islice((i for _, _, i in ranked if splits[i] == split), POOL_SIZE))


def forge(
    technique: Technique,
    target: Face | None,
    donors: Sequence[Face],
    number: int,
    split: Split,
    seed: int,
) -> Face:
    """Forge a face with the first donor or driver that the technique can use, out of at most `MAX_ATTEMPTS`.

    Args:
        technique: The technique.
        target: The bona fide face to forge. None for entire face synthesis.
        donors: Bona fide faces of the target's split. A donor or driver must show another identity than the target.
        number: A number that gives a synthesized face its name.
        split: The split of the forgery.
        seed: The seed. The random numbers depend on it, on the target and on the technique.

    Returns:
        The forgery with its record.

    Raises:
        ValueError: The technique cannot use the target, or none of the donors.
    """
    rng = np.random.default_rng([seed, int(target.face_id, 16) if target else number, *technique.name.encode()])
    needs_other = getattr(technique, "needs_other", technique.category in ("face_swapping", "face_reenactment"))
    refusal = ValueError("no other identity in its split")
    for _ in range(MAX_ATTEMPTS if needs_other else 1):
        other = None
        if target is not None and needs_other:
            if not donors:
                break
            other = donors[int(rng.integers(len(donors)))]
            if other.identities == target.identities:
                continue
        try:
            forgery = technique.forge(target, other, rng)
        except ValueError as error:
            refusal = error
            continue
        record: dict[str, Any] = {
            "image": forgery.image,
            "label": "forged",
            "category": technique.category,
            "technique": technique.name,
            "landmarks": forgery.landmarks,
            "parameters": {**forgery.parameters, "seed": seed, **({"other": other.face_id} if other else {})},
            "split": split,
        }
        if target is None:
            path = f"{technique.name}/{number:06d}"
            return Face(source=technique.name, source_path=path, source_sha256="", identities=(path,), **record)
        face = replace(
            target,
            face_id="",
            pair_id=target.face_id,
            pairing="same_frame",
            identities=(*target.identities, *(other.identities if other else ())),
            **record,
        )
        if not is_false_pair(face, target):
            return face
        refusal = ValueError("the forgery would change the surroundings of the face, too")
    raise refusal
