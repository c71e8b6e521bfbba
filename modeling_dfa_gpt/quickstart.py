"""Run all steps once on a small scale: dataset, adapter, calibration, DFA-Bench and report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dfa_instruct.dataset import DATASET_NAME
from modeling_dfa_gpt.bases import PHOTO_BASE, TINY_BASE
from modeling_dfa_gpt.hub.card import RESULTS_FILE, Base, model_card
from modeling_dfa_gpt.quickstart_recipe import Given, quickstart_recipe

OUTPUTS = frozenset(
    {DATASET_NAME, "views", "base", "adapter", "results.json", "predictions.parquet", "conversations.jsonl"}
    | {"report.md", "images"}
)
"""The files and folders that the quickstart writes."""
OWN_FACES_STEPS = (120, 300)
"""The range of the number of training steps on given faces: more than in the recipe, as the vision tower has just
changed. See `modeling_dfa_gpt.bases.teach.steps_for`."""
BENCH_IMAGES = 240
MIN_TEST_FACES = 10
"""The fewest bona fide and the fewest forged faces of a test split on which a model is measured."""


class Timer:
    """Run named steps and record the `seconds` that each takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """Print the name of a step, run it and return its result."""
        print(f"\n{name}", flush=True)
        start = time.perf_counter()
        result = work()
        self.seconds[name] = round(time.perf_counter() - start, 1)
        return result


def quickstart(given: Given, output: Path, seed: int) -> None:
    """Run all steps and print a summary.

    Args:
        given: The faces to use.
        output: The folder for all results. Results of an earlier quickstart are replaced.
        seed: The seed of all steps.

    Raises:
        FileExistsError: The output folder contains other files.
        FileNotFoundError, ValueError: An input folder is missing, empty or unusable, or gives too few faces to test on.
        subprocess.CalledProcessError: The training failed.
    """
    check_output(output)
    timer = Timer()
    data, base, adapter = output / DATASET_NAME, output / "base", output / "adapter"
    construction = timer.run("Build DFA-Instruct", lambda: build_dataset(given, output, seed))

    from modeling_dfa_gpt.launch import launch_training

    if given == Given():
        shutil.copytree(TINY_BASE, base, dirs_exist_ok=True)
        max_steps = None
    else:
        from datasets import load_dataset

        from modeling_dfa_gpt.bases.teach import steps_for, teach_base

        shutil.rmtree(base, ignore_errors=True)
        timer.run("Teach the vision tower these faces", lambda: teach_base(PHOTO_BASE, data, base, seed=seed))
        train = load_dataset(DATASET_NAME, data_dir=str(data), split="train")
        max_steps = steps_for(train, *OWN_FACES_STEPS)
    timer.run("Train the adapter", lambda: launch_training("dfa-gpt-tiny/sft", base, adapter, data, seed, max_steps))

    from dfa_instruct.bench.bench_model import BenchModel
    from dfa_instruct.bench.experiments.baselines import baselines
    from dfa_instruct.bench.experiments.conversation import run_conversation
    from dfa_instruct.bench.results import write_results
    from dfa_instruct.bench.runner import run_bench
    from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
    from modeling_dfa_gpt.calibration import calibrate
    from modeling_dfa_gpt.dfa_gpt import DfaGpt
    from modeling_dfa_gpt.domain import KnownFaces
    from modeling_dfa_gpt.forgery_map import ForgeryMap
    from modeling_dfa_gpt.quickstart_report import print_summary, write_report

    loaded = DfaGpt.from_pretrained(adapter)
    calibration = timer.run("Calibrate the verdict", lambda: calibrate(loaded, data, limit=BENCH_IMAGES))
    calibration.write(adapter)
    if known_faces := KnownFaces.learn(data):
        known_faces.write(adapter)
    if forgery_map := timer.run("Learn where faces are changed", lambda: ForgeryMap.learn(loaded, data)):
        forgery_map.write(adapter)
    model = BenchModel(VisionLanguageModel(adapter))
    bench = timer.run("Run DFA-Bench", lambda: run_bench(model, data, limit=BENCH_IMAGES))
    baseline_results = timer.run("Run the baselines", lambda: baselines(model, data, limit=BENCH_IMAGES, seed=seed))
    conversation, conversations = timer.run(
        "Hold conversations about the faces", lambda: run_conversation(model, data, limit=BENCH_IMAGES, seed=seed)
    )

    results = {
        **bench,
        "weights": model.model.weights,
        "baselines": baseline_results,
        "conversation": conversation,
        "talks": conversations,
        "calibration": asdict(calibration),
        "localisation": forgery_map.measure(loaded, data) if forgery_map else {},
        "counts": {**count_built(construction), "bench": bench["counts"]},
        "seconds": {**timer.seconds, "all": round(sum(timer.seconds.values()), 1)},
    }
    write_results(results, output)
    kind = "tiny base" if given == Given() else "base for photographs"
    base_entry = Base(f"the {kind} of this package", licence={"license": "apache-2.0"})
    model_card(adapter, base_entry, results).save(adapter / "README.md")
    shutil.copy(output / RESULTS_FILE, adapter)  # the Hub needs the results that the card states
    write_report(output, results, calibration)
    print_summary(output, results, calibration.warning())


def count_built(construction: Any) -> dict[str, Any]:
    """Return the numbers of images, people, questions and forgeries, and of images that were dropped."""
    statistics = construction.statistics
    return {
        "images": {s: statistics.images_of(split=s) for s in statistics.identities},
        "identities": {s: len(names) for s, names in statistics.identities.items()},
        "questions": dict(statistics.questions),
        "techniques": {technique: n for (_, technique), n in sorted(statistics.techniques.items())},
        "dropped": dict(construction.dropped),
    }


def check_output(output: Path) -> None:
    """Raise FileExistsError if the output folder contains anything that a quickstart does not write."""
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file; expected a folder")
    known = {*OUTPUTS, f"{DATASET_NAME}.build", f"{DATASET_NAME}.dropped.csv", "base.work"}
    foreign = sorted({path.name for path in output.iterdir()} - known) if output.is_dir() else []
    if foreign:
        raise FileExistsError(f"{output} contains other files ({', '.join(foreign[:3])}); use an empty or a new folder")


def build_dataset(given: Given, output: Path, seed: int) -> Any:
    """Build the dataset folder, and return the report of the construction.

    Raises:
        ValueError: The test split has too few faces.
    """
    from dfa_instruct.construction.pipeline import build

    construction = build(quickstart_recipe(given, output, seed))
    bona_fide = construction.statistics.images_of("test", "bona_fide")
    forged = construction.statistics.images_of("test") - bona_fide
    if min(bona_fide, forged) < MIN_TEST_FACES:
        raise ValueError(
            f"{output / DATASET_NAME}: the test split has {bona_fide} bona fide and {forged} forged faces; expected at "
            f"least {MIN_TEST_FACES} of each: give faces of more people, of whom about a fifth are for testing"
        )
    return construction
