"""Run all steps once on a small scale: dataset, adapter, calibration, DFA-Bench and report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfa_instruct.dataset import DATASET_NAME
from modeling_dfa_gpt.bases import TINY_BASE
from modeling_dfa_gpt.hub.card import RESULTS_FILE, Base, model_card

if TYPE_CHECKING:
    from dfa_instruct.construction.recipe import Recipe

OUTPUTS = frozenset(
    {DATASET_NAME, "views", "base", "adapter", "results.json", "predictions.parquet", "conversations.jsonl"}
    | {"report.md", "images"}
)
"""The files and folders that the quickstart writes."""
MIN_VIEWS = 800
"""If there are fewer photographs, several views of each are made, up to this total. As many frames are taken from the
bona fide videos of FaceForensics++."""
PHOTOGRAPH_STEPS = 200
"""The number of training steps on photographs: more than in the recipe, as the base was trained on drawn portraits."""
BENCH_IMAGES = 240
FACEFORENSICS_IMAGES = 300
"""The most images of each technique of FaceForensics++."""
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


@dataclass(frozen=True)
class Given:
    """The faces that the user gives. Without any, the embedded sample of drawn portraits is used.

    Args:
        bona_fide: A folder of photographs (and videos, with `forged`), with the pictures of a person in one subfolder.
        synthesized: A folder of images made by a generator. None: eigenfaces are sampled.
        forged: A folder with a subfolder for each technique, see `technique_of_folder`, or a CSV as
            `dfa_instruct.sources.folder` reads it, whose files are below its folder. Nothing else is forged.
        faceforensics: The root of FaceForensics++, instead of all others.
    """

    bona_fide: Path | None = None
    synthesized: Path | None = None
    forged: Path | None = None
    faceforensics: Path | None = None

    def __post_init__(self) -> None:
        if self.faceforensics and (self.bona_fide or self.synthesized or self.forged):
            raise ValueError("--faceforensics has bona fide and forged faces; give no other faces with it")
        if self.forged and not self.bona_fide and self.forged.suffix.lower() != ".csv":
            raise ValueError(f"--forged {self.forged}: give the bona fide faces too, with --bona-fide or in a CSV")
        for forged in (self.synthesized, self.forged):
            if self.bona_fide and forged and forged.resolve().is_relative_to(self.bona_fide.resolve()):
                raise ValueError(f"{forged}: expected it outside of {self.bona_fide}, whose faces are all bona fide")


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

    shutil.copytree(TINY_BASE, base, dirs_exist_ok=True)
    max_steps = PHOTOGRAPH_STEPS if given.bona_fide or given.forged or given.faceforensics else None
    timer.run("Train the adapter", lambda: launch_training("sft", base, adapter, data, seed, max_steps))

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
    calibration = timer.run("Calibrate the verdict", lambda: calibrate(loaded, data, limit=BENCH_IMAGES))
    calibration.write(adapter)
    if known_faces := KnownFaces.learn(data):
        known_faces.write(adapter)
    model = BenchModel(VisionLanguageModel(adapter))
    bench = timer.run("Run DFA-Bench", lambda: run_bench(model, data, limit=BENCH_IMAGES))
    baseline_results = timer.run("Run the baselines", lambda: baselines(model, data, limit=BENCH_IMAGES, seed=seed))
    conversation, conversations = timer.run(
        "Hold conversations about the faces", lambda: run_conversation(model, data, limit=BENCH_IMAGES, seed=seed)
    )

    results = {
        "weights": model.model.weights,
        "warnings": bench["warnings"],
        "tasks": bench["tasks"],
        "details": bench["details"],
        "answers": bench["answers"],
        "scores": bench["scores"],
        "baselines": baseline_results,
        "conversation": conversation,
        "calibration": asdict(calibration),
        "counts": {**count_built(construction), "bench": bench["counts"]},
        "seconds": {**timer.seconds, "all": round(sum(timer.seconds.values()), 1)},
    }
    write_results({**results, "predictions": bench["predictions"], "talks": conversations}, output)
    tiny_base = Base("the tiny base of this package", licence={"license": "apache-2.0"})
    model_card(adapter, tiny_base, results).save(adapter / "README.md")
    shutil.copy(output / RESULTS_FILE, adapter)  # the Hub needs the results that the card states
    write_report(output, results, bench["predictions"], calibration)
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
    known = {*OUTPUTS, f"{DATASET_NAME}.build", f"{DATASET_NAME}.dropped.csv"}
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


def quickstart_recipe(given: Given, output: Path, seed: int) -> Recipe:
    """Return the recipe of the dataset. If there are few photographs to forge, write views of them."""
    from dfa_instruct.construction.recipe import SAMPLE_IDENTITIES, SAMPLE_PICTURES, sample_recipe
    from dfa_instruct.face.detection import landmarker_path
    from dfa_instruct.sources.registry import open_source
    from dfa_instruct.sources.views import write_views
    from dfa_instruct.sources.walk import find_images

    recipe = replace(sample_recipe(output / DATASET_NAME, seed=seed), several_faces="fail", least_aligned=0.0)
    if given.faceforensics is not None:
        sources = [faceforensics_source(given.faceforensics)]
        recipe = replace(recipe, sources=sources, several_faces="largest", most_images=FACEFORENSICS_IMAGES)
        return replace(recipe, techniques=[], forgeries_per_face=0.0)
    pictures = SAMPLE_IDENTITIES * SAMPLE_PICTURES
    if given.bona_fide is not None:
        root = given.bona_fide
        if given.forged is not None:
            pictures = sum(1 for _ in open_source("folder", root=root).items())
        else:
            pictures = len(find_images(root))
            landmarker_path()  # fails here if it is missing, before anything is written
            if (count := MIN_VIEWS // pictures) > 1:
                root = output / "views"
                shutil.rmtree(root, ignore_errors=True)
                write_views(given.bona_fide, root, count, seed)
                pictures *= count
        recipe = replace(recipe, sources=[{"kind": "folder", "root": str(root), "name": "bona_fide"}])
    if given.forged is not None:
        sources = [*(recipe.sources if given.bona_fide else []), *forged_sources(given.forged)]
        recipe = replace(recipe, sources=sources, most_images=pictures, techniques=[], forgeries_per_face=0.0)
    if given.synthesized is not None:
        find_images(given.synthesized)
        images = {"kind": "folder", "root": str(given.synthesized), "category": "entire_face_synthesis"}
        recipe = replace(
            recipe,
            sources=[*recipe.sources, {**images, "technique": given.synthesized.resolve().name, "name": "synthesized"}],
            most_images=pictures,
            techniques=[name for name in recipe.techniques if name != "eigenface"],
            forgeries_per_face=recipe.forgeries_per_face * 3 / 4,  # synthesized faces replace the fourth category
        )
    return recipe


def forged_sources(forged: Path) -> list[dict[str, Any]]:
    """Return the sources of a recipe for the faces that a CSV names, or for a folder with a subfolder a technique."""
    from dfa_instruct.sources import IGNORED_REASONS
    from dfa_instruct.sources.registry import open_source
    from dfa_instruct.sources.technique_names import technique_of_folder
    from dfa_instruct.sources.walk import entries

    people = {"kind": "folder", "identity_prefix": "bona_fide"}  # the same names are the same people
    if forged.suffix.lower() == ".csv":
        labels = {"bona_fide": "bona_fide", "real": "bona_fide", "forged": "forged", "fake": "forged"}
        return [{**people, "root": str(forged.parent), "csv": str(forged), "labels": labels, "name": "forged"}]
    expected = "expected a folder with a subfolder for each technique"
    if not forged.is_dir():
        raise FileNotFoundError(f"{forged}: {expected}, or a CSV")
    refused: dict[str, str] = {}
    files, folders = entries(forged, refuse=refused.__setitem__)
    files += [f"{name} ({reason})" for name, reason in refused.items() if reason not in IGNORED_REASONS]
    if files or not folders:
        raise ValueError(f"{forged}: {expected}, but it has {files[0] if files else 'none'}")
    sources = []
    for name in folders:
        category, technique = technique_of_folder(forged / name)
        next(open_source("folder", root=forged / name).items(), None)  # fails here if it is empty
        names = {"category": category, "technique": technique, "name": name}
        sources.append({**people, "root": str(forged / name), **names})
    return sources


def faceforensics_source(root: Path) -> dict[str, Any]:
    """Return the source of a recipe for FaceForensics++, with the compression on disk and few frames of each video."""
    from dfa_instruct.sources.faceforensics import FaceForensicsSettings, FaceForensicsSource

    youtube = root / "original_sequences" / "youtube"
    compression = next((name for name in ("c23", "c40", "raw") if (youtube / name).is_dir()), "c23")
    settings = FaceForensicsSettings(root, compression=compression)
    videos = max(1, len(FaceForensicsSource(settings).bona_fide_videos))
    frames = min(settings.frames or 1, max(1, MIN_VIEWS // videos))
    return {"kind": "faceforensics", "root": str(root), "compression": compression, "frames": frames}
