"""The recipe of a construction, which a person writes in YAML. All of it is checked before any work starts."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from dfa_instruct.duplicates import NEAR
from dfa_instruct.errors import nearest
from dfa_instruct.face.alignment import MIN_MARGIN
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
    """Return `least_resolved` as a mapping from technique to share. A single number is the default."""
    if not isinstance(given, dict):
        return {"default": given}
    return {"default": LEAST_RESOLVED} | {
        canonical_technique(str(name)) or str(name): share for name, share in given.items()
    }


def _every_split(given: Any) -> Any:
    """Add the missing splits with a share of 0."""
    return dict.fromkeys(SPLITS, 0.0) | given if isinstance(given, dict) else given


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """Everything that determines what a build writes. The same recipe and the same files give the same bytes."""

    # Sources
    sources: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """For each source its `kind` and the settings of this kind, see `dfa_instruct.sources`."""
    least_resolved: Annotated[dict[str, Share], BeforeValidator(_by_technique)] = Field(
        default_factory=lambda: {"default": LEAST_RESOLVED}
    )
    """The share of a technique's files whose paths must be understood. With a smaller share, the build fails. It is one
    number for all techniques, or a number for each technique and a `default`."""
    least_aligned: Share = 0.5
    """The share of a technique's pictures that must decode and show a face. With a smaller share, the build fails."""
    fewest_images: Annotated[int, Field(ge=0)] = 0
    """A technique with fewer images is left out, as in the paper."""
    most_images: Annotated[int, Field(ge=1)] | None = None
    """The most images that are taken of a technique on disk. They are drawn at random."""

    # Faces
    size: Annotated[int, Field(ge=32, le=2048)] = 256
    """The side of the aligned square in pixels."""
    margin: Annotated[float, Field(ge=MIN_MARGIN, le=2)] = 0.0
    """The largest margin that is added on each side, as a share of the square. A negative margin gives a tighter crop.
    A source with tighter pictures gets a smaller margin, see `dfa_instruct.construction.steps.find_margins`."""
    several_faces: Literal["largest", "all", "fail"] = "largest"
    """What to do with a picture of several faces: take the largest, take all, or drop the picture. A forgery with a
    bona fide picture always gives one face, because it is unknown which of several was forged."""
    detect_cropped: bool = True
    """Detect landmarks in pictures that are already cropped to a face. Otherwise they are only resized."""
    keep_without_landmarks: bool = True
    """Keep a cropped face without detected landmarks. A picture that is not cropped to a face is dropped anyway."""

    # Splits
    shares: Annotated[dict[Split, Share], BeforeValidator(_every_split)] = Field(default_factory=lambda: dict(SHARES))
    """The share of the images in each split. A split that is not named is empty, so `{test: 1.0}` gives a test set."""
    official_splits: str | None = None
    """A folder with FaceForensics++'s train.json, val.json and test.json. Other identities are assigned by `shares`."""
    near_duplicates: Annotated[int, Field(ge=-1, le=255)] = NEAR
    """The most bits (of 256) in which the perceptual hashes of near-duplicates differ. Of near-duplicates in different
    splits, one is dropped. -1 turns this off."""
    held_out: list[str] = Field(default_factory=list)
    """Techniques and sources that are in the test split only. DFA-Bench reports them separately."""

    # Forging one's own
    techniques: list[str | dict[str, Any]] = Field(
        default_factory=lambda: list[str | dict[str, Any]](DEFAULT_TECHNIQUES)
    )
    """Names, or mappings of `name`, `category` and settings, see `dfa_instruct.techniques.registry.find_technique`."""
    forgeries_per_face: Annotated[float, Field(ge=0, le=100)] = 0.0
    """The number of forgeries to make for each bona fide image, shared equally by the categories of `techniques`."""

    # Annotations
    annotator: str | dict[str, Any] = "measured"
    """The annotator: a name, or a mapping of `name` and settings, see `dfa_instruct.annotate.registry.annotator`."""

    # Questions and answers
    templates: str | None = None
    """A folder with your own templates: the same files and keys as `dfa_instruct/instruct/templates/`."""

    # The run
    output: str = "dfa-instruct"
    seed: Annotated[int, Field(ge=0)] = 0
    slurm: dict[str, Any] = Field(default_factory=dict)
    """The arguments of datatrove's SlurmPipelineExecutor, such as partition, time and env_command."""
    ray: dict[str, Any] = Field(default_factory=dict)
    """The arguments of datatrove's RayPipelineExecutor."""

    def least_resolved_of(self, technique: str) -> float:
        """Return the share of a technique's files (or of `bona_fide`) that must be understood."""
        return self.least_resolved.get(technique, self.least_resolved["default"])


def techniques_of(recipe: Recipe) -> list[Technique | Fittable]:
    """Return the techniques that a recipe names.

    Raises:
        ValueError: A technique is unknown, or its settings are wrong.
    """
    found = []
    for entry in recipe.techniques:
        settings = {"name": entry} if isinstance(entry, str) else dict(entry)
        if not isinstance(settings.get("name"), str):
            raise ValueError(f"techniques: expected a name or a mapping with a `name`, not {entry!r}")
        if "size" in settings:
            raise ValueError(f"technique {settings['name']}: remove `size`; the recipe's size is used")
        found.append(find_technique(size=recipe.size, **settings))
    learning = [technique.name for technique in found if isinstance(technique, Fittable)]
    if recipe.forgeries_per_face and learning and not recipe.shares["train"]:
        raise ValueError(f"technique {learning[0]} learns from the train split, but `shares` leaves that split empty")
    if recipe.forgeries_per_face and not found:
        raise ValueError(f"forgeries_per_face is {recipe.forgeries_per_face:g}, but `techniques` is empty")
    return found


def sample_recipe(output: Path, seed: int = 0) -> Recipe:
    """Return the recipe of the embedded sample: drawn portraits of invented people, forged in all categories."""
    return Recipe(
        sources=[{"kind": "sample", "identities": SAMPLE_IDENTITIES, "pictures": SAMPLE_PICTURES, "seed": seed}],
        size=128,
        forgeries_per_face=1.5,
        output=str(output),
        seed=seed,
    )


def read_recipe(path: Path, output: Path | None = None) -> Recipe:
    """Read a recipe from a YAML file.

    Args:
        path: The file.
        output: The dataset folder, instead of the recipe's.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not YAML, a key is unknown, or a value is wrong. The message is one line.
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
    if unknown and not any(
        source.get("kind") == "folder" for source in recipe.sources
    ):  # a folder may have any technique
        raise ValueError(f"{path}: least_resolved: unknown technique {unknown[0]!r}{nearest(unknown[0], known)}")
    return recipe
