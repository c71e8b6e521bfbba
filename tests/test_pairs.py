"""Pairs: what is refused, and what loses its bona fide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dfa_instruct.pairs import left_alone, most_alike, parted, refused
from dfa_instruct.records import FaceRecord
from dfa_instruct.sources.portraits.drawing import draw_sample


@pytest.fixture(scope="module")
def faces() -> list[FaceRecord]:
    return list(draw_sample(identities=2, pictures=2))


def test_a_forgery_of_another_picture_is_refused(faces: list[FaceRecord]) -> None:
    bona_fide, other = faces[0], faces[2]
    forged = replace(bona_fide, image=bona_fide.image.copy(), label="forged", pair_id=bona_fide.face_id)
    assert forged.landmarks is not None
    left, top = forged.landmarks[48:68].min(0).astype(int)
    forged.image[top : top + 12, left : left + 30] = 90
    assert not refused(forged, bona_fide) and refused(forged, other)
    assert not refused(replace(forged, landmarks=None), replace(other, landmarks=None))  # nothing to tell it by
    alone = parted(forged)
    assert (alone.pair_id, alone.pairing, alone.face_id) == (None, "refused", forged.face_id)
    assert most_alike([(forged.image, other), (forged.image, bona_fide)]) == 1
    assert most_alike([(np.ascontiguousarray(forged.image[::-1]), other)]) is None


def test_a_forgery_stands_and_falls_with_its_bona_fide() -> None:
    face_ids = ["a", "b", "c", "forged a", "forged b", "forged c", "forged elsewhere"]
    pair_ids = [None, None, None, "a", "b", "c", "not there"]
    splits = ["train", "train", "test", "train", "train", "train", "train"]
    stands = [True, False, True, True, True, True, True]
    assert left_alone(face_ids, pair_ids, splits, stands) == [4, 5, 6]
