"""Find near-duplicates: copies of a picture that were recompressed, resized or cropped slightly differently."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfa_instruct.records import Pixels

HASH_SIDE = 16
NEAR = 40
"""The largest number of different bits, of 256, between near-duplicates. It was measured on aligned photographs: the
hash of a copy that is a third smaller and a JPEG of quality 60 differs in 20 bits (four of five copies stay within 40),
and the hashes of two people in at least 76."""


def perceptual_hash(image: Pixels) -> bytes:
    """Return a hash of 256 bits that changes little under compression and resizing.

    Its bits are the signs of the lowest frequencies of the discrete cosine transform.
    """
    import imagehash

    small = cv2.resize(image, (4 * HASH_SIDE, 4 * HASH_SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(imagehash.phash(Image.fromarray(small), hash_size=HASH_SIDE).hash).tobytes()


def exact_duplicates(face_ids: Sequence[str], preferred: Sequence[bool]) -> list[int]:
    """Return the indices of the faces to drop so that no two faces have the same pixels, and so the same `face_id`.

    Args:
        face_ids: The `face_id` of each face.
        preferred: Whether to keep a face rather than its duplicates. Bona fide faces are preferred, because a forgery
            with the same pixels changed nothing.
    """
    seen: set[str] = set()
    duplicates = []
    for i in sorted(range(len(face_ids)), key=lambda i: not preferred[i]):
        if face_ids[i] in seen:
            duplicates.append(i)
        seen.add(face_ids[i])
    return duplicates


def near_duplicates(
    hashes: Sequence[bytes], groups: Sequence[int], distance: int = NEAR
) -> tuple[int, list[tuple[int, int]]]:
    """Find the copies to drop so that no two groups contain near-duplicates.

    Groups are processed in ascending order. A hash is a copy if it is near a hash of an earlier group that is not
    itself a copy. The search is exact, because approximate indices miss some hashes that differ in 40 of 256 bits. It
    compares every hash with those of its own and of all earlier groups, which takes 1.2 ns per comparison on one core.
    It keeps one pair per copy, so that memory grows only with the number of hashes.

    Args:
        hashes: The perceptual hashes.
        groups: The group of each hash.
        distance: The largest number of different bits between near-duplicates.

    Returns:
        The number of hashes that are not copies but have a near-duplicate in their own group, and one pair for each
        copy: the index of the nearest hash in an earlier group, and the index of the copy.
    """
    import faiss

    if not hashes:
        return 0, []
    packed = np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1)
    group = np.asarray(groups)
    bits = 8 * packed.shape[1]
    earlier = faiss.IndexBinaryFlat(bits)
    kept: NDArray[np.int64] = np.empty(0, np.int64)  # the indices of the hashes in `earlier`
    within_groups = 0
    copies: list[tuple[int, int]] = []
    for number in np.unique(group):
        own = np.flatnonzero(group == number)
        if len(kept):
            distances, nearest = (column[:, 0] for column in earlier.search(packed[own], 1))
            is_copy = distances <= distance
            copies += zip(kept[nearest[is_copy]].tolist(), own[is_copy].tolist(), strict=True)
            own = own[~is_copy]
        if not len(own):
            continue
        same_group = faiss.IndexBinaryFlat(bits)
        same_group.add(packed[own])
        distances, _ = same_group.search(packed[own], 2)  # the first result is the hash itself or an equal one
        within_groups += int((distances[:, 1] <= distance).sum())
        earlier.add(packed[own])
        kept = np.concatenate([kept, own])
    return within_groups, copies
