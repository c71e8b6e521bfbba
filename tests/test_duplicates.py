"""Perceptual hashes, and near-duplicates within and across splits."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np

from dfa_instruct.duplicates import NEAR, exact_duplicates, near_duplicates, perceptual_hash
from dfa_instruct.sources.portraits.drawing import draw_sample


def test_a_copy_is_near_and_other_faces_are_not() -> None:
    faces = [face.image for face in draw_sample(identities=20, pictures=2)]
    encoded = cv2.imencode(".jpg", cv2.resize(faces[0], (90, 90)), [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    copy = cv2.resize(cv2.imdecode(encoded, cv2.IMREAD_COLOR), (128, 128))
    hashes = [perceptual_hash(image) for image in [*faces, copy]]
    assert near_duplicates(hashes, range(len(hashes))) == (0, [(0, len(faces))])
    assert near_duplicates(hashes, [0] * len(hashes)) == (2, [])


def test_the_same_copies_are_found_as_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (60, 32), np.uint8)
    flipped = rng.random((600, 256)) < rng.choice([0.0, 0.05, 0.1, 0.13], (600, 1))  # up to 40 bits apart, and beyond
    packed = base[rng.integers(0, 60, 600)] ^ np.packbits(flipped, axis=1)
    groups = rng.integers(0, 3, 600)
    near = np.bitwise_count(packed[:, None] ^ packed[None]).sum(axis=-1) <= NEAR
    copies = np.zeros(600, bool)
    for group in range(3):
        copies |= (groups == group) & (near & (groups < group) & ~copies).any(axis=1)
    alone = near & ~copies & (groups[:, None] == groups) & ~np.eye(600, dtype=bool)
    inside, pairs = near_duplicates([row.tobytes() for row in packed], groups.tolist())
    assert sorted(copy for _, copy in pairs) == np.flatnonzero(copies).tolist() != []
    assert all(near[pair] and groups[pair[0]] < groups[pair[1]] and not copies[pair[0]] for pair in pairs)
    assert inside == alone.any(axis=1)[~copies].sum() > 0


def test_thousands_of_equal_hashes_take_no_more_memory_than_others() -> None:
    """8,000 pictures of one frame have 32 million pairs, which would take several times the memory of all else."""
    peaks = {}
    for kind, hashes in (("alike", "bytes([n % 2]) + bytes(31)"), ("others", "random.randbytes(32)")):
        program = (
            "import random, resource\nfrom dfa_instruct.duplicates import near_duplicates\n"
            f"inside, pairs = near_duplicates([{hashes} for n in range(8000)], [n % 3 for n in range(8000)])\n"
            "print(inside, len(pairs), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        inside, pairs, peaks[kind] = map(int, done.stdout.split())
        assert kind == "others" or pairs == 8000 - inside == sum(n % 3 > 0 for n in range(8000))
    assert peaks["alike"] < 1.5 * peaks["others"]


def test_of_faces_with_the_same_pixels_a_bona_fide_one_is_kept() -> None:
    assert exact_duplicates(["a", "b", "a", "c", "a"], [False, True, True, True, False]) == [0, 4]
    assert exact_duplicates([], []) == []
