"""Measure the figures for real faces in the README.

For each set and each of three seeds, a quickstart is run, which tests on 240 images. A plain detector (`dfa-instruct
probe --tune`) is trained on the same rows and tested on the whole test split:

    DFA_REAL_FACES=FOLDER python tests/benchmarks/real_faces.py [SET …]

A set whose files are not in FOLDER is named and left out. `faces.csv` is a table as `dfa_instruct.sources.folder` reads
it. Complete runs in `runs/figures` are not repeated. A seed also chooses the people of the test split. The AUC of DF-D,
the accuracy of DF-C and the region recall are the worst of the three seeds. The figures beside each of them (videos,
plain detector, baselines) are from the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modeling_dfa_gpt.bases import PHOTO_BASE

SEEDS = (0, 1, 2)
SETS: dict[str, dict[str, str]] = {
    "ffpp": {"--faceforensics": "ffpp"},
    "rvf140k": {"--bona-fide": "rvf140k/real", "--synthesized": "rvf140k/synthesis-stylegan"},
    "ddvqa": {"--forged": "ddvqa/faces.csv"},
    "ciplab": {"--forged": "ciplab/faces.csv"},
}
"""Set → the options of `dfa-gpt quickstart`, with paths below `DFA_REAL_FACES`."""
EPOCHS = 3
"""The epochs of the plain detector. It then sees about as many images as the vision tower does in the quickstart."""
COLUMNS = (
    "AUC of DF-D",
    "of videos",
    "plain detector",
    "DF-C",
    "majority",
    "plain detector",
    "region recall",
    "image blind",
    "images swapped",
)
Run = tuple[dict[str, Any], dict[str, Any]]
"""The results of a quickstart and the results of the plain detector."""


def main(names: list[str]) -> None:
    """Run the quickstarts and plain detectors whose results are missing, and print the table."""
    given = os.environ.get("DFA_REAL_FACES")
    if not given:
        print("real faces: left out, because DFA_REAL_FACES does not name the folder of the sets", file=sys.stderr)
        return
    if unknown := set(names) - set(SETS):
        raise SystemExit(f"{unknown.pop()}: expected some of {', '.join(SETS)}")
    print(f"| set | {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * len(COLUMNS)}")
    for name in names or SETS:
        options = {option: Path(given, path) for option, path in SETS[name].items()}
        if missing := [path for path in options.values() if not path.exists()]:
            print(f"{name}: left out, because {missing[0]} does not exist", file=sys.stderr)
            continue
        runs = [run(Path("runs/figures") / name, options, seed) for seed in SEEDS]
        print(f"| {name} | {' | '.join('' if cell is None else f'{cell:.1f}' for cell in cells(runs))} |", flush=True)


def run(folder: Path, options: dict[str, Path], seed: int) -> Run:
    """Return the results of the quickstart and the plain detector with one seed. Run them if there are none yet."""
    mine, plain = folder / f"seed-{seed}", folder / f"plain-{seed}"
    data = [*("--data", mine / "dfa-instruct"), *("--output", plain)]
    for output, program, arguments in (
        (mine, "modeling_dfa_gpt", ["quickstart", *sum(options.items(), ()), "--output", mine]),
        (plain, "dfa_instruct", ["probe", PHOTO_BASE, "--tune", "--epochs", EPOCHS, *data]),
    ):
        if not (output / "results.json").is_file():
            command = [sys.executable, "-c", f"from {program}.cli import app; app()", *arguments, "--seed", seed]
            subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)
    first, second = (json.loads((output / "results.json").read_text(encoding="utf-8")) for output in (mine, plain))
    return first, second


def cells(runs: list[Run]) -> list[float | None]:
    """Return the figures of a set in the order of `COLUMNS`."""

    def auc(results: dict[str, Any], of: str = "probabilities") -> float | None:
        return results["scores"].get(of, {}).get("auc")

    def dfc(results: dict[str, Any]) -> float:
        return results["tasks"]["dfa_bench_dfc"]["acc"]

    def recall(results: dict[str, Any], of: str = "templates") -> float:
        return results["conversation"][of]["region_recall"]

    def worst(figure: Callable[[Run], float | None]) -> Run:
        return min(runs, key=lambda run: figure(run) or 0.0)

    by_auc, by_dfc = worst(lambda run: auc(run[0])), worst(lambda run: dfc(run[0]))
    by_recall = worst(lambda run: recall(run[0]))[0]
    return [
        auc(by_auc[0]),
        auc(by_auc[0], "videos"),
        auc(by_auc[1]),
        dfc(by_dfc[0]),
        by_dfc[0]["baselines"]["majority"]["dfa_bench_dfc"]["acc"],
        dfc(by_dfc[1]),
        *(recall(by_recall, of) for of in ("templates", "image_blind", "images_swapped")),
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
