"""Precision and recall of evidence over edits whose region is known.

    python tests/benchmarks/evidence.py

The faces are drawn portraits, and photographs if DFA_TEST_PHOTOS names their folder. Precision is the share of named
regions that were edited. Recall is the share of edited regions that are named. In the table of techniques, a region
counts as edited if its pixels differ from the bona fide face. Its recall covers at most `MAX_REGIONS` regions of a face
in which the change is visible (3 units of L*a*b* on average). For "JPEG 75", the forgery is compressed before it is
measured, and its bona fide face is not.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from dfa_instruct.evidence.paired import measure
from dfa_instruct.evidence.population import PopulationEvidence
from dfa_instruct.evidence.strength import MAX_REGIONS
from dfa_instruct.face.alignment import align
from dfa_instruct.face.colour import to_lab, to_rgb
from dfa_instruct.face.detection import FaceDetector
from dfa_instruct.face.regions import REGION_LANDMARKS, interocular, region_masks
from dfa_instruct.records import Face, Landmarks, Pixels
from dfa_instruct.sources.pictures import read_image
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.sources.walk import find_images
from dfa_instruct.techniques.entire_face_synthesis import Eigenfaces
from dfa_instruct.techniques.registry import TECHNIQUES
from dfa_instruct.vocabulary import REGIONS, ArtifactKind, Region

SIZE = 128
FACES = 24
VISIBLE = 3.0


def main() -> None:
    """Measure and print one table for each question."""
    groups = {"drawn": list(draw_sample(identities=100, pictures=1, size=SIZE, seed=5))}
    if folder := os.environ.get("DFA_TEST_PHOTOS"):
        groups["photographs"] = photographs(Path(folder), groups["drawn"][0])
    console = Console(width=120)
    for name, faces in groups.items():
        for table in (edits(faces[:FACES]), techniques(faces[:FACES]), unchanged(faces[:FACES]), population(faces)):
            table.title = f"{name}: {table.title}"
            console.print(table)


def photographs(folder: Path, record: Face) -> list[Face]:
    """Return the faces of all photographs that show a single face, except profiles, which hide some regions."""
    faces = []
    with FaceDetector() as detector:
        for path in find_images(folder):
            pixels = read_image(path)
            if len(found := detector.detect(pixels)) == 1:
                image, landmarks = align(pixels, found[0], SIZE)
                if all(mask.sum() > 40 for mask in region_masks(landmarks, SIZE).values()):
                    faces.append(replace(record, image=image, landmarks=landmarks, face_id=""))
    return faces


def forged(face: Face, image: Pixels, landmarks: Landmarks | None = None) -> Face:
    """Return a forgery of a face with this picture."""
    landmarks = face.landmarks if landmarks is None else landmarks
    return replace(face, image=image, landmarks=landmarks, label="forged", category="face_editing", face_id="")


def jpeg(image: Pixels, quality: int) -> Pixels:
    """Compress a picture and decode it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def inside(face: Face, region: Region, other: np.ndarray, softness: float = 1.0) -> Face:
    """Replace the pixels of one region, blended over `softness` pixels."""
    assert face.landmarks is not None
    mask = np.float32(region_masks(face.landmarks, SIZE)[region])
    mask = (cv2.GaussianBlur(mask, (0, 0), softness) if softness else mask)[..., None]
    return forged(face, np.rint(mask * other.clip(0, 255) + (1 - mask) * face.image).astype(np.uint8))


def recolour(face: Face, region: Region, rng: np.random.Generator) -> Face:
    """Shift a region's colour by 13 units of L*a*b*."""
    angle = rng.uniform(0, 2 * np.pi)
    shift = 13 * np.float32([0, np.cos(angle), np.sin(angle)])
    return inside(face, region, to_rgb(to_lab(face.image) + shift))


def blur(face: Face, region: Region, rng: np.random.Generator) -> Face:
    """Blur a region by 3 pixels."""
    return inside(face, region, cv2.GaussianBlur(face.image, (0, 0), 3))


