"""The score of a map of changed pixels, and the pixels that count as changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfa_instruct.bench.localisation import best_threshold, image_blind_map, localisation_scores, localised_faces
from dfa_instruct.evidence.paired import changed_pixels

SIDE = 64


@pytest.fixture
def mask() -> np.ndarray:
    made = np.zeros((SIDE, SIDE), bool)
    made[32:, 32:] = True
    return made


def test_a_perfect_map_a_blind_one_and_a_wrong_one(mask: np.ndarray) -> None:
    true = np.array([[0, 0], [0, 1]], np.float32)
    grid = true.repeat(4, 0).repeat(4, 1)
    perfect = localisation_scores([grid], [mask], 0.5)
    assert perfect["faces"] == 1 and perfect["pixel_auc"] > 99 and perfect["iou"] > 90 and perfect["pointing"] == 100
    wrong = localisation_scores([1 - grid], [mask], 0.5)
    assert wrong["pixel_auc"] < 1 and wrong["iou"] < 5 and wrong["pointing"] == 0
    half = image_blind_map([mask, ~mask])
    assert localisation_scores([half], [mask], 0.4)["pixel_auc"] == pytest.approx(50)


def test_faces_that_are_not_changed_or_changed_everywhere_do_not_count(mask: np.ndarray) -> None:
    maps = [np.zeros((8, 8), np.float32)] * 3
    assert localisation_scores(maps, [mask, np.zeros_like(mask), np.ones_like(mask)], 0.5)["faces"] == 1


def test_the_threshold_is_the_best_of_the_given_maps(mask: np.ndarray) -> None:
    grid = np.where(np.arange(8)[:, None] // 4 + np.arange(8) // 4 == 2, 0.3, 0.1).astype(np.float32)
    assert 0.1 < best_threshold([grid], [mask]) < 0.3


def test_a_changed_area_is_found_in_spite_of_compression() -> None:
    rng = np.random.default_rng(0)
    bona_fide = np.full((128, 128, 3), 120, np.uint8)
    forged = (bona_fide + rng.integers(-3, 4, bona_fide.shape)).astype(np.uint8)
    assert not changed_pixels(forged, bona_fide).any()
    forged[40:80, 40:80] += 25
    found = changed_pixels(forged, bona_fide)
    assert found[44:76, 44:76].all() and found.sum() < 1.2 * 40 * 40


def test_forgeries_of_the_same_frame_and_their_bona_fide_faces_are_localised(dataset_folder: Path) -> None:
    faces = list(localised_faces(dataset_folder, "train"))
    changed = [mask.any() for _, mask in faces]
    assert any(changed) and not all(changed) and all(mask.shape == image.size for image, mask in faces)
