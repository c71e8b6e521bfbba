"""Measure the README's figures: run the quickstart with seeds 0, 1 and 2, and print the worst of three for each figure.

    python tests/benchmarks/quickstart.py
    python tests/benchmarks/quickstart.py runs/photographs --bona-fide PHOTOGRAPHS --synthesized GAN_FACES

A run takes six minutes on two free CPU cores. Complete runs in the folder (by default `runs/figures`) are not repeated;
remove the folder after a change of data or training. Options after the folder are passed to `dfa-gpt quickstart`.
The output is a table in Markdown, of which the README shows some rows. The baselines are those of the same run.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEEDS = (0, 1, 2)
BASELINES = ("majority", "image_blind", "images_swapped")
Results = dict[str, Any]
TURNS = [f"right_kind_turn_{turn}" for turn in range(1, 5)]


def of_task(task: str, metric: str) -> Callable[[Results, str | None], float | None]:
    """Return what reads a task's metric of the model, or of one of the baselines."""

    def read(results: Results, baseline: str | None) -> float | None:
        where = results["baselines"].get(baseline, {}) if baseline else results["tasks"]
        return where.get(f"dfa_bench_{task}", {}).get(metric)

    return read


def of_talk(metric: str, wording: str = "templates") -> Callable[[Results, str | None], float | None]:
    """Return what reads a conversation's metric."""
    return lambda results, baseline: results["conversation"].get(baseline or wording, {}).get(metric)


def of_worst_turn(wording: str) -> Callable[[Results, str | None], float | None]:
    """Return what reads the share of answers of the kind asked in the worst of the turns."""
    return lambda results, baseline: None if baseline else min(results["conversation"][wording][turn] for turn in TURNS)


def alone(read: Callable[[Results, str | None], float | None]) -> Callable[[Results, str | None], float | None]:
    """Return the same for the model only: of what a baseline says, the figure means nothing."""
    return lambda results, baseline: None if baseline else read(results, None)


def of_test(figure: str) -> Callable[[Results, str | None], float | None]:
    """Return what reads a figure of the calibrated verdict on the test split."""
    return lambda results, baseline: None if baseline else results["calibration"]["tested"][figure]


FIGURES: dict[str, tuple[Callable[[Results, str | None], float | None], bool]] = {
    "DF-D ACC": (of_task("dfd", "acc"), True),
    "DF-D ACER": (of_task("dfd", "acer"), False),
    "DF-C ACC": (of_task("dfc", "acc"), True),
    "DF-T ACC": (of_task("dft", "acc"), True),
    "AD ROUGE-L, forged faces": (of_task("ad", "rouge_l_forged"), True),
    "answers of the kind asked, templates' words": (alone(of_talk("right_kind")), True),
    "the same, in the worst of the four turns": (of_worst_turn("templates"), True),
    "answers of the kind asked, words of no template": (alone(of_talk("right_kind", "paraphrases")), True),
    "the same, in the worst of the four turns ": (of_worst_turn("paraphrases"), True),
    "balanced accuracy of the calibrated verdict": (of_test("balanced_acc"), True),
    "conversations that contradict themselves": (of_talk("contradictions"), False),
    "regions named that are in the evidence": (of_talk("region_precision"), True),
    "regions in the evidence that are named": (of_talk("region_recall"), True),
    "bona fide faces of which an artifact is claimed": (of_talk("false_claims"), False),
    "descriptions that name a region twice": (alone(of_talk("repeated")), False),
    "bona fide faces that JPEG or a shift by half a pixel turns": (of_test("turned_bona_fide"), False),
    "forged faces that JPEG or a shift by half a pixel turns": (of_test("turned_forged"), False),
}
"""Figure → how it is read, and whether more of it is better."""


def main(folder: Path, options: list[str]) -> None:
    """Run what is not there, with options of the quickstart, and print the table."""
    runs: list[Results] = []
    for seed in SEEDS:
        output = folder / f"seed-{seed}"
        if not (output / "results.json").is_file():
            command = [sys.executable, "-c", "from modeling_dfa_gpt.cli import app; app()", "quickstart"]
            subprocess.run([*command, "--output", str(output), "--seed", str(seed), *options], check=True)
        runs.append(json.loads((output / "results.json").read_text(encoding="utf-8")))
    print("| | DFA-GPT | majority or best constant | image blind | images swapped |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, (read, more) in FIGURES.items():
        worst = (min if more else max)(runs, key=lambda results: read(results, None) or 0.0)
        cells = [read(worst, baseline) for baseline in (None, *BASELINES)]
        said = ("" if cell is None or math.isnan(cell) else f"{cell:.2f}" for cell in cells)
        print(f"| {name.strip()} | {' | '.join(said)} |")
    print()
    for seed, results in zip(SEEDS, runs, strict=True):
        tested = results["calibration"]["tested"]
        print(f"seed {seed}: {results['seconds']['all'] / 60:.1f} minutes, {tested}, {results['counts']['bench']}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "runs/figures"), sys.argv[2:])
