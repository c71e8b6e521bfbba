"""Evidence against a population: few bona fide faces are named, and faces unlike it are."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dfa_instruct.evidence.population import PopulationEvidence
from dfa_instruct.records import Face
from dfa_instruct.sources.portraits.drawing import draw_sample


@pytest.fixture(scope="module")
def population() -> PopulationEvidence:
    return PopulationEvidence.fit(draw_sample(identities=40, pictures=1, size=128, seed=9))


def test_the_population_is_the_faces_with_landmarks(portraits: list[Face]) -> None:
    population = PopulationEvidence.fit([*portraits, replace(portraits[0], landmarks=None)])
    landmarks = np.stack([face.landmarks for face in portraits]).reshape(len(portraits), -1)
    np.testing.assert_allclose(population.mean[-162:], landmarks.mean(0), rtol=1e-5)
    np.testing.assert_allclose(population.spread[-162:], landmarks.std(0), rtol=1e-3, atol=1e-3)


def test_bona_fide_faces_are_rarely_named(population: PopulationEvidence) -> None:
    strangers = list(draw_sample(identities=40, pictures=1, size=128, seed=77))
    named = sum(bool(population.measure(face)) for face in strangers)
    assert named <= 0.125 * len(strangers)  # The rate is 0.05, and forty faces estimate it roughly.


def test_a_blurred_face_is_unlike_the_population(population: PopulationEvidence, portraits: list[Face]) -> None:
    blurred = [population.measure(replace(f, image=cv2.GaussianBlur(f.image, (0, 0), 3))) for f in portraits]
    assert all(blurred)
    assert {a.artifact for artifacts in blurred for a in artifacts} <= {"texture", "sharpness"}


def test_a_face_without_landmarks_is_measured_without_its_geometry(
    population: PopulationEvidence, portraits: list[Face]
) -> None:
    grey = replace(portraits[0], image=np.full((128, 128, 3), 128, np.uint8), landmarks=None)
    artifacts = population.measure(grey)
    assert artifacts and "geometry" not in {artifact.artifact for artifact in artifacts}


def test_too_few_faces_and_another_size_are_refused(portraits: list[Face], population: PopulationEvidence) -> None:
    with pytest.raises(ValueError, match="fewer than two"):
        PopulationEvidence.fit(portraits[:1])
    small = replace(portraits[0], image=portraits[0].image[:64, :64].copy())
    with pytest.raises(ValueError, match=r"64 px.*128 px"):
        population.measure(small)
