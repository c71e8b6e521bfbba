"""Builds on Ray and on Slurm write the bytes of a local one (about a minute)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe

COMMANDS = {
    "sbatch": """#!/bin/bash
script="${@: -1}"
tasks=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
for task in $(seq 0 "${tasks:-0}"); do
    export SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_NODELIST=localhost SLURM_NODEID=0
    bash "$script" >> "$(dirname "$0")/output" 2>&1
done
echo Submitted batch job 7
""",
    "srun": """#!/bin/bash
exec "${@:4}" # after -l -n 1
""",
    "squeue": "#!/bin/bash\n",
    "scontrol": "#!/bin/bash\necho localhost\n",
}
"""Slurm's commands on a machine without it: a job runs at once, here, one task after the other."""


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_on_ray(small_recipe: Recipe, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="needs ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    build(replace(small_recipe, output=str(tmp_path / "dfa-instruct")), workers=2, executor="ray")
    assert content(tmp_path / "dfa-instruct") == content(dataset_folder)


def test_on_slurm(small_recipe: Recipe, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, program in COMMANDS.items():
        (commands / name).write_text(program)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")  # the environment that we run in is not active
    slurm = {"time": "00:10:00", "partition": "cpu"}
    build(replace(small_recipe, slurm=slurm, output=str(tmp_path / "dfa-instruct")), executor="slurm")
    assert content(tmp_path / "dfa-instruct") == content(dataset_folder)
