"""Time and memory of finding near-duplicates among a million hashes, on one core.

    python tests/benchmarks/duplicates.py [HASHES]

Random hashes dealt out as the splits are, and one in ten of them a copy of another one, in which up to 40 of 256 bits
differ. The aim for a million: 15 minutes on two cores, 2 GB. The seconds are of the processor, which others may use,
too; with one thread the search takes as many of the clock where nobody does.
"""

from __future__ import annotations

import resource
import sys
import time

import faiss
import numpy as np

from dfa_instruct.duplicates import NEAR, near_duplicates
from dfa_instruct.splits import SHARES

HASHES = 1_000_000
COPIES = 0.1


def main() -> None:
    """Draw, search, and print what it took."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else HASHES
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (count, 32), np.uint8)
    of, copies = rng.permutation(count)[: 2 * int(COPIES * count)].reshape(2, -1)
    differing = np.arange(256) < rng.integers(0, NEAR + 1, (len(copies), 1))
    packed[copies] = packed[of] ^ np.packbits(rng.permuted(differing, axis=1), axis=1)
    groups = rng.choice(len(SHARES), count, p=list(SHARES.values())[::-1])
    hashes = [row.tobytes() for row in packed]
    crossing = int((groups[of] != groups[copies]).sum())
    del packed, differing

    faiss.omp_set_num_threads(1)
    began = time.process_time()
    inside, pairs = near_duplicates(hashes, groups.tolist())
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{count:,} hashes on one core: {seconds:.0f} s, {peak:.2f} GB at the most")
    print(f"{len(pairs):,} of {crossing:,} copies across splits found; {inside:,} have a twin in their own split")


if __name__ == "__main__":
    main()
