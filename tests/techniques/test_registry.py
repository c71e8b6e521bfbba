"""Techniques are found by their names, those of plug-ins, too."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import numpy as np
import pytest

from dfa_instruct.records import Face, Forgery
from dfa_instruct.techniques import Fittable
from dfa_instruct.techniques.registry import DEFAULT_TECHNIQUES, ENTRY_POINTS, FITTABLE, TECHNIQUES, find_technique
from dfa_instruct.vocabulary import FORGERY_CATEGORIES


class Negative:
    name = "negative"
    category = "face_editing"

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength

    def forge(self, target: Face, other: Face | None, rng: np.random.Generator) -> Forgery:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"negative": f"{__name__}:Negative", "nonsense": "collections:UserDict", "broken": "builtins:Gone"}
    points = EntryPoints(EntryPoint(name, value, ENTRY_POINTS) for name, value in values.items())
    monkeypatch.setattr("dfa_instruct.plugins.entry_points", points.select)


@pytest.mark.parametrize("name", [*TECHNIQUES, *FITTABLE])
def test_our_techniques_are_found_and_only_those_that_learn_are_fittable(name: str) -> None:
    technique = find_technique(name, size=128)
    assert technique.name == name
    assert isinstance(technique, Fittable) == (name in FITTABLE)
    assert technique is (FITTABLE if name in FITTABLE else TECHNIQUES)[name]


def test_every_category_of_forgery_has_techniques_and_a_default() -> None:
    known = {**TECHNIQUES, **FITTABLE}
    categories = [technique.category for technique in known.values()]
    assert set(categories) == set(FORGERY_CATEGORIES)
    assert all(categories.count(category) >= 3 for category in FORGERY_CATEGORIES[:3])
    assert {known[name].category for name in DEFAULT_TECHNIQUES} == set(FORGERY_CATEGORIES)


def test_a_plug_in_gets_its_settings() -> None:
    technique = find_technique("negative", size=128, strength=0.5)
    assert isinstance(technique, Negative) and technique.strength == 0.5


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("fethered_swap", {}, "fethered_swap.*did you mean 'feathered_swap'"),
        ("lips", {"colour": "red"}, "lips .*colour"),
        ("lips", {"category": "face_swapping"}, "face_editing, not face_swapping"),
        ("onnx:gone.onnx", {}, "its category is missing; expected one of face_swapping"),
        ("diffusers:gone", {}, "its category is missing; expected one of face_swapping"),
        ("negativ", {}, "did you mean 'negative'"),
        ("negative", {"strenght": 1}, "strenght.*it takes strength"),
        ("negative", {"category": "face_swapping"}, "face_editing, not face_swapping"),
        ("nonsense", {}, "nonsense: its plug-in"),
        ("broken", {}, "broken: its plug-in builtins:Gone does not load"),
    ],
)
def test_a_wrong_name_setting_or_plug_in_is_one_clear_line(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        find_technique(name, **settings)
    assert "\n" not in str(caught.value)
