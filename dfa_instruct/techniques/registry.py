"""The techniques by the names that a recipe gives them; another package adds its own by an entry point."""

from __future__ import annotations

from typing import Any, Final

from dfa_instruct.plugins import call_with, load_plugin
from dfa_instruct.techniques import Fittable, Technique
from dfa_instruct.techniques.entire_face_synthesis import Eigenfaces, Vae
from dfa_instruct.techniques.external import DiffusersGenerator, OnnxGenerator
from dfa_instruct.techniques.face_editing import (
    FaceEditing,
    age_lines,
    eye_shape,
    eyes,
    hair_tone,
    lip_shape,
    lips,
    skin,
)
from dfa_instruct.techniques.face_reenactment import (
    FaceReenactment,
    drivers_mouth,
    expression_change,
    mouth_change,
    open_mouth,
    turn,
)
from dfa_instruct.techniques.face_swapping import FaceSwapping, colour_transferred, feathered, poisson
from dfa_instruct.techniques.warping import piecewise_affine, thin_plate
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, Category

ENTRY_POINTS: Final = "dfa_instruct.techniques"
TECHNIQUES: Final[dict[str, Technique]] = {
    technique.name: technique
    for technique in (
        FaceSwapping("delaunay_swap", poisson),
        FaceSwapping("feathered_swap", feathered),
        FaceSwapping("colour_transferred_swap", colour_transferred),
        FaceReenactment("triangulated_reenactment", expression_change, piecewise_affine, open_mouth),
        FaceReenactment("thin_plate_reenactment", expression_change, thin_plate, open_mouth),
        FaceReenactment("mouth_reenactment", mouth_change, piecewise_affine, drivers_mouth),
        FaceReenactment("head_turn", turn, piecewise_affine, open_mouth),
        FaceEditing("lips", lips),
        FaceEditing("skin", skin),
        FaceEditing("eyes", eyes),
        FaceEditing("hair_tone", hair_tone),
        FaceEditing("age_lines", age_lines),
        FaceEditing("eye_shape", eye_shape),
        FaceEditing("lip_shape", lip_shape),
    )
}
"""Name → ours that need no fitting."""

FITTABLE: Final[dict[str, Fittable]] = {"eigenface": Eigenfaces, "vae": Vae}
"""Name → ours that learn from the training split."""

DEFAULT_TECHNIQUES: Final[tuple[str, ...]] = (
    "delaunay_swap",
    "feathered_swap",
    "triangulated_reenactment",
    "thin_plate_reenactment",
    "lips",
    "skin",
    "eyes",
    "eigenface",
)
"""What a build forges with where its recipe names none, and what the embedded sample is made of."""


def find_technique(
    name: str, category: Category | None = None, size: int | None = None, **settings: Any
) -> Technique | Fittable:
    """Find a technique by the name that a recipe gives it; where it is `Fittable`, `fit` it next.

    Args:
        name: of ours or of a plug-in; `onnx:PATH`; `diffusers:MODEL`, a folder or a Hub id.
        category: needed for `onnx:` and `diffusers:`, whose files do not tell it.
        size: the aligned square's side in pixels, needed where `onnx:` or `diffusers:` synthesizes entire faces.
        settings: what the plug-in's callable or the generator takes besides, see `dfa_instruct.techniques.external`.

    Raises:
        ValueError: one line: nobody knows the name (the nearest is said), its category is another, an extra is not
            installed, or a setting is wrong.
    """
    scheme, _, model = name.partition(":")
    technique: Technique | Fittable
    if scheme in ("onnx", "diffusers") and model:
        if category is None:
            raise ValueError(
                f"{name}: its file does not tell its category; state one of {', '.join(FORGERY_CATEGORIES)}"
            )
        generator = OnnxGenerator if scheme == "onnx" else DiffusersGenerator
        return call_with(
            generator, f"technique {name}", {"model": model, "category": category, "size": size, **settings}
        )
    if name in TECHNIQUES or name in FITTABLE:
        if settings:
            raise ValueError(f"technique {name} takes no settings; {', '.join(settings)} was given")
        technique = TECHNIQUES.get(name) or FITTABLE[name]
    else:
        technique = _plug_in(name, settings)
    if category not in (None, technique.category):
        raise ValueError(f"technique {name} is of the category {technique.category}, not {category}")
    return technique


def _plug_in(name: str, settings: dict[str, Any]) -> Technique | Fittable:
    """Call what the entry point of this name names, a class or a function, with the settings."""
    hint = " (or onnx:PATH, diffusers:MODEL)"
    make = load_plugin(ENTRY_POINTS, "technique", name, [*TECHNIQUES, *FITTABLE], hint)
    technique = call_with(make, f"technique {name}", settings)
    if getattr(technique, "category", None) not in FORGERY_CATEGORIES or not hasattr(technique, "name"):
        raise ValueError(
            f"technique {name}: its plug-in makes {technique!r}, which has no name, or a category that is none of "
            + ", ".join(FORGERY_CATEGORIES)
        )
    return technique
