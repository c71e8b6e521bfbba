"""Memory of the first step for a million and a half files: all that a source of one's own lists.

    python tests/benchmarks/listing.py [FILES]

Empty files of people with 40 pictures each; the aim is a gigabyte at the most.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.construction.steps.list_items import ListItems
from dfa_instruct.construction.work_folder import WorkFolder

FILES = 1_500_000
PICTURES = 40
AIM = 1e9


def main() -> None:
    """Make the files, list them, and print what it took."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "people")
        for person in range(count // PICTURES):
            (folder := root / f"a person of the number {person:06d}").mkdir(parents=True)
            for picture in range(PICTURES):
                (folder / f"a picture of the number {picture:06d}.png").touch()
        began = time.process_time()
        ListItems(Recipe([{"kind": "folder", "root": str(root)}]), WorkFolder(Path(scratch, "work"))).run()
        seconds = time.process_time() - began
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{count:,} files: {seconds:.0f} s, {peak / 1e9:.2f} GB at the most")
    if peak > AIM:
        raise SystemExit(f"expected at most {AIM / 1e9:.0f} GB")


if __name__ == "__main__":
    main()
