"""The recipe of a construction: what a person writes in YAML, checked whole before any work starts."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from dfa_instruct.duplicates import NEAR
from dfa_instruct.errors import nearest
from dfa_instruct.face.detection import LEAST_MARGIN
from dfa_instruct.sources.technique_names import DATASET_TECHNIQUES, canonical_technique
from dfa_instruct.splits import SHARES
from dfa_instruct.techniques import Fittable, Technique
from dfa_instruct.techniques.registry import DEFAULT_TECHNIQUES, find_technique
from dfa_instruct.vocabulary import SPLITS, Split
from dfa_instruct.yaml_file import read_mapping

SAMPLE_IDENTITIES = 160
SAMPLE_PICTURES = 5
LEAST_RESOLVED = 0.9
Share = Annotated[float, Field(ge=0, le=1)]


def _by_technique(given: Any) -> Any:
    """Lay `least_resolved` out by technique, spelt as its folder is; one number is that of all."""
    if not isinstance(given, dict):
        return {"default": given}
    return {"default": LEAST_RESOLVED} | {
        canonical_technique(str(name)) or str(name): share for name, share in given.items()
    }


def _every_split(given: Any) -> Any:
    """Name every split; one that is not named gets no share."""
    return dict.fromkeys(SPLITS, 0.0) | given if isinstance(given, dict) else given


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """Everything that decides what a build writes; two builds of one recipe and the same files write the same bytes."""

    # Sources
    sources: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """Each with its `kind` and that kind's settings, see `dfa_instruct.sources`."""
    least_resolved: Annotated[dict[str, Share], BeforeValidator(_by_technique)] = Field(
        default_factory=lambda: {"default": LEAST_RESOLVED}
    )
    """Of a technique's files, the part whose paths must be understood; with less, the build fails. One number for all,
    or a number for each technique that is named, and `default` for the others."""
    least_aligned: Share = 0.5
    """Of a technique's pictures, the part that must decode and give a face; with less, the build fails."""
    fewest_images: Annotated[int, Field(ge=0)] = 0
    """A technique with fewer images is left out (the paper's rule)."""
    most_images: Annotated[int, Field(ge=1)] | None = None
    """Of a technique that is found on disk so many images are taken at most, drawn by the seed."""

    # Faces
    size: Annotated[int, Field(ge=32, le=2048)] = 256
    """Side of the aligned square in pixels."""
    margin: Annotated[float, Field(ge=LEAST_MARGIN, le=2)] = 0.0
    """What is shown more on each side at most, as a share of the square; less than 0: a tighter cut. A source whose
    pictures are cut closer gets the margin that they allow, see `dfa_instruct.construction.steps.find_margins`."""
    several_faces: Literal["largest", "all", "fail"] = "largest"
    """A picture with several: take the largest; take all; count it as bad. A forgery that has its bona fide always
    gives one face: nothing says which of several was forged."""
    detect_cropped: bool = True
    """Look for landmarks in pictures that are cropped faces already; else they are resized and have none."""
    keep_without_landmarks: bool = True
    """Keep a cropped face in which no landmarks were found; a picture that is not a cropped face is dropped anyway."""

    # Splits
    shares: Annotated[dict[Split, Share], BeforeValidator(_every_split)] = Field(default_factory=lambda: dict(SHARES))
    """Of each split, of the images; a split that is not named gets none. `{test: 1.0}`: a dataset to measure on only.
    """
    official_splits: str | None = None
    """FaceForensics++'s own: a folder with train.json, val.json and test.json; other identities join as shares want."""
    near_duplicates: Annotated[int, Field(ge=-1, le=255)] = NEAR
    """Faces of two splits that differ in so many of 256 bits are the same picture, and one is dropped; -1: not looked
    for."""
    held_out: list[str] = Field(default_factory=list)
    """Techniques and sources that stand in the test split only; DFA-Bench sets them beside what training has shown."""

    # Forging one's own
    techniques: list[str | dict[str, Any]] = Field(
        default_factory=lambda: list[str | dict[str, Any]](DEFAULT_TECHNIQUES)
    )
    """Names, or `name` with `category` and settings, see `dfa_instruct.techniques.registry.find_technique`."""
    forgeries_per_face: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Forged images of our own for each bona fide one, shared equally by the categories of `techniques`."""

    # Annotations
    annotator: str | dict[str, Any] = "measured"
    """Who describes the faces: a name, or `name` with settings, see `dfa_instruct.annotate.annotator`."""

    # The run
    output: str = "dfa-instruct"
    seed: Annotated[int, Field(ge=0)] = 0
    slurm: dict[str, Any] = Field(default_factory=dict)
    """Arguments of datatrove's SlurmPipelineExecutor: partition, time, env_command and so on."""
    ray: dict[str, Any] = Field(default_factory=dict)
    """Arguments of datatrove's RayPipelineExecutor."""

    def least_resolved_of(self, technique: str) -> float:
        """Return the part of a technique's files (or of `bona_fide`) that must be understood."""
        return self.least_resolved.get(technique, self.least_resolved["default"])


