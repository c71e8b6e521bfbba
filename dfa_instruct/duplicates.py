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
BLOCK = 4096


def perceptual_hash(image: Pixels) -> bytes:
    """Sum a face up in 256 bits that survive compression and resizing (the signs of its slowest cosines)."""
    import imagehash

    small = cv2.resize(image, (4 * HASH_SIDE, 4 * HASH_SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(imagehash.phash(Image.fromarray(small), hash_size=HASH_SIDE).hash).tobytes()


def near_duplicates(
    hashes: Sequence[bytes], groups: Sequence[int], distance: int = NEAR
) -> tuple[int, list[tuple[int, int]]]:
    """Find the pairs of hashes that differ in at most `distance` bits.

    Every hash meets every other one, a block of `BLOCK` at a time: memory does not grow with their number.

    Returns:
        How many have such a twin in their own group, and the pairs (lower index first) that two groups share.
    """
    if not hashes:
        return 0, []
    packed = np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1)
    group = np.asarray(groups)
    inside = np.zeros(len(packed), bool)
    across: list[tuple[int, int]] = []
    nearest = (
        8 * packed.shape[1] - 2 * distance
    )  # the product of two rows of signs: bits that agree less those that don't
    for row in range(0, len(packed), BLOCK):
        rows = _signs(packed[row : row + BLOCK])
        for column in range(row, len(packed), BLOCK):
            first, second = np.nonzero(rows @ _signs(packed[column : column + BLOCK]).T >= nearest)
            first, second = first + row, second + column
            pairs = first < second
            first, second = first[pairs], second[pairs]
            same = group[first] == group[second]
            inside[first[same]] = inside[second[same]] = True
            across += zip(first[~same].tolist(), second[~same].tolist(), strict=True)
    return int(inside.sum()), across


def _signs(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
