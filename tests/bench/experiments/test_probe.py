"""Table I's procedure: frozen vision models of several families, one linear layer for DF-D and one for DF-C."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaModel,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)
from typer.testing import CliRunner

from dfa_instruct.bench.experiments.backbones import Features, load_backbone
from dfa_instruct.bench.experiments.probe import features_of, linear_layer, run_probe
from dfa_instruct.bench.rows import stream
from dfa_instruct.cli import app

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**SMALL, "intermediate_size": 64, "image_size": 32, "patch_size": 8}


def prepared(folder: Path, model: Any, processor: Any) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def resnet(folder: Path) -> Path:
    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    return prepared(folder, ResNetModel(config), ViTImageProcessor(size={"height": 64, "width": 64}))


def deit(folder: Path) -> Path:
    """As DeiT's checkpoints are: a classifier, without the pooler that `AutoModel` would draw at random."""
    model = ViTForImageClassification(ViTConfig(**VISION, num_labels=3))
    return prepared(folder, model, ViTImageProcessor(size={"height": 32, "width": 32}))


def clip(folder: Path) -> Path:
    text = {**SMALL, "intermediate_size": 64, "vocab_size": 99}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16))
    return prepared(folder, model, CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32))


def clip_vision(folder: Path) -> Path:
    model = CLIPVisionModel(CLIPVisionConfig(**VISION))
    return prepared(folder, model, CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32))


def dinov2(folder: Path) -> Path:
    """Without a file that says how pictures are prepared."""
    Dinov2Model(Dinov2Config(**SMALL, image_size=42, patch_size=14)).save_pretrained(folder)
    return folder


@pytest.fixture
def faces() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)) for _ in range(3)]


@pytest.mark.parametrize("write", [resnet, deit, clip, clip_vision, dinov2])
def test_a_face_has_the_same_vector_however_it_is_batched_and_loaded(
    write: Callable[[Path], Path], faces: list[Image.Image], tmp_path: Path
) -> None:
    folder = write(tmp_path / "model")
    backbone = load_backbone(str(folder))
    vectors = backbone.features(faces)
    assert vectors.shape == (3, 32) and vectors.dtype == np.float32
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    again = load_backbone(str(folder))
    assert again.fingerprint == backbone.fingerprint
    np.testing.assert_allclose(again.features(faces[:1]), vectors[:1], atol=1e-5)


def test_what_stands_for_a_face_is_pretrained(faces: list[Image.Image], tmp_path: Path) -> None:
    model = ViTForImageClassification.from_pretrained(deit(tmp_path / "deit")).eval()
    pixels = ViTImageProcessor.from_pretrained(tmp_path / "deit")(faces, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = model.vit(pixels).last_hidden_state[:, 0]
    np.testing.assert_allclose(load_backbone(str(tmp_path / "deit")).features(faces), expected, atol=1e-5)
    seen = CLIPVisionModel.from_pretrained(clip_vision(tmp_path / "clip")).eval()
    pixels = CLIPImageProcessor.from_pretrained(tmp_path / "clip")(faces, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = seen(pixels).pooler_output
    np.testing.assert_allclose(load_backbone(str(tmp_path / "clip")).features(faces), expected, atol=1e-5)


def test_of_a_llava_its_tower_is_seen(faces: list[Image.Image], base: Path, tmp_path: Path) -> None:
    """`base` is the tiny one of the package."""
    model = AutoModelForImageTextToText.from_pretrained(base).model.vision_tower
    model.save_pretrained(tmp_path / "tower")
    AutoProcessor.from_pretrained(base).image_processor.save_pretrained(tmp_path / "tower")
    expected = load_backbone(str(tmp_path / "tower")).features(faces)
    np.testing.assert_allclose(load_backbone(str(base)).features(faces), expected, atol=1e-5)


def test_other_weights_or_another_size_have_another_fingerprint(tmp_path: Path) -> None:
    first = load_backbone(str(dinov2(tmp_path / "model")))
    assert load_backbone(str(tmp_path / "model"), 28).fingerprint != first.fingerprint
    assert load_backbone(str(dinov2(tmp_path / "model"))).fingerprint != first.fingerprint


class Brightness:
    """Two numbers of a face, and a count of the faces that it was shown."""

    fingerprint = "brightness"

    def __init__(self) -> None:
        self.seen = 0

    def features(self, images: Sequence[Image.Image]) -> Features:
        self.seen += len(images)
        return np.array([[np.asarray(image).mean(), np.asarray(image).std()] for image in images], np.float32)


def test_vectors_are_computed_once_and_follow_the_faces(dataset_folder: Path, tmp_path: Path) -> None:
    backbone = Brightness()
    rows = list(stream(dataset_folder, "test", ["face_id"]))
    vectors = features_of(backbone, dataset_folder, "test", rows, tmp_path)
    assert backbone.seen == len(rows) == len(vectors)
    np.testing.assert_array_equal(features_of(backbone, dataset_folder, "test", rows, tmp_path), vectors)
    assert backbone.seen == len(rows)
    validation = list(stream(dataset_folder, "validation", ["face_id"]))
    features_of(backbone, dataset_folder, "validation", validation, tmp_path)
    assert backbone.seen == len(rows) + len(validation)


def test_one_epoch_of_one_layer_learns_what_is_linear_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(640, 8)).astype(np.float32)
    for truth, least, most in ((x[:, 3] > 0, 0.9, 1), (x[:, 3] * x[:, 5] > 0, 0.3, 0.7)):
        layer = linear_layer(x[:512], truth[:512].astype(np.int64), 2, rate=1e-1, seed=0)
        assert least < (layer(x[512:]).argmax(1) == truth[512:]).mean() <= most


def test_the_figures_are_those_of_a_bench_and_repeat(dataset_folder: Path, tmp_path: Path) -> None:
    folder = str(resnet(tmp_path / "model"))
    results = run_probe(folder, dataset_folder, cache=tmp_path / "cache")
    assert str(tmp_path) not in str(results) and results["model"] == "model"  # results are published: no path of ours
    images = results["counts"]["images"]
    assert set(results["tasks"]) == {"dfa_bench_dfd", "dfa_bench_dfc"} and results["counts"]["questions"] == 2 * images
    assert results["tasks"]["dfa_bench_dfd"]["invalid"] == results["tasks"]["dfa_bench_dfc"]["invalid"] == 0
    assert 0 <= results["scores"]["probabilities"]["auc"] <= 100
    assert results["scores"]["probabilities"]["choice"] == pytest.approx(100, abs=0.1)  # one of the two is always said
    assert run_probe(folder, dataset_folder, cache=tmp_path / "cache") == results
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_what_cannot_be_probed_is_one_line(dataset_folder: Path, tmp_path: Path) -> None:
    LlamaModel(LlamaConfig(**SMALL, intermediate_size=64, vocab_size=99)).save_pretrained(tmp_path / "llama")
    (dinov2(tmp_path / "half") / "config.json").write_text(
        json.dumps(Dinov2Config(**{**SMALL, "num_hidden_layers": 3}, image_size=42).to_dict())
    )
    for model, said in (
        ("nothing", "nothing: no such folder"),
        ("llama", "a llama, which takes no images"),
        ("half", "more are missing"),
    ):
        done = CliRunner().invoke(app, ["probe", str(tmp_path / model), "--data", str(dataset_folder)])
        assert done.exit_code == 2 and said in done.stderr, done.output
        assert done.stderr.strip().splitlines()[-1].startswith(f"error: {tmp_path / model}: ")
