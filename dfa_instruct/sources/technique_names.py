"""The techniques of the published datasets: which category each belongs to, and by which names it goes.

The category follows DF40's own grouping, and for FaceForensics++ and Celeb-DF what the method does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from dfa_instruct.sources import TechniqueReport
from dfa_instruct.vocabulary import Category

_BY_CATEGORY: Final[dict[str, dict[Category, str]]] = {
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
    for dataset, groups in _BY_CATEGORY.items()
}
"""Dataset → technique, spelt as its folder is → category."""

ALIASES: Final[dict[str, str]] = {
    "inswapper": "inswap",
    "fs_vid2vid": "facevid2vid",
    "oneshot": "one_shot_free",
    "dagan": "danet",
    "ddpm": "ddim",
    "whichisreal": "whichfaceisreal",
    "stargan2": "starganv2",
}
"""Other names, in lower case, that DF40's README, lists and archives give its techniques."""

_FOLDED: Final = {dataset: {name.casefold(): name for name in names} for dataset, names in DATASET_TECHNIQUES.items()}


def find_technique(dataset: str, name: str) -> str | None:
    """Return the technique that a folder is named after, in any letter case, spelt as in the table."""
    folded = name.casefold()
    return _FOLDED[dataset].get(ALIASES.get(folded, folded))


def asked_for(dataset: str, names: Iterable[str] | None) -> dict[str, Category]:
    """Return the techniques that go by these names, with their categories; all of the dataset's without names."""
    known = DATASET_TECHNIQUES[dataset]
    if names is None:
        return known
    return {found: known[found] for name in names if (found := find_technique(dataset, name))}


def spelling(name: str) -> str | None:
    """Return the technique of any of the datasets that goes by this name, spelt as in the table."""
    return next((found for dataset in DATASET_TECHNIQUES if (found := find_technique(dataset, name))), None)


def require(techniques: Iterable[str] | None, dataset: str, report: Mapping[str, TechniqueReport], root: Path) -> None:
    """Refuse a root that has no file of a technique that was asked for by name.

    Raises:
        ValueError: naming the technique.
    """
    for name in techniques or ():
        technique = find_technique(dataset, name)
        found = report.get(technique or name)
        if found is None or not found.found:
            passed = found.passed_over[:1] if found else []
            why = "".join(f"; {file}: {reason}" for file, reason in passed)
            why += "".join(f" ({note})" for note in found.notes) if found else ""
            raise ValueError(f"{root}: no file of {technique}, which the recipe asks for{why}")
