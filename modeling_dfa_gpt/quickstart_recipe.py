"""Choose the recipe of the quickstart's dataset by the faces that the user gives."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfa_instruct.dataset import DATASET_NAME

if TYPE_CHECKING:
    from dfa_instruct.construction.recipe import Recipe

MIN_VIEWS = 800
"""If there are fewer photographs, several views of each are made, up to this total. As many frames are taken from the
bona fide videos of FaceForensics++."""
FACEFORENSICS_IMAGES = 300
"""The most images of each technique of FaceForensics++."""


@dataclass(frozen=True)
class Given:
    """The faces that the user gives. Without any, the embedded sample of drawn portraits is used.

    Args:
        bona_fide: A folder of photographs (and videos, with `forged`), with the pictures of a person in one subfolder.
        synthesized: A folder of images made by a generator. None: eigenfaces are sampled.
        forged: A folder with a subfolder for each technique, see `technique_of_folder`, or a CSV as
            `dfa_instruct.sources.folder` reads it, whose files are below its folder. The package then forges nothing.
        faceforensics: The root of FaceForensics++. No other faces can be given with it.
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
                raise ValueError(f"{forged} is in {self.bona_fide}, which must hold bona fide faces only")


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
    """Return the sources of a recipe for the faces that a CSV names, or for a folder with a subfolder per technique.

    Raises:
        FileNotFoundError, ValueError: The folder is missing or contains something else.
    """
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
