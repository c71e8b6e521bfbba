"""Descriptions of the true edit are grounded in the edited face, and not in another one."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dfa_instruct.annotate.grounding import ground
from dfa_instruct.face.regions import region_masks
from dfa_instruct.records import Face, Pixels
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.techniques.registry import TECHNIQUES
from dfa_instruct.vocabulary import REGIONS

SIZE = 128
CLAIMS_BY_TECHNIQUE = {
    "lips": [("mouth", "colour"), ("mouth", "geometry")],
    "eyes": [("eyes", "colour"), ("eyes", "geometry")],
    "skin": [("cheeks", "colour"), ("forehead", "colour")],
    "hair_tone": [("hairline", "colour")],
    "eye_shape": [("eyes", "geometry")],
    "lip_shape": [("mouth", "geometry")],
}
"""Technique → the regions and artifacts that it changes."""


def claims(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"region": region, "artifact": artifact, "sentence": "It looks odd."} for region, artifact in pairs]


def edited(face: Face, image: Pixels, landmarks: np.ndarray | None = None) -> Face:
    moved = face.landmarks if landmarks is None else landmarks
    return replace(face, image=image, landmarks=moved, label="forged", category="face_editing", face_id="")


def one_region(face: Face, region: str, artifact: str, rng: np.random.Generator) -> Face:
    """Alter one region so that it has one artifact."""
    mask = np.float32(region_masks(face.landmarks, SIZE)[region])
    mask = mask if artifact == "boundary" else cv2.GaussianBlur(mask, (0, 0), 1)
    image = np.float32(face.image)
    other = {
        "colour": lambda: image + rng.choice([-1, 1]) * np.float32([30, -20, 10]),
        "texture": lambda: image + rng.normal(0, 12, (SIZE, SIZE, 1)),
        "sharpness": lambda: cv2.GaussianBlur(image, (0, 0), 3),
        "boundary": lambda: image - 40,
    }[artifact]()
    return edited(face, np.rint(mask[..., None] * other.clip(0, 255) + (1 - mask[..., None]) * image).astype(np.uint8))


@pytest.fixture(scope="module")
def faces() -> list[Face]:
    return list(draw_sample(identities=24, pictures=1, size=SIZE, seed=3))


def scores(forgeries: list[tuple[Face, Face, list[dict[str, str]]]]) -> tuple[float, float]:
    """Return the mean score of each forgery's own description, and of the descriptions of eight others."""
    own, others = [], []
    for number, (forgery, bona_fide, own_claims) in enumerate(forgeries):
        own.append(ground(own_claims, forgery, [], bona_fide)[1])
        for step in range(1, 9):
            other_claims = forgeries[(number + step) % len(forgeries)][2]
            others.append(ground(other_claims, forgery, [], bona_fide)[1])
    return float(np.mean(own)), float(np.mean(others))


def test_a_description_of_the_true_edit_scores_high_and_that_of_another_face_low(faces: list[Face]) -> None:
    rng = np.random.default_rng(0)
    forgeries = []
    for face in faces:
        for artifact in ("colour", "texture", "sharpness", "boundary"):
            region = str(rng.choice([region for region in REGIONS if region != "jawline"]))
            forgeries.append((one_region(face, region, artifact, rng), face, claims((region, artifact))))
    own, others = scores(forgeries)
    print(f"one region edited, {len(forgeries)} forgeries: own description {own:.3f}, another's {others:.3f}")
    made = []
    for number, face in enumerate(faces):
        name = list(CLAIMS_BY_TECHNIQUE)[number % len(CLAIMS_BY_TECHNIQUE)]
        try:
            forgery = TECHNIQUES[name].forge(face, None, np.random.default_rng(number))
        except ValueError:
            continue
        made.append((edited(face, forgery.image, forgery.landmarks), face, claims(*CLAIMS_BY_TECHNIQUE[name])))
    own_made, others_made = scores(made)
    print(f"editing techniques, {len(made)} forgeries: own description {own_made:.3f}, another's {others_made:.3f}")
    assert min(own, own_made) >= 0.9 and max(others, others_made) <= 0.4
