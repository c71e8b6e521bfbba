"""The whole chain once: faces, forgeries, dataset, base, adapter, DFA-Bench, report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from dfa_instruct.dataset import DATASET_NAME, DIRECTORY_ENV

PARTS = frozenset({DATASET_NAME, "base", "adapter", "results.json", "report.md", "images"})
"""What an output folder of the quickstart holds."""
FORGERIES_PER_PHOTOGRAPH = 4.0
"""Photographs are few: each is forged once in every category."""
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""For glibc: large tensors are not given back to the system and faulted in anew at every step."""
BENCH_IMAGES = 240
RECIPES = files("modeling_dfa_gpt.recipes")


def quickstart(bona_fide: Path | None, synthesized: Path | None, output: Path, seed: int) -> None:
    """Run every step into `output`, with a progress bar each, and print a closing table.

    Args:
        bona_fide: a folder of photographs; none: the embedded sample.
        synthesized: a folder of images that a generator made; none: eigenfaces are sampled.
        output: the folder for everything; a quickstart's folder is replaced, any other refused.
        seed: of every step.

    Raises:
        FileExistsError: the output folder holds something else.
        FileNotFoundError, ValueError: an input folder is missing, empty or unusable.
        subprocess.CalledProcessError: a training failed.
    """
    refuse_foreign(output)
    seconds: dict[str, float] = {}

    def timed(step: str, run: Callable[[], Any]) -> Any:
        print(f"\n{step}", flush=True)
        start = time.perf_counter()
        result = run()
        seconds[step] = round(time.perf_counter() - start, 1)
        return result

    data, base, adapter = output / DATASET_NAME, output / "base", output / "adapter"
    construction = timed("Build DFA-Instruct", lambda: build_dataset(bona_fide, synthesized, data, seed))

    from datasets import load_dataset

    from modeling_dfa_gpt.base import make_tiny_base

    with tempfile.TemporaryDirectory() as scratch:
        initial = Path(scratch) / "initial"
        split = load_dataset(DATASET_NAME, data_dir=str(data), split="train")
        timed("Make the tiny base", lambda: make_tiny_base(split, initial, seed=seed))
        timed("Train the base whole", lambda: train("pretrain", initial, base, data, seed))
    timed("Train the adapter", lambda: train("sft", base, adapter, data, seed))

    from dfa_instruct.bench.baselines import baselines
    from dfa_instruct.bench.runner import load_model, run_bench
    from modeling_dfa_gpt.report import print_summary, write_report

    model = load_model(adapter)
    bench = timed("Run DFA-Bench", lambda: run_bench(model, data, limit=BENCH_IMAGES))
    beside = timed("Run its baselines", lambda: baselines(model, data, limit=BENCH_IMAGES, seed=seed))

    statistics = construction.statistics
    results = {
        "tasks": bench["tasks"],
        "details": bench["details"],
        "baselines": beside,
        "counts": {
            "images": {s: statistics.images_of(split=s) for s in statistics.identities},
            "identities": {s: len(names) for s, names in statistics.identities.items()},
            "questions": dict(statistics.questions),
            "techniques": {technique: n for (_, technique), n in sorted(statistics.techniques.items())},
            "dropped": dict(construction.dropped),
            "bench": bench["counts"],
        },
        "seconds": {**seconds, "all": round(sum(seconds.values()), 1)},
    }
    (output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    write_report(output, results, bench["predictions"])
    print_summary(output, results)


def refuse_foreign(output: Path) -> None:
    """Raise FileExistsError where the output folder holds anything that a quickstart does not write."""
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file; expected a folder that can be made")
    beside = (f"{DATASET_NAME}.build", f"{DATASET_NAME}.dropped.csv")
    foreign = sorted(p.name for p in output.iterdir() if p.name not in (*PARTS, *beside)) if output.is_dir() else []
    if foreign:
        raise FileExistsError(
            f"{output} holds something else ({', '.join(foreign[:3])}); name an empty or a new folder"
        )


def build_dataset(bona_fide: Path | None, synthesized: Path | None, folder: Path, seed: int) -> Any:
    """Build the dataset folder from the sample or from photographs; return what was written and dropped."""
    from dfa_instruct.pipeline import build
    from dfa_instruct.recipe import SAMPLE_IDENTITIES, SAMPLE_PICTURES, sample_recipe
    from dfa_instruct.sources.media import find_images

    recipe = replace(sample_recipe(folder, seed=seed), several_faces="fail", least_aligned=0.0)
    if bona_fide is not None:
        pictures = len(find_images(bona_fide))
        photographs = {"kind": "folder", "root": str(bona_fide), "name": "bona_fide"}
        recipe = replace(recipe, sources=[photographs], forgeries_per_face=FORGERIES_PER_PHOTOGRAPH)
    if synthesized is not None:
        find_images(synthesized)
        images = {"kind": "folder", "root": str(synthesized), "category": "entire_face_synthesis"}
        recipe = replace(
            recipe,
            sources=[*recipe.sources, {**images, "technique": synthesized.resolve().name, "name": "synthesized"}],
            most_images=pictures if bona_fide is not None else SAMPLE_IDENTITIES * SAMPLE_PICTURES,
            techniques=[name for name in recipe.techniques if name != "eigenface"],
            forgeries_per_face=recipe.forgeries_per_face * 3 / 4,  # the fourth category is there already
        )
    return build(recipe)


def train(recipe: str, model: Path, output: Path, data: Path, seed: int) -> None:
    """Run one of the tiny recipes as a user would, by `accelerate launch`."""
    with as_file(RECIPES) as recipes:
        subprocess.run(
            [sys.executable, "-m", "accelerate.commands.launch", "--quiet"]
            + ["--config_file", str(recipes / "accelerate_configs" / "cpu.yaml"), "-m", "modeling_dfa_gpt.sft"]
            + ["--config", str(recipes / "dfa-gpt-tiny" / f"{recipe}.yaml")]
            + ["--model_name_or_path", str(model.resolve()), "--output_dir", str(output), "--seed", str(seed)],
            env={**os.environ, **KEEP_MEMORY, DIRECTORY_ENV: str(data)},
            check=True,
        )
