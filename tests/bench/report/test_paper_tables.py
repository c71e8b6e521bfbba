"""The paper's tables with our figures beside them, as a person gets them from the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dfa_instruct.cli import app

COUNTS = {"images": 10, "forged": 6, "bona_fide": 4, "face_swapping": 5}
COUNTS |= {"face_reenactment": 1, "face_editing": 0, "entire_face_synthesis": 0}


def results(folder: Path, acc: float, *, ad: float | None = None, **known: object) -> Path:
    folder.mkdir()
    tasks: dict[str, Any] = {
        "dfa_bench_dfd": {"acc": acc, "err": 100 - acc, "acer": 90 - acc, "invalid": 0},
        "dfa_bench_dfc": {"acc": acc / 2, "invalid": 0},
    }
    if ad is not None:
        tasks["dfa_bench_ad"] = {"rouge_l": ad, "rouge_l_forged": 1}
    (folder / "results.json").write_text(json.dumps({**known, "tasks": tasks, "counts": COUNTS}))
    return folder


def printed(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["table", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def cells(text: str, row: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_papers_figures_stand_where_nothing_was_run() -> None:
    for number, row, figures in (
        (1, "CLIP-L/14", ["88.38", "11.62", "11.81", "81.51", "–"]),
        (2, "D+C+AD", ["95.75", "4.25", "4.46", "92.87", "42.72"]),
        (3, "GPT-4V", ["59.84", "40.16", "49.43", "20.06", "21.56"]),
    ):
        found = cells(printed(number), row)
        assert found[::2] == figures
        assert found[1::2] == ["–" if figure == "–" else "not run" for figure in figures]


def test_every_row_of_the_paper_has_an_error_rate_that_fits_its_accuracy() -> None:
    for number in (1, 2, 3):
        rows = [line for line in printed(number).splitlines() if re.match(r"\| \w.* \d", line)]
        assert len(rows) == {1: 6, 2: 4, 3: 6}[number]
        for row in rows:
            acc, err = (float(cell) for cell in (row.split("|")[2], row.split("|")[4]))
            assert acc + err == pytest.approx(100)


def test_a_result_stands_in_the_row_of_its_model_or_in_the_row_it_is_given(tmp_path: Path) -> None:
    known = results(tmp_path / "a", 80, model="openai/clip-vit-large-patch14")
    given = results(tmp_path / "b", 70, model="models/mine")
    other = results(tmp_path / "dinov2-small", 60)
    text = printed(1, known, f"ResNet101={given}", other / "results.json")
    assert cells(text, "CLIP-L/14")[1::2] == ["80.00", "20.00", "10.00", "40.00", "–"]
    assert cells(text, "ResNet101")[1::2] == ["70.00", "30.00", "20.00", "35.00", "–"]
    assert cells(text, "dinov2-small") == ["–", "60.00", "–", "40.00", "–", "30.00", "–", "30.00", "–", "–"]
    assert cells(text, "DFA-GPT")[1::2] == ["not run"] * 5
    # Six of ten are forged, five of ten swapped: what a constant answer gets.
    assert cells(text, "always the most frequent answer (10 faces)")[1::2] == ["60.00", "40.00", "50.00", "50.00", "–"]
    assert "CLIP-L/14: openai/clip-vit-large-patch14, 10 test faces, 6 of them forged." in text


def test_a_small_model_is_not_taken_for_the_papers(tmp_path: Path) -> None:
    text = printed(3, f"DFA-GPT={results(tmp_path / 'a', 98, model='adapter', weights=3_512_000)}")
    assert "DFA-GPT: adapter of 3.5 M weights, 10 test faces, 6 of them forged." in text


def test_of_several_seeds_the_worst_stands(tmp_path: Path) -> None:
    runs = [f"D+C+AD={results(tmp_path / str(n), acc, ad=ad)}" for n, (acc, ad) in enumerate(((80, 30), (70, 40)))]
    assert cells(printed(2, *runs), "D+C+AD (worst of 2)")[1::2] == ["70.00", "30.00", "20.00", "35.00", "30.00"]
    lacking = f"D+C+AD={results(tmp_path / 'lacking', 90)}"
    assert cells(printed(2, *runs, lacking), "D+C+AD (worst of 3)")[-1] == "not run"


def test_latex_has_as_many_cells_in_every_row_and_escapes_names(tmp_path: Path) -> None:
    text = printed(1, f"50_% & more={results(tmp_path / 'a', 80)}", "--format", "latex")
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {10}
    assert r"50\_\% \& more & -- & 80.00" in text
    assert r"ResNet101 & 74.23 & \emph{not run}" in text
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), ("{", "not the results of a bench"), ('{"tasks": 3}', "not the results of a bench")],
)
def test_what_is_no_result_is_named_in_one_line(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    done = CliRunner().invoke(app, ["table", "1", str(tmp_path)])
    assert done.exit_code == 2
    assert said in done.stderr and "results.json" in done.stderr and done.stderr.count("\n") == 1