def techniques_of(recipe: Recipe) -> list[Technique | Fittable]:
    """Find the techniques that a recipe names.

    Raises:
        ValueError: nobody knows one of them, or its settings are wrong.
    """
    found = []
    for entry in recipe.techniques:
        settings = {"name": entry} if isinstance(entry, str) else dict(entry)
        if not isinstance(settings.get("name"), str):
            raise ValueError(f"techniques: expected a name or a mapping with a `name`, not {entry!r}")
        if "size" in settings:
            raise ValueError(f"technique {settings['name']}: its size is the recipe's; size was given")
        found.append(find_technique(size=recipe.size, **settings))
    learning = [technique.name for technique in found if isinstance(technique, Fittable)]
    if recipe.forgeries_per_face and learning and not recipe.shares["train"]:
        raise ValueError(f"technique {learning[0]} learns from faces of the train split, and shares gives it none")
    if recipe.forgeries_per_face and not found:
        raise ValueError(f"forgeries_per_face is {recipe.forgeries_per_face:g}, and techniques names none")
    return found


def sample_recipe(output: Path, seed: int = 0) -> Recipe:
    """Return the recipe of the embedded sample: drawn portraits, nobody real in them, forged in all categories."""
    return Recipe(
        sources=[{"kind": "sample", "identities": SAMPLE_IDENTITIES, "pictures": SAMPLE_PICTURES, "seed": seed}],
        size=128,
        forgeries_per_face=1.5,
        output=str(output),
        seed=seed,
    )


def read_recipe(path: Path, output: Path | None = None) -> Recipe:
    """Read a recipe; `output` stands in for the recipe's own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one line: it is not YAML, a key is unknown (the nearest known one is said), or a value is wrong.
    """
    content = read_mapping(path)
    known = [field.name for field in fields(Recipe)]
    for key in content:
        if key not in known:
            raise ValueError(f"{path}: unknown key {key!r}{nearest(str(key), known)}")
    if output is not None:
        content["output"] = str(output)
    try:
        recipe = TypeAdapter(Recipe).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] == "missing" else f", not {first['input']!r}"
        raise ValueError(f"{path}: {where}: {first['msg']}{given}") from error
    if abs(sum(recipe.shares.values()) - 1) > 1e-6:
        raise ValueError(f"{path}: shares: expected a sum of 1, not {recipe.shares}")
    known = ["default", "bona_fide", *(name for names in DATASET_TECHNIQUES.values() for name in names)]
    unknown = [name for name in recipe.least_resolved if name not in known]
    # a folder of one's own may call its technique anything
    if unknown and not any(source.get("kind") == "folder" for source in recipe.sources):
        raise ValueError(f"{path}: least_resolved: unknown technique {unknown[0]!r}{nearest(unknown[0], known)}")
    return recipe
