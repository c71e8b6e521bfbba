"""False pairs are refused, and forgeries without their bona fide face are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dfa_instruct.pairs import forgeries_without_pair, is_false_pair, most_similar, without_pair
from dfa_instruct.records import Face
from dfa_instruct.sources.portraits.drawing import draw_sample


@pytest.fixture(scope="module")
def faces() -> list[Face]:
    return list(draw_sample(identities=2, pictures=2))


def test_a_forgery_of_another_picture_is_refused(faces: list[Face]) -> None:
    bona_fide, other = faces[0], faces[2]
    forged = replace(bona_fide, image=bona_fide.image.copy(), label="forged", pair_id=bona_fide.face_id)
    assert forged.landmarks is not None
    left, top = forged.landmarks[48:68].min(0).astype(int)
    forged.image[top : top + 12, left : left + 30] = 90
    assert not is_false_pair(forged, bona_fide) and is_false_pair(forged, other)
    assert not is_false_pair(replace(forged, landmarks=None), replace(other, landmarks=None))  # nothing to compare
    alone = without_pair(forged)
    assert (alone.pair_id, alone.pairing, alone.face_id) == (None, "refused", forged.face_id)
    assert most_similar([(forged.image, other), (forged.image, bona_fide)]) == 1
    assert most_similar([(np.ascontiguousarray(forged.image[::-1]), other)]) is None


def test_forgeries_whose_bona_fide_was_dropped_are_found() -> None:
    face_ids = ["a", "b", "c", "forged a", "forged b", "forged c", "forged elsewhere"]
    pair_ids = [None, None, None, "a", "b", "c", "not there"]
    splits = ["train", "train", "test", "train", "train", "train", "train"]
    kept = [True, False, True, True, True, True, True]
    assert forgeries_without_pair(face_ids, pair_ids, splits, kept) == [4, 5, 6]
