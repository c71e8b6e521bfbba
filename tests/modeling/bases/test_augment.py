"""Degraded training images: each operation changes an image in its own way, and the same seed in the same way."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from dfa_instruct.records import Pixels
from dfa_instruct.sources.portraits.drawing import draw_sample
from modeling_dfa_gpt.bases.augment import OPERATIONS, augment, blur, colour, h264, jpeg, noise, rescale

Operation = Callable[[Pixels, np.random.Generator], Pixels]


@pytest.fixture(scope="module")
def image() -> Pixels:
    """An image with odd sides, which neither JPEG nor H.264 can divide into blocks."""
    return np.ascontiguousarray(next(draw_sample(1, 1, size=96)).image[:93, :77])


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def detail(image: Pixels) -> float:
    return float(np.abs(cv2.Laplacian(image.mean(-1), cv2.CV_64F)).mean())


@pytest.mark.parametrize("operation", [*OPERATIONS, augment])
def test_an_operation_keeps_the_size_and_repeats_with_its_seed(operation: Operation, image: Pixels) -> None:
    before = image.copy()
    results = [operation(image, rng(seed)) for seed in range(6)]
    for seed, result in enumerate(results):
        assert result.shape == image.shape and result.dtype == np.uint8
        assert result.tobytes() == operation(image, rng(seed)).tobytes()
        assert np.corrcoef(result.ravel(), image.ravel())[0, 1] > 0.9
    assert len({result.tobytes() for result in results}) >= 4
    assert np.array_equal(image, before)


@pytest.mark.parametrize("operation", [blur, rescale, h264])
def test_detail_is_lost(operation: Operation, image: Pixels) -> None:
    assert np.mean([detail(operation(image, rng(seed))) for seed in range(8)]) < 0.9 * detail(image)


def test_noise_has_its_deviation_and_colour_moves_the_mean(image: Pixels) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    deviations = [noise(grey, rng(seed)).std() for seed in range(8)]
    assert 0.9 < min(deviations) < 3 and 5 < max(deviations) < 8.3
    means = np.array([colour(image, rng(seed)).mean((0, 1)) for seed in range(8)])
    assert (means.std(0) > 3).all()


@pytest.mark.parametrize("codec", [jpeg, h264])
def test_a_codec_keeps_the_channels_in_their_order(codec: Operation) -> None:
    patch = np.full((64, 64, 3), (200, 120, 40), np.uint8)
    assert np.abs(codec(patch, rng(0)).astype(int) - patch).max() <= 6


def test_each_operation_is_reached_and_some_images_stay(image: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict.fromkeys(OPERATIONS, 0)

    def counted(operation: Operation) -> Operation:
        def run(pixels: Pixels, rng: np.random.Generator) -> Pixels:
            counts[operation] += 1
            return operation(pixels, rng)

        return run

    shares = {counted(operation): share for operation, share in OPERATIONS.items()}
    monkeypatch.setattr("modeling_dfa_gpt.bases.augment.OPERATIONS", shares)
    results = [augment(image, rng(seed)) for seed in range(150)]
    for operation, share in OPERATIONS.items():
        assert counts[operation] / len(results) == pytest.approx(share, abs=0.12)
    assert any(np.array_equal(result, image) for result in results)
