"""Forging of one's own: which faces are forged, by which technique, and with whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from dfa_instruct.pairs import is_false_pair
from dfa_instruct.records import Face, Forgery
from dfa_instruct.techniques import Technique
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, SPLITS, Category, Split

ATTEMPTS = 6
"""How many donors or drivers are tried for a face before its forgery is dropped."""
POOL = 400
"""Bona fide faces of each split that donors and drivers come from, and that what is fitted learns from."""


def share_out(
    bona_fide: Sequence[int],
    targets: Sequence[int],
    categories: Sequence[Category],
    per_face: float,
    rng: np.random.Generator,
) -> Iterator[tuple[int | None, int, int, int]]:
    """Share forgeries out: each category the same number, its techniques by turns, and its targets as evenly as can be.

    Args:
        bona_fide: numbers of the bona fide faces.
        targets: those among them that can be forged: they have landmarks.
        categories: of the techniques.
        per_face: forgeries for each bona fide face.
        rng: of the order of the targets.

    Yields:
        The number of the face to be forged (None: an entire face is synthesized), that of the technique, a number that
        tells the forgeries of one category apart, and the number of the face whose split it belongs to.
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
    """Draw the faces that donors and drivers come from: `POOL` of each split, of as many people as can be.

    Args:
        aligned: numbers of the bona fide faces that have landmarks.
        identities: of all faces.
        splits: of all faces.
        rng: of the draw.

    Returns:
        Their numbers, ascending.
    """
    turn: Counter[tuple[str, ...]] = Counter()
    ranked: list[tuple[int, int, int]] = []
    for i in rng.permutation(aligned):
        ranked.append((turn[identities[i]], len(ranked), int(i)))
        turn[identities[i]] += 1
    chosen: list[int] = []
    for split in SPLITS:
        chosen += islice((i for _, _, i in sorted(ranked) if splits[i] == split), POOL)
    return sorted(chosen)


def forge(
    technique: Technique,
    target: Face | None,
    donors: Sequence[Face],
    number: int,
    split: Split,
    seed: int,
) -> Face:
    """Forge with the first donor or driver that the technique can use.

    Args:
        technique: see `dfa_instruct.techniques`.
        target: the bona fide face to be forged; None: an entire face is synthesized.
        donors: bona fide faces of the target's split, of which another identity's is drawn, `ATTEMPTS` times at most.
        number: names what is synthesized.
        split: of the forgery.
        seed: of all chance, together with the target and the technique.

    Raises:
        ValueError: no donor served, or the face itself does not.
    """
    rng = np.random.default_rng([seed, int(target.face_id, 16) if target else number, *technique.name.encode()])
    needs_other = target is not None and technique.category in ("face_swapping", "face_reenactment")
    refusal = ValueError("no other identity in its split")
    for _ in range(ATTEMPTS if needs_other else 1):
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
        made = _recorded(technique, forgery, target, other, number, split, seed)
        if target is None or not is_false_pair(made, target):
            return made
        refusal = ValueError("what lies around the face would be altered, too")
    raise refusal


def _recorded(
    technique: Technique,
    forgery: Forgery,
    target: Face | None,
    other: Face | None,
    number: int,
    split: Split,
    seed: int,
) -> Face:
    """Record a forgery: what is known of its target, and what is another face's now."""
    parameters = {**forgery.parameters, "seed": seed, **({"other": other.face_id} if other else {})}
    if target is None:
        invented = f"{technique.name}/{number:06d}"
        return Face(
            image=forgery.image,
            label="forged",
            category=technique.category,
            technique=technique.name,
            source=technique.name,
            identities=(invented,),
            source_path=invented,
            source_sha256="",
            landmarks=forgery.landmarks,
            parameters=parameters,
            split=split,
        )
    return replace(
        target,
        image=forgery.image,
        face_id="",
        label="forged",
        category=technique.category,
        technique=technique.name,
        pair_id=target.face_id,
        pairing="same_frame",
        identities=(*target.identities, *(other.identities if other else ())),
        landmarks=forgery.landmarks,
        parameters=parameters,
        split=split,
    )
