"""The techniques of the published datasets, with their categories and their other names.

DF40's categories are those of its authors. For FaceForensics++ and Celeb-DF, they follow from what the method does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from dfa_instruct.errors import nearest
from dfa_instruct.sources import TechniqueReport
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, Category

_NAMES_BY_CATEGORY: Final[dict[str, dict[Category, str]]] = {
    "df40": {
        "face_swapping": "fsgan faceswap simswap inswap blendface uniface mobileswap e4s facedancer deepfacelab",
        "face_reenactment": "fomm facevid2vid wav2lip MRAA one_shot_free pirender tpsm lia danet sadtalker mcnet "
        "hyperreenact heygen",
        "entire_face_synthesis": "VQGAN StyleGAN2 StyleGAN3 StyleGANXL sd2.1 ddim RDDM pixart DiT SiT MidJourney "
        "whichfaceisreal",
        "face_editing": "CollabDiff e4e stargan starganv2 styleclip",
    },
    "faceforensics": {
        "face_swapping": "Deepfakes FaceSwap FaceShifter",
        "face_reenactment": "Face2Face NeuralTextures",
    },
    "celebdf": {"face_swapping": "Celeb-synthesis"},
}

DATASET_TECHNIQUES: Final[dict[str, dict[str, Category]]] = {
    dataset: {name: category for category, names in groups.items() for name in names.split()}
    for dataset, groups in _NAMES_BY_CATEGORY.items()
}
"""Dataset → technique, spelled as its folder → category."""

TECHNIQUE_CATEGORIES: Final = {
    name: category for known in DATASET_TECHNIQUES.values() for name, category in known.items()
}
"""Technique of any dataset → category."""

ALIASES: Final[dict[str, str]] = {
    "inswapper": "inswap",
    "fs_vid2vid": "facevid2vid",
    "oneshot": "one_shot_free",
    "dagan": "danet",
    "ddpm": "ddim",
    "whichisreal": "whichfaceisreal",
    "stargan2": "starganv2",
}
"""Other names for techniques in DF40's README, lists and archives, in lower case."""

_NAMES_BY_LOWER_CASE: Final = {
    dataset: {name.casefold(): name for name in names} for dataset, names in DATASET_TECHNIQUES.items()
}


def find_technique(dataset: str, name: str) -> str | None:
    """Return the technique of a dataset with this name or alias, ignoring case, spelled as in the table; or None."""
    folded = name.casefold()
    return _NAMES_BY_LOWER_CASE[dataset].get(ALIASES.get(folded, folded))


def canonical_technique(name: str) -> str | None:
    """Return the technique of any dataset with this name or alias, spelled as in the table; or None."""
    return next((found for dataset in DATASET_TECHNIQUES if (found := find_technique(dataset, name))), None)


def technique_of_folder(folder: Path) -> tuple[Category, str]:
    """Return the category and the technique that the name of a folder states.

    Args:
        folder: Named as a known technique (`Deepfakes`), as a category and a technique of one's own
            (`face_editing-my_tool`), or as a category.

    Raises:
        ValueError: The name is none of these.
    """
    stated, _, own = folder.name.partition("-")
    if technique := canonical_technique(folder.name):
        return TECHNIQUE_CATEGORIES[technique], technique
    if category := next((c for c in FORGERY_CATEGORIES if c == stated), None):
        return category, canonical_technique(own) or own or folder.name
    raise ValueError(
        f"{folder}: expected a folder named as a known technique or CATEGORY-TECHNIQUE with one of the categories "
        f"{', '.join(FORGERY_CATEGORIES)}{nearest(folder.name, TECHNIQUE_CATEGORIES)}"
    )


def select_techniques(dataset: str, names: Iterable[str] | None) -> dict[str, Category]:
    """Return the techniques of a dataset with these names, or all of them if `names` is None, with their categories.

    Raises:
        ValueError: The dataset has no technique with one of the names.
    """
    known = DATASET_TECHNIQUES[dataset]
    if names is None:
        return known
    selected: dict[str, Category] = {}
    for name in names:
        technique = find_technique(dataset, name)
        if technique is None:
            raise ValueError(f"unknown technique {name!r}{nearest(name, known)}")
        selected[technique] = known[technique]
    return selected


def require_techniques(
    dataset: str, names: Iterable[str] | None, report: Mapping[str, TechniqueReport], root: Path
) -> None:
    """Raise ValueError if the root contains no file of a technique that the recipe names."""
    for technique in select_techniques(dataset, names or ()):
        found = report.get(technique, TechniqueReport())
        if not found.found:
            reasons = "".join(f"; {file}: {reason}" for file, reason in found.ignored_files[:1])
            reasons += "".join(f" ({note})" for note in found.notes)
            raise ValueError(f"{root}: no file of {technique}, which the recipe asks for{reasons}")
