"""Perceptual hashes and near-duplicates, inside splits and across."""

from __future__ import annotations

import cv2
import numpy as np

from dfa_instruct.duplicates import NEAR, near_duplicates, perceptual_hash
from dfa_instruct.sample import draw_sample


def test_a_copy_is_near_and_other_faces_are_not() -> None:
    faces = [face.image for face in draw_sample(identities=20, pictures=2)]
    encoded = cv2.imencode(".jpg", cv2.resize(faces[0], (90, 90)), [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    copy = cv2.resize(cv2.imdecode(encoded, cv2.IMREAD_COLOR), (128, 128))
    hashes = [perceptual_hash(image) for image in [*faces, copy]]
    assert near_duplicates(hashes, range(len(hashes))) == (0, [(0, len(faces))])
    assert near_duplicates(hashes, [0] * len(hashes)) == (2, [])


def test_blocks_find_what_brute_force_finds(monkeypatch) -> None:
    monkeypatch.setattr("dfa_instruct.duplicates.BLOCK", 7)
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (10, 32), np.uint8)
    hashes = [bytes(base[i % 10] ^ (rng.random(32) < 0.3 * (i // 10)).astype(np.uint8)) for i in range(30)]
    groups = [i % 3 for i in range(30)]

    def differ(i: int, j: int) -> int:
        return sum((a ^ b).bit_count() for a, b in zip(hashes[i], hashes[j], strict=True))

    near = [(i, j) for i in range(30) for j in range(i + 1, 30) if differ(i, j) <= NEAR]
    inside, across = near_duplicates(hashes, groups)
    assert sorted(across) == [(i, j) for i, j in near if groups[i] != groups[j]] != []
    assert inside == len({k for i, j in near if groups[i] == groups[j] for k in (i, j)})
