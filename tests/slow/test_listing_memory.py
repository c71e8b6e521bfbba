"""The memory that listing the files of a folder takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_three_times_the_files_take_little_more_memory(tmp_path: Path) -> None:
    """`tests/benchmarks/listing.py` measures this for a million and a half files."""
    for name, people in (("few", 1000), ("people", 3000)):
        for person in range(people):
            (folder := tmp_path / name / f"a person of the number {person:06d}").mkdir(parents=True)
            for picture in range(40):
                (folder / f"a picture of the number {picture:06d}.png").touch()
    program = (
        "import re, sys\nfrom pathlib import Path\n"
        "from dfa_instruct.construction.recipe import Recipe\n"
        "from dfa_instruct.construction.steps.list_items import ListItems\n"
        "from dfa_instruct.construction.work_folder import WorkFolder\n"
        "for name in ('few', 'people'):\n"
        "    recipe = Recipe([{'kind': 'folder', 'root': sys.argv[1] + '/' + name}])\n"
        "    ListItems(recipe, WorkFolder(Path(sys.argv[1], 'work', name))).run()\n"
        "    print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    few, many = map(int, done.stdout.split())
    assert many < 1.3 * few
