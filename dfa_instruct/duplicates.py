"""Near-duplicates: the same picture again, recompressed, resized or cut a little differently."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfa_instruct.records import Pixels

HASH_SIDE = 16
NEAR = 40
"""Of 256 bits, how many may differ. Measured on aligned photographs: of one shrunk by a third and saved as JPEG of
quality 60, 20 differ (four of five copies stay within 40); of two different people's, 76 at the least."""


def perceptual_hash(image: Pixels) -> bytes:
    """Sum a face up in 256 bits that survive compression and resizing (the signs of its slowest cosines)."""
    import imagehash

    small = cv2.resize(image, (4 * HASH_SIDE, 4 * HASH_SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(imagehash.phash(Image.fromarray(small), hash_size=HASH_SIDE).hash).tobytes()


def same_pixels(face_ids: Sequence[str], first: Sequence[bool]) -> list[int]:
    """Find all faces but one of those that have the same pixels, and so the same `face_id`.

    Args:
        face_ids: of the faces.
        first: those that stay rather than others: bona fide ones, for a forgery that changed nothing is none.
    """
    seen: set[str] = set()
    again = []
    for i in sorted(range(len(face_ids)), key=lambda i: not first[i]):
        if face_ids[i] in seen:
            again.append(i)
        seen.add(face_ids[i])
    return again


def near_duplicates(
    hashes: Sequence[bytes], groups: Sequence[int], distance: int = NEAR
) -> tuple[int, list[tuple[int, int]]]:
    """Find the copies that must go so that no two groups hold twins: hashes that differ in `distance` bits at most.

    Groups count in the order of their numbers: a copy is what has a twin in a group before its own that is not a copy
    itself. The search is exact, for no index finds twins that are 40 of 256 bits apart for certain and sooner: every
    hash meets those of its own group and of the groups before, at 1.2 ns a pair on one core. No pair is kept but one
    a copy, so that memory grows with the number of hashes, however many of them are alike.

    Returns:
        How many that are not copies have a twin in their own group, and each copy (second) with its nearest twin
        (first), in the order of the groups.
    """
    import faiss

    if not hashes:
        return 0, []
    packed = np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1)
    group = np.asarray(groups)
    bits = 8 * packed.shape[1]
    before = faiss.IndexBinaryFlat(bits)
    standing: NDArray[np.int64] = np.empty(0, np.int64)
    inside = 0
    copies: list[tuple[int, int]] = []
    for number in np.unique(group):
        own = np.flatnonzero(group == number)
        if len(standing):
            differ, nearest = (column[:, 0] for column in before.search(packed[own], 1))
            copied = differ <= distance
            copies += zip(standing[nearest[copied]].tolist(), own[copied].tolist(), strict=True)
            own = own[~copied]
        if not len(own):
            continue
        alike = faiss.IndexBinaryFlat(bits)
        alike.add(packed[own])
        differ, _ = alike.search(packed[own], 2)  # the first is the hash itself, or as good
        inside += int((differ[:, 1] <= distance).sum())
        before.add(packed[own])
        standing = np.concatenate([standing, own])
    return inside, copies