def sharpen(face: Face, region: Region, rng: np.random.Generator) -> Face:
    """Multiply a region's middle detail by three."""
    smooth = cv2.GaussianBlur(np.float32(face.image), (0, 0), 2)
    return inside(face, region, smooth + 3 * (face.image - smooth))


def grain(face: Face, region: Region, rng: np.random.Generator) -> Face:
    """Add noise of 12 grey levels to a region."""
    return inside(face, region, face.image + rng.normal(0, 12, (SIZE, SIZE, 1)))


def paste(face: Face, region: Region, rng: np.random.Generator) -> Face:
    """Darken a region by 40 grey levels with a hard border."""
    return inside(face, region, np.float32(face.image) - 40, softness=0)


def move(face: Face, region: Region, rng: np.random.Generator) -> Face:
    """Move a feature and its landmarks by an eighth of the interocular distance."""
    assert face.landmarks is not None
    eye, angle = interocular(face.landmarks), rng.uniform(0, 2 * np.pi)
    shift = np.float32([np.cos(angle), np.sin(angle)]) * eye / 8
    mask = cv2.dilate(np.float32(region_masks(face.landmarks, SIZE)[region]), np.ones((5, 5)))
    where = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1).astype(np.float32)
    where -= cv2.GaussianBlur(mask, (0, 0), 3)[..., None] * shift
    image = cv2.remap(face.image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    landmarks = face.landmarks.copy()
    landmarks[REGION_LANDMARKS[region]] += shift
    return forged(face, np.asarray(image, np.uint8), landmarks)


Edit = Callable[[Face, Region, np.random.Generator], Face]
EDITS: dict[str, tuple[Edit, tuple[ArtifactKind, ...], Sequence[Region]]] = {
    "recoloured": (recolour, ("colour",), list(REGIONS)),
    "blurred": (blur, ("sharpness", "texture"), list(REGIONS)),
    "sharpened": (sharpen, ("sharpness", "texture"), list(REGIONS)),
    "grain": (grain, ("texture", "sharpness"), list(REGIONS)),
    "hard paste": (paste, ("boundary", "colour"), list(REGIONS)),
    "moved": (move, ("geometry",), ["eyebrows", "eyes", "nose", "mouth"]),
}


def edits(faces: list[Face]) -> Table:
    """Edit one region of each face."""
    table = Table("edit", "regions edited", "precision", "recall", "the right kind", "JPEG 75: precision", "recall",
                  "missed most", title="one region edited")  # fmt: skip
    for name, (edit, kinds, regions) in EDITS.items():
        plain, compressed, missed = Score(), Score(), {region: 0 for region in regions}
        right = 0
        for number, face in enumerate(faces):
            for region in regions:
                edited = edit(face, region, np.random.default_rng(number))
                named = measure(edited, face)
                found = {artifact.region for artifact in named}
                plain.add(found, {region})
                right += any(a.region == region and a.artifact in kinds for a in named)
                missed[region] += region not in found
                again = measure(forged(face, jpeg(edited.image, 75), edited.landmarks), face)
                compressed.add({artifact.region for artifact in again}, {region})
        worst = sorted((r for r in regions if missed[r]), key=lambda r: -missed[r])[:3]
        table.add_row(name, str(plain.edited), plain.precision, plain.recall, f"{right / max(plain.hits, 1):.2f}",
                      compressed.precision, compressed.recall,
                      ", ".join(f"{r} {missed[r]}" for r in worst))  # fmt: skip
    return table


class Score:
    """Counts of named and edited regions."""

    def __init__(self) -> None:
        self.named = self.edited = self.hits = self.correct = 0

    def add(self, named: set[Region], edited: set[Region], wanted: set[Region] | None = None) -> None:
        """Count one face. Recall covers the regions in `wanted`, or else those in `edited`."""
        wanted = edited if wanted is None else wanted
        self.named += len(named)
        self.correct += len(named & edited)
        self.edited += min(len(wanted), MAX_REGIONS)
        self.hits += len(named & wanted)

    @property
    def precision(self) -> str:
        """Return the share of the named regions that were edited."""
        return f"{self.correct / self.named:.2f}" if self.named else "-"

    @property
    def recall(self) -> str:
        """Return the share of the edited regions that are named."""
        return f"{self.hits / self.edited:.2f}" if self.edited else "-"


def techniques(faces: list[Face]) -> Table:
    """Forge each face by every built-in technique."""
    table = Table("technique", "forgeries", "precision", "recall", "regions named", "nothing named",
                  "JPEG 75: precision", "recall", title="forged by technique")  # fmt: skip
    for technique in TECHNIQUES.values():
        plain, compressed, made, silent = Score(), Score(), 0, 0
        for number, face in enumerate(faces):
            other = faces[(number + 7) % len(faces)]
            try:
                forgery = technique.forge(face, other, np.random.default_rng(number))
            except ValueError:
                continue
            made += 1
            assert face.landmarks is not None
            masks = region_masks(face.landmarks, SIZE)
            distance = np.linalg.norm(to_lab(forgery.image) - to_lab(face.image), axis=-1)
            edited = {region for region, mask in masks.items() if (distance[mask] > 0).mean() > 0.05}
            visible = {region for region in edited if distance[masks[region]].mean() > VISIBLE}
            named = {a.region for a in measure(forged(face, forgery.image, forgery.landmarks), face)}
            silent += not named
            plain.add(named, edited, visible)
            again = measure(forged(face, jpeg(forgery.image, 75), forgery.landmarks), face)
            compressed.add({a.region for a in again}, edited, visible)
        if made:
            table.add_row(technique.name, str(made), plain.precision, plain.recall, f"{plain.named / made:.1f}",
                          f"{silent / made:.0%}", compressed.precision, compressed.recall)  # fmt: skip
    return table


def unchanged(faces: list[Face]) -> Table:
    """Change the whole picture of each face without editing a region."""
    table = Table("what happened", "faces", "something named", title="no region edited")
    rng = np.random.default_rng(0)
    ways: dict[str, Callable[[Pixels], Pixels]] = {
        **{f"JPEG {quality}": (lambda image, q=quality: jpeg(image, q)) for quality in (95, 75, 50)},
        "noise of 3 grey levels": lambda i: (i + rng.normal(0, 3, i.shape)).clip(0, 255).astype(np.uint8),
        "shrunk by a fifth and back": lambda i: cv2.resize(
            cv2.resize(i, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA), (SIZE, SIZE)
        ),
        "brighter by 10": lambda i: np.clip(i.astype(int) + 10, 0, 255).astype(np.uint8),
    }
    for name, way in ways.items():
        named = sum(bool(measure(forged(face, way(face.image)), face)) for face in faces)
        table.add_row(name, str(len(faces)), f"{named / len(faces):.1%}")
    return table


def population(faces: list[Face]) -> Table:
    """Compare each half of the faces with a population of the other half."""
    table = Table("face", "faces", "something named", "regions named", title="compared with a population")
    shown: dict[str, list[int]] = {"bona fide, not in the population": [], "eigenfaces": [], "blurred over 2 px": [],
                                   "JPEG 30": []}  # fmt: skip
    order = np.random.default_rng(0).permutation(len(faces))
    for half in (0, 1):
        known = [faces[i] for i in order[half::2]]
        unknown = [faces[i] for i in order[1 - half :: 2]]
        fitted = PopulationEvidence.fit(known)
        synthesis = Eigenfaces.fit(known, seed=0)
        for number, face in enumerate(unknown):
            made = synthesis.forge(None, None, np.random.default_rng(number))
            variants = (face.image, made.image, cv2.GaussianBlur(face.image, (0, 0), 2), jpeg(face.image, 30))
            for regions, image in zip(shown.values(), variants, strict=True):
                landmarks = made.landmarks if image is made.image else None
                regions.append(len({a.region for a in fitted.measure(forged(face, np.asarray(image), landmarks))}))
    for name, regions in shown.items():
        named_share = np.mean([n > 0 for n in regions])
        table.add_row(name, str(len(regions)), f"{named_share:.1%}", f"{np.mean(regions):.1f}")
    return table


if __name__ == "__main__":
    main()
