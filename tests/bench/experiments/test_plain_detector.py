"""The plain detector: a vision model tuned whole with one linear layer, and its row among a bench's baselines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from bench_data import COLOURS, tiny_base, write_counts
from click.testing import Result
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaModel, ResNetConfig, ResNetModel, ViTImageProcessor
from typer.testing import CliRunner

from dfa_instruct.bench.experiments.plain_detector import label_logits, varied
from dfa_instruct.cli import app

COUNTS = {"bona_fide": 12, **dict.fromkeys([category for category in COLOURS if category != "bona_fide"], 6)}


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose categories differ in colour."""
    return write_counts(tmp_path_factory.mktemp("data") / "dfa-instruct", train=COUNTS, validation=COUNTS, test=COUNTS)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ResNet of random weights, with batch normalization."""
    folder = tmp_path_factory.mktemp("model") / "resnet"
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def tuned(model: Path, data: Path, *options: Any) -> Result:
    command = ["probe", model, "--data", data, "--tune", *options]
    return CliRunner().invoke(app, [str(word) for word in command])


@pytest.fixture(scope="module")
def detector(resnet: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("detector") / "out"
    done = tuned(resnet, colours, "--epochs", 30, "--output", output)
    assert done.exit_code == 0, done.output
    return output


def test_it_learns_what_a_picture_shows(detector: Path) -> None:
    results = json.loads((detector / "results.json").read_text())
    assert results["tasks"]["dfa_bench_dfd"]["acer"] == 0
    assert results["tasks"]["dfa_bench_dfc"]["acc"] == 100
    assert results["scores"]["probabilities"]["auc"] == 100
    assert results["model"] == "resnet" and results["probe"]["tuned"] and 1 <= results["probe"]["best_epoch"] <= 30
    assert "DFA-Bench of resnet" in (detector / "report.md").read_text()


def test_the_same_command_gives_the_same_figures(resnet: Path, colours: Path, tmp_path: Path) -> None:
    written = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert tuned(resnet, colours, "--epochs", 2, "--seed", seed, "--output", tmp_path / name).exit_code == 0
        written.append((tmp_path / name / "predictions.parquet").read_bytes())
    assert written[0] == written[1] != written[2]


def test_the_whole_model_is_tuned(resnet: Path, colours: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept: dict[str, torch.Tensor] = {}

    def keep(self: Any, *args: Any, **kwargs: Any) -> Any:
        kept.update({key: tensor.clone() for key, tensor in self.model.model.state_dict().items()})
        return predict(self, *args, **kwargs)

    from transformers import Trainer

    predict = Trainer.predict
    monkeypatch.setattr(Trainer, "predict", keep)
    assert tuned(resnet, colours, "--epochs", 1).exit_code == 0
    before = load_file(resnet / "model.safetensors")
    assert [key for key, tensor in before.items() if torch.equal(tensor, kept[key])] == []  # batch norm's means too


def test_the_images_change_with_every_epoch_and_with_nothing_but_the_seed() -> None:
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))

    def drawn() -> list[bytes]:
        torch.manual_seed(0)
        return [varied(picture).tobytes() for _ in range(20)]

    assert drawn() == drawn()
    assert len(set(drawn())) > 10


def test_the_labels_are_judged_as_if_they_were_equally_frequent() -> None:
    logits = np.log(np.array([[0.2, 0.2, 0.2, 0.2, 0.2], [0.19, 0.21, 0.2, 0.2, 0.2]], np.float32))
    assert label_logits(logits, odds=4.0).argmax(1).tolist() in ([0, 1], [1, 1])
    np.testing.assert_allclose(label_logits(logits, odds=4.0)[0], [np.log(0.2)] * 2, rtol=1e-5)
    assert label_logits(logits, odds=1.0).argmax(1).tolist() == [1, 1]


def test_it_stands_among_the_baselines_of_a_bench(detector: Path, colours: Path, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", 0)
    command = ["bench", base, "--data", colours, "--task", "dfa_bench_dfd", "--limit", 10, "--output", tmp_path / "out"]
    done = CliRunner().invoke(app, [str(word) for word in (*command, "--baselines", "--detector", detector)])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "out" / "results.json").read_text())["baselines"]["plain_detector"]
    assert list(figures) == ["dfa_bench_dfd"] and figures["dfa_bench_dfd"]["acc"] == 100
    assert "| plain detector | 100.00 |" in (tmp_path / "out" / "report.md").read_text()
    done = CliRunner().invoke(app, [str(word) for word in (*command, "--detector", detector)])
    assert done.exit_code == 2 and "expected with --baselines" in done.stderr
    done = CliRunner().invoke(app, [str(word) for word in (*command, "--baselines", "--detector", tmp_path / "out")])
    assert done.exit_code == 2 and f"error: {tmp_path / 'out'}: not a plain detector" in done.stderr


def test_the_detector_of_another_dataset_is_refused(detector: Path, dataset_folder: Path, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", 0)
    command = ["bench", base, "--data", dataset_folder, "--baselines", "--detector", detector]
    done = CliRunner().invoke(app, [str(word) for word in command])
    assert done.exit_code == 2 and "it was measured on another dataset" in done.stderr


def test_what_cannot_be_tuned_is_one_line(resnet: Path, colours: Path, tmp_path: Path) -> None:
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    LlamaModel(LlamaConfig(**size, vocab_size=99)).save_pretrained(tmp_path / "llama")
    (tmp_path / "empty").mkdir()
    one_label = write_counts(tmp_path / "one", **{split: {"bona_fide": 3} for split in ("train", "validation", "test")})
    no_validation = write_counts(tmp_path / "none", train=COUNTS, test=COUNTS)
    for model, data, said in (
        (tmp_path / "nothing", colours, f"{tmp_path / 'nothing'}: no such folder"),
        (tmp_path / "empty", colours, f"{tmp_path / 'empty'}: no model in this folder"),
        (tmp_path / "llama", colours, "a llama, which takes no images"),
        (resnet, tmp_path / "nowhere", f"{tmp_path / 'nowhere'}: no such folder"),
        (resnet, one_label, "the train split has no forged face"),
        (resnet, no_validation, "no validation split"),
    ):
        done = tuned(model, data)
        assert done.exit_code == 2 and said in done.stderr, done.output
        assert done.stderr.strip().splitlines()[-1].startswith("error: ")
