"""The whole chain once: faces, forgeries, dataset, adapter, calibration, DFA-Bench, report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dfa_instruct.dataset import DATASET_NAME
from modeling_dfa_gpt.bases import TINY_BASE
from modeling_dfa_gpt.hub.card import RESULTS_FILE, Base, model_card

PARTS = frozenset(
    {DATASET_NAME, "views", "base", "adapter", "results.json", "predictions.parquet", "conversations.jsonl"}
    | {"report.md", "images"}
)
"""What an output folder of the quickstart may hold."""
VIEWED = 800
"""Where there are fewer photographs than this, so many views are made of all of them together."""
STEPS_ON_PHOTOGRAPHS = 200
"""Of training: the base has read drawn portraits only, and is further from photographs than the recipe's steps go."""
BENCH_IMAGES = 240


class Steps:
    """Announces each step, runs it, and keeps how many `seconds` it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """Run one step and return its result."""
        print(f"\n{name}", flush=True)
        start = time.perf_counter()
        result = work()
        self.seconds[name] = round(time.perf_counter() - start, 1)
        return result


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
    steps = Steps()
    data, base, adapter = output / DATASET_NAME, output / "base", output / "adapter"
    construction = steps.run("Build DFA-Instruct", lambda: build_dataset(bona_fide, synthesized, output, seed))

    from modeling_dfa_gpt.launch import launch_training

    shutil.copytree(TINY_BASE, base, dirs_exist_ok=True)
    length = STEPS_ON_PHOTOGRAPHS if bona_fide else None
    steps.run("Train the adapter", lambda: launch_training("sft", base, adapter, data, seed, length))

    from dfa_instruct.bench.bench_model import BenchModel
    from dfa_instruct.bench.experiments.baselines import baselines
    from dfa_instruct.bench.experiments.conversation import run_conversation
    from dfa_instruct.bench.results import write_results
    from dfa_instruct.bench.runner import run_bench
    from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
    from modeling_dfa_gpt.calibration import calibrate
    from modeling_dfa_gpt.dfa_gpt import DfaGpt
    from modeling_dfa_gpt.domain import KnownFaces
    from modeling_dfa_gpt.quickstart_report import print_summary, write_report

    loaded = DfaGpt.from_pretrained(adapter)
    calibration = steps.run("Calibrate the verdict", lambda: calibrate(loaded, data, limit=BENCH_IMAGES))
    calibration.write(adapter)
    if known_faces := KnownFaces.learn(data):
        known_faces.write(adapter)
    model = BenchModel(VisionLanguageModel(adapter))
    bench = steps.run("Run DFA-Bench", lambda: run_bench(model, data, limit=BENCH_IMAGES))
    beside = steps.run("Run its baselines", lambda: baselines(model, data, limit=BENCH_IMAGES, seed=seed))
    talk, talks = steps.run(
        "Talk about the faces", lambda: run_conversation(model, data, limit=BENCH_IMAGES, seed=seed)
    )

    results = {
        "weights": model.model.weights,
        "warnings": bench["warnings"],
        "tasks": bench["tasks"],
        "details": bench["details"],
        "answers": bench["answers"],
        "scores": bench["scores"],
        "baselines": beside,
        "conversation": talk,
        "calibration": asdict(calibration),
        "counts": {**count(construction), "bench": bench["counts"]},
        "seconds": {**steps.seconds, "all": round(sum(steps.seconds.values()), 1)},
    }
    write_results({**results, "predictions": bench["predictions"], "talks": talks}, output)
    carried = Base("the tiny base of this package", licence={"license": "apache-2.0"})
    model_card(adapter, carried, results).save(adapter / "README.md")
    shutil.copy(output / RESULTS_FILE, adapter)  # what a card on the Hub says goes with it
    write_report(output, results, bench["predictions"], calibration)
    print_summary(output, results, calibration.warning())


def count(construction: Any) -> dict[str, Any]:
    """Count what was built: images, people and questions, forgeries by technique, and what was dropped."""
    statistics = construction.statistics
    return {
        "images": {s: statistics.images_of(split=s) for s in statistics.identities},
        "identities": {s: len(names) for s, names in statistics.identities.items()},
        "questions": dict(statistics.questions),
        "techniques": {technique: n for (_, technique), n in sorted(statistics.techniques.items())},
        "dropped": dict(construction.dropped),
    }


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


def build_dataset(bona_fide: Path | None, synthesized: Path | None, output: Path, seed: int) -> Any:
    """Build the dataset folder from the sample or from photographs; return what was written and dropped."""
    from dfa_instruct.construction.pipeline import build
    from dfa_instruct.construction.recipe import SAMPLE_IDENTITIES, SAMPLE_PICTURES, sample_recipe
    from dfa_instruct.face.detection import landmarker_path
    from dfa_instruct.sources.views import write_views
    from dfa_instruct.sources.walk import find_images

    recipe = replace(sample_recipe(output / DATASET_NAME, seed=seed), several_faces="fail", least_aligned=0.0)
    pictures = SAMPLE_IDENTITIES * SAMPLE_PICTURES
    if bona_fide is not None:
        pictures = len(find_images(bona_fide))
        landmarker_path()  # before anything is written
        root = bona_fide
        if (count := VIEWED // pictures) > 1:
            root = output / "views"
            shutil.rmtree(root, ignore_errors=True)
            write_views(bona_fide, root, count, seed)
            pictures *= count
        recipe = replace(recipe, sources=[{"kind": "folder", "root": str(root), "name": "bona_fide"}])
    if synthesized is not None:
        find_images(synthesized)
        images = {"kind": "folder", "root": str(synthesized), "category": "entire_face_synthesis"}
        recipe = replace(
            recipe,
            sources=[*recipe.sources, {**images, "technique": synthesized.resolve().name, "name": "synthesized"}],
            most_images=pictures,
            techniques=[name for name in recipe.techniques if name != "eigenface"],
            forgeries_per_face=recipe.forgeries_per_face * 3 / 4,  # the fourth category is there already
        )
    return build(recipe)
