"""Forgery techniques in the paper's four categories, behind one small interface that others can join.

A recipe names a technique: one of ours, one of a plug-in (entry-point group `dfa_instruct.techniques`), `onnx:PATH` or
`diffusers:MODEL`. `find_technique` finds it. What learns from the training split first is `Fittable`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from dfa_instruct.records import FaceRecord, Forgery
from dfa_instruct.techniques.edit import FaceEditing, age_lines, eye_shape, eyes, hair_tone, lip_shape, lips, skin
from dfa_instruct.techniques.outside import DiffusersGenerator, OnnxGenerator
from dfa_instruct.techniques.reenact import (
    FaceReenactment,
    drivers_mouth,
    expression_change,
    mouth_change,
    open_mouth,
    turn,
)
from dfa_instruct.techniques.swap import FaceSwapping, colour_transferred, feathered, poisson
from dfa_instruct.techniques.synthesize import Eigenfaces, Vae
from dfa_instruct.techniques.warp import piecewise_affine, thin_plate
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, Category

ENTRY_POINTS: Final = "dfa_instruct.techniques"


class Named(Protocol):
    """What forges, or will."""

    @property
    def name(self) -> str:
        """As the records have it."""
        ...

    @property
    def category(self) -> Category:
        """One of forgeries."""
        ...


class Technique(Named, Protocol):
    """An object that forges.

    What it is given follows from its category: face swapping a target and a donor, face reenactment a target and a
    driver, face editing a target only, entire face synthesis neither.
    """

    def forge(self, target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator) -> Forgery:
        """Forge one aligned face of the target's size.

        Args:
            target: the bona fide face to change; its `landmarks` are set.
            other: the donor or the driver, aligned to the same square; its `landmarks` are set.
            rng: the only source of chance, so that a seed repeats the picture.

        Raises:
            ValueError: the landmarks do not allow this technique (a profile, say); the caller counts and drops.
        """
        ...


@runtime_checkable
class Fittable(Named, Protocol):
    """A technique that has yet to learn from the training split."""

    def fit(self, faces: Iterable[FaceRecord], *, seed: int) -> Technique:
        """Learn from bona fide faces of one size, in an order that mixes people; the same seed learns the same.

        Raises:
            ValueError: there are too few faces to learn from.
        """
        ...


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
        settings: what the plug-in's callable or the generator takes besides, see `dfa_instruct.techniques.outside`.

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
        return _called(generator, name, {"model": model, "category": category, "size": size, **settings})
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
    found = entry_points(group=ENTRY_POINTS)
    if name not in found.names:
        known = [*TECHNIQUES, *FITTABLE, *sorted(found.names)]
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown technique {name!r}: did you mean {nearest!r}? (or onnx:PATH, diffusers:MODEL)")
    entry = found[name]
    try:
        make = entry.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"technique {name}: its plug-in {entry.value} does not load: {error}") from error
    technique = _called(make, name, settings)
    if getattr(technique, "category", None) not in FORGERY_CATEGORIES or not hasattr(technique, "name"):
        raise ValueError(
            f"technique {name}: its plug-in {entry.value} has no name, or a category that is none of "
            + ", ".join(FORGERY_CATEGORIES)
        )
    return technique


def _called(make: Callable[..., Any], name: str, settings: dict[str, Any]) -> Any:
    """Call `make` with the settings, or say which of them it does not take, and which it takes."""
    takes = inspect.signature(make)
    try:
        takes.bind(**settings)
    except TypeError as error:
        raise ValueError(f"technique {name}: {error} (it takes {', '.join(takes.parameters) or 'none'})") from error
    return make(**settings)
