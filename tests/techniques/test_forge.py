"""The choice of targets, techniques and donors, and the record of a forgery."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dfa_instruct.records import Face, Forgery
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.techniques.forge import POOL_SIZE, assign_forgeries, draw_pool, forge
from dfa_instruct.techniques.registry import TECHNIQUES
from dfa_instruct.vocabulary import Split

SWAP, LIPS = TECHNIQUES["feathered_swap"], TECHNIQUES["lips"]


@pytest.fixture(scope="module")
def faces() -> list[Face]:
    return [replace(face, split="train", video="a clip", frame=3) for face in draw_sample(identities=3, pictures=2)]


def test_categories_have_equal_shares_and_targets_take_turns() -> None:
    categories = ["face_swapping", "face_swapping", "face_editing", "entire_face_synthesis"]
    bona_fide = list(range(30))
    planned = list(assign_forgeries(bona_fide, bona_fide[::2], categories, 2.0, np.random.default_rng(0)))
    assert Counter(technique for _, technique, _, _ in planned) == {0: 10, 1: 10, 2: 20, 3: 20}
    swapped = Counter(target for target, technique, _, _ in planned if technique < 2)
    assert set(swapped) == set(bona_fide[::2]) and set(swapped.values()) == {1, 2}
    assert all(target == split_face for target, technique, _, split_face in planned if technique != 3)
    assert {target for target, technique, _, _ in planned if technique == 3} == {None}
    assert list(assign_forgeries(bona_fide, [], categories, 2.0, np.random.default_rng(0))) == []


def test_the_pool_has_many_people_and_is_bounded() -> None:
    identities = [(f"person {n % 500}",) for n in range(3 * 500)]
    splits: list[Split | None] = ["train" if n % 500 < 450 else "test" for n in range(len(identities))]
    pool = draw_pool(range(len(identities)), identities, splits, np.random.default_rng(0))
    assert pool == sorted(set(pool))
    train = [identities[i] for i in pool if splits[i] == "train"]
    assert len(train) == len(set(train)) == POOL_SIZE  # each person once while there are others
    assert Counter(splits[i] for i in pool)["test"] == 150


def test_a_forgery_is_recorded_with_its_target_and_its_donor(faces: list[Face]) -> None:
    target, donor = faces[0], faces[2]
    forged = forge(SWAP, target, [faces[1], donor], 0, "train", seed=4)  # the first one shows the target's person
    assert (forged.label, forged.category, forged.technique) == ("forged", "face_swapping", "feathered_swap")
    assert forged.identities == (*target.identities, *donor.identities) and forged.pair_id == target.face_id
    assert forged.parameters["other"] == donor.face_id and forged.parameters["seed"] == 4
    assert (forged.source_sha256, forged.video, forged.frame) == (target.source_sha256, "a clip", 3)
    assert forged.face_id not in (target.face_id, "") and forged.pairing == "same_frame"
    again = forge(SWAP, target, [faces[1], donor], 0, "train", seed=4)
    assert again.face_id == forged.face_id
    assert forge(LIPS, target, [], 0, "train", seed=4).identities == target.identities


def test_without_another_identity_there_is_no_swap(faces: list[Face]) -> None:
    for donors in ([], faces[:2]):
        with pytest.raises(ValueError, match="no other identity in its split"):
            forge(SWAP, faces[0], donors, 0, "train", seed=0)
    with pytest.raises(ValueError, match="landmarks"):
        forge(LIPS, replace(faces[0], landmarks=None), [], 0, "train", seed=0)


def test_a_technique_that_uses_the_target_only_is_given_no_donor(faces: list[Face]) -> None:
    """A self-blended face shows nobody else, whether its split has other people or not."""
    alone, among_others = (forge(TECHNIQUES["self_blended"], faces[0], d, 0, "train", seed=4) for d in ([], faces))
    assert alone.face_id == among_others.face_id
    assert (alone.category, alone.technique) == ("face_swapping", "self_blended")
    assert alone.identities == faces[0].identities and alone.pair_id == faces[0].face_id
    assert "other" not in alone.parameters
    assert Image.open(io.BytesIO(alone.to_png())).text["dfa:technique"] == "self_blended"


def test_a_synthesized_face_has_an_invented_identity(faces: list[Face]) -> None:
    class Grey:
        name, category = "grey", "entire_face_synthesis"

        def forge(self, target: object, other: object, rng: np.random.Generator) -> object:
            assert target is None and other is None
            return Forgery(rng.integers(0, 255, (32, 32, 3), np.uint8), None, {})

    forged = forge(Grey(), None, faces, 12, "test", seed=0)
    assert (forged.source, forged.source_path, forged.identities) == ("grey", "grey/000012", ("grey/000012",))
    assert forged.pair_id is None and forged.pairing is None and forged.split == "test"


def test_a_forgery_that_changes_the_surroundings_of_the_face_is_refused(faces: list[Face]) -> None:
    class Turned:
        name, category = "turned", "face_editing"

        def forge(self, target: Face, other: Face | None, rng: np.random.Generator) -> Forgery:
            return Forgery(np.ascontiguousarray(target.image[::-1]), target.landmarks, {})

    with pytest.raises(ValueError, match="surroundings of the face"):
        forge(Turned(), faces[0], [], 0, "train", seed=4)
