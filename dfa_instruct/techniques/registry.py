"""The techniques by the names that recipes use. Another package adds its own by an entry point."""

from __future__ import annotations

from typing import Any, Final

from dfa_instruct.plugins import call_with, load_plugin
from dfa_instruct.techniques import (
    Fittable,
    Technique,
    entire_face_synthesis,
    face_editing,
    face_reenactment,
    face_swapping,
)
from dfa_instruct.techniques.external import DiffusersGenerator, OnnxGenerator
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, Category

ENTRY_POINTS: Final = "dfa_instruct.techniques"
TECHNIQUES: Final[dict[str, Technique]] = {
    technique.name: technique
    for technique in (*face_swapping.TECHNIQUES, *face_reenactment.TECHNIQUES, *face_editing.TECHNIQUES)
}
"""The techniques of this package that need no fitting, by name."""
FITTABLE: Final[dict[str, Fittable]] = {technique.name: technique for technique in entire_face_synthesis.FITTABLE}
"""The techniques of this package that learn from the training split, by name."""
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
"""The techniques of a recipe that names none, and those of the embedded sample."""


def find_technique(
    name: str, category: Category | None = None, size: int | None = None, **settings: Any
) -> Technique | Fittable:
    """Find a technique by its name in a recipe.

    Args:
        name: The name of a technique of this package or of a plug-in, `onnx:PATH`, or `diffusers:MODEL`, where MODEL is
            a folder or a model on the Hub.
        category: The technique's category, which is required for `onnx:` and `diffusers:`.
        size: The side of an aligned square in pixels, which `onnx:` and `diffusers:` need for entire face synthesis.
        settings: The settings of a plug-in or a generator, see `dfa_instruct.techniques.external`.

    Returns:
        The technique. If it is `Fittable`, it has to be fitted before it can forge.

    Raises:
        ValueError: The name is unknown, the technique has another category, an extra is not installed, or a setting is
            wrong. The message is one line.
    """
    what = f"technique {name}"
    scheme, _, model = name.partition(":")
    if scheme in ("onnx", "diffusers") and model:
        if category is None:
            raise ValueError(f"{name}: its category is missing; expected one of {', '.join(FORGERY_CATEGORIES)}")
        generator = OnnxGenerator if scheme == "onnx" else DiffusersGenerator
        return call_with(generator, what, {"model": model, "category": category, "size": size, **settings})
    technique: Technique | Fittable
    if name in TECHNIQUES or name in FITTABLE:
        if settings:
            raise ValueError(f"{what} takes no settings, but was given {', '.join(settings)}")
        technique = TECHNIQUES.get(name) or FITTABLE[name]
    else:
        hint = " (or onnx:PATH, diffusers:MODEL)"
        technique = call_with(
            load_plugin(ENTRY_POINTS, "technique", name, [*TECHNIQUES, *FITTABLE], hint), what, settings
        )
        if getattr(technique, "category", None) not in FORGERY_CATEGORIES or not hasattr(technique, "name"):
            raise ValueError(
                f"{what}: its plug-in returns {technique!r}, which has no name or no category out of "
                + ", ".join(FORGERY_CATEGORIES)
            )
    if category not in (None, technique.category):
        raise ValueError(f"{what} has the category {technique.category}, not {category}")
    return technique
