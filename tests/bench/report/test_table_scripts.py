"""The scripts of the paper's tables contain every row of the paper, and call commands with valid options."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfa_instruct.bench.report.paper_tables import paper

RECIPES = Path(__file__).parents[3] / "recipes" / "dfa-bench"
STAND_IN = """#!{python}
# Stands in for the commands that a script calls: keeps what they are given, leaves results as a bench does.
import json, sys
from pathlib import Path

if sys.argv[1:2] != ["table"]:
    from typer.main import get_command
    from dfa_instruct.cli import app
    if Path(sys.argv[0]).name == "dfa-instruct":  # what the command does not know, it refuses
        command = get_command(app).commands[sys.argv[1]]
        command.make_context(sys.argv[1], sys.argv[2:])
    with Path({log!r}).open("a") as log:
        log.write(json.dumps([Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
    if "--output" in sys.argv:
        out = Path(sys.argv[sys.argv.index("--output") + 1])
        out.mkdir(parents=True)
        counts = dict.fromkeys(("bona_fide", "face_swapping", "face_reenactment", "face_editing"), 1)
        counts |= {{"entire_face_synthesis": 1, "images": 5, "forged": 4}}
        tasks = {{"dfa_bench_dfd": {{"acc": 50.0}}}}
        (out / "results.json").write_text(json.dumps({{"tasks": tasks, "counts": counts}}))
else:
    from dfa_instruct.cli import app
    app()
"""


def run(script: str, tmp_path: Path, *arguments: str, **environment: str) -> tuple[str, list[list[str]]]:
    """Run a script with stand-ins; return what it printed, and what it called beside `table`."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    for name in ("dfa-instruct", "accelerate"):
        command = tmp_path / "bin" / name
        command.write_text(STAND_IN.format(python=sys.executable, log=str(tmp_path / "log")))
        command.chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(RECIPES / script), str(tmp_path / "data"), *arguments],
        env={**os.environ, "PATH": path, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    log = tmp_path / "log"
    called = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return done.stdout, called


@pytest.mark.parametrize("number", [1, 3])
def test_every_row_of_the_paper_names_its_model(number: int) -> None:
    script = (RECIPES / f"table-{number}.sh").read_text()
    rows = dict(line.split()[1:3] for line in script.splitlines() if line.startswith("row "))
    printed = [name for name in paper()["tables"][number]["rows"] if name != "DFA-GPT"]
    assert list(rows)[: len(printed)] == printed
    models = {rows[name].removeprefix("openai:"): name for name in printed}
    assert models.items() <= paper()["models"].items()
    assert len(rows) > len(printed)


def test_table_1_runs_three_seeds_of_the_rows_asked_for_and_none_again(tmp_path: Path) -> None:
    printed, called = run("table-1.sh", tmp_path, ROWS="CLIP-L/14")
    assert [(call[1], call[2], call[call.index("--seed") + 1]) for call in called] == [
        ("probe", "openai/clip-vit-large-patch14", seed) for seed in "012"
    ]
    assert "| CLIP-L/14 (worst of 3) | 88.38 | 50.00 |" in printed and "| ResNet101 | 74.23 | not run |" in printed
    assert run("table-1.sh", tmp_path, ROWS="CLIP-L/14") == (printed, [])


def test_table_2_trains_and_measures_on_the_same_abilities(tmp_path: Path) -> None:
    printed, called = run("table-2.sh", tmp_path, "sft.yaml", "runs", "--max_steps", "1")
    assert [call[0] for call in called] == ["accelerate", "dfa-instruct"] * 4
    trained = called[2][called[2].index("--abilities") :]
    assert trained == ["--abilities", "df_d", "df_c", "--output_dir", "runs/D+C/adapter", "--max_steps", "1"]
    assert called[3][-2:] == ["--task=dfa_bench_dfd", "--task=dfa_bench_dfc"]
    assert "| D+C+AD+FC | 95.22 | 50.00 |" in printed


def test_table_3_asks_an_endpoint_where_a_row_says_so(tmp_path: Path) -> None:
    printed, called = run("table-3.sh", tmp_path, ROWS="GPT-4V LLaVA-1.5-7B", DFA_GPT="")
    assert [call[2] for call in called] == ["llava-hf/llava-1.5-7b-hf", "openai:gpt-4-vision-preview"]
    assert "| GPT-4V | 59.84 | 50.00 |" in printed and "| InternVL-1.2 | 53.67 | not run |" in printed
