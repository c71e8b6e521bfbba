"""Aligned faces a second against the bare detector, and the memory of a build of 1,000 and of 20,000 images.

    DFA_TEST_PHOTOS=PHOTOGRAPHS python tests/benchmarks/faces.py [--images 3000] [--memory 1000 20000] [--pairs 200]

The photographs are repeated, each time cut and lit a little differently. The bare detector decodes and detects, in one
process, and does nothing else; the step `AlignFaces` decodes, detects, aligns, hashes and writes its shards. The pairs
are photographs with a large face, given in turn to FaceLandmarker alone and to the detector, which may look again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from dfa_instruct.construction.executors import run_step
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.construction.steps.align_faces import AlignFaces
from dfa_instruct.construction.steps.find_margins import FindMargins
from dfa_instruct.construction.steps.list_items import ListItems
from dfa_instruct.construction.work_folder import ListReport, WorkFolder
from dfa_instruct.face.detection import DETECTION_SIDE, FaceDetector
from dfa_instruct.sources.pictures import read_image
from dfa_instruct.sources.walk import find_images


def vary(photos: Path, folder: Path, count: int) -> None:
    """Write `count` different pictures made from the photographs."""
    rng = np.random.default_rng(0)
    originals = [read_image(path)[..., ::-1] for path in find_images(photos)]
    for n in range(count):
        picture = originals[n % len(originals)]
        height, width = picture.shape[:2]
        top, left = rng.integers(0, max(height // 20, 1)), rng.integers(0, max(width // 20, 1))
        lit = np.clip(picture[top:, left:] * rng.uniform(0.8, 1.2), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{n:06d}.jpg"), lit)


def speed(photos: Path, count: int, size: int) -> None:
    """Compare the step, with one worker and with two, with the bare detector."""
    with tempfile.TemporaryDirectory() as scratch:
        pictures = Path(scratch) / "pictures"
        pictures.mkdir()
        vary(photos, pictures, count)
        recipe = Recipe(sources=[{"kind": "folder", "root": str(pictures)}], size=size)
        rates: dict[str, float] = {}
        with FaceDetector() as detector:
            start = time.perf_counter()
            for path in sorted(pictures.iterdir()):
                detector.detect(read_image(path))
            rates["bare detector"] = count / (time.perf_counter() - start)
        for workers in (1, 2):
            work = WorkFolder(Path(scratch) / f"work{workers}")
            run_step(ListItems(recipe, work), [1], "local", 1)
            sizes = work.report("list", ListReport).sizes
            run_step(FindMargins(recipe, work), [1], "local", 1)
            start = time.perf_counter()
            run_step(AlignFaces(recipe, work), sizes, "local", workers)
            rates[f"{workers} workers"] = count / (time.perf_counter() - start)
        for name, rate in rates.items():
            print(f"{name:>14}: {rate:6.1f} images/s")
        print(f"1 worker is {rates['1 workers'] / rates['bare detector']:.2f} of the bare detector (aim: 0.8)")
        print(f"2 workers are {rates['2 workers'] / rates['1 workers']:.2f} of 1 (aim: 1.7)")


def first_look(photos: Path, count: int) -> None:
    """Compare the detector with FaceLandmarker alone where the whole picture shows a large face, picture by picture."""
    with FaceDetector() as detector:
        pictures = [read_image(path) for path in find_images(photos)]
        pictures = [p for p in pictures if min(p.shape[:2]) >= DETECTION_SIDE]  # smaller ones are enlarged before
        heights = [max((np.ptp(f[:, 1]) for f in detector.first_look(p)), default=0) / max(p.shape) for p in pictures]
        large = [p for p, height in zip(pictures, heights, strict=True) if height > 0.25]
        alone, looking = [], []
        for n in range(count):
            picture = large[n % len(large)]
            for times, look in ((alone, detector.first_look), (looking, detector.detect))[:: 1 if n % 2 else -1]:
                start = time.process_time()
                look(picture)
                times.append(time.process_time() - start)
    ratio = np.median(np.array(alone) / np.array(looking))
    print(f"large faces: the detector is {ratio:.3f} as fast as FaceLandmarker alone (aim: 0.95)")


def memory(photos: Path, counts: list[int], size: int) -> None:
    """Build whole datasets, each in a process of its own, and compare the peaks."""
    peaks = []
    for count in counts:
        with tempfile.TemporaryDirectory() as scratch:
            (pictures := Path(scratch) / "pictures").mkdir()
            vary(photos, pictures, count)
            recipe = Path(scratch) / "recipe.yaml"
            recipe.write_text(
                f"sources: [{{kind: folder, root: {pictures}}}]\nsize: {size}\n"
                "forgeries_per_face: 1\nnear_duplicates: -1\n"
            )
            program = (
                "import resource, sys\nfrom pathlib import Path\n"
                "from dfa_instruct.construction.pipeline import build\n"
                "from dfa_instruct.construction.recipe import read_recipe\n"
                f"build(read_recipe(Path({str(recipe)!r}), Path({scratch!r}) / 'dfa-instruct'), workers=1)\n"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
            )
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
            peaks.append(int(done.stdout.split()[-1]))
            print(f"{count} images: peak {peaks[-1] / 1024:.0f} MiB")
    print(f"{peaks[-1] / peaks[0]:.2f} times (aim: at most 1.2)")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--memory", type=int, nargs="*", default=[1000, 20000])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    if "DFA_TEST_PHOTOS" not in os.environ:
        print("faces.py: skipped, it needs DFA_TEST_PHOTOS, a folder of photographs, and DFA_FACE_LANDMARKER")
        return
    photos = Path(os.environ["DFA_TEST_PHOTOS"])
    if arguments.images:
        speed(photos, arguments.images, arguments.size)
    if arguments.pairs:
        first_look(photos, arguments.pairs)
    if arguments.memory:
        memory(photos, arguments.memory, arguments.size)


if __name__ == "__main__":
    main()
