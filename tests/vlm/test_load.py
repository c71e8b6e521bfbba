"""Opening models: where and in what they compute, what they need, and names that the Hub does not know."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from dfa_instruct.vlm.load import best_device, dtype_on, load_model, load_processor
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from modeling_dfa_gpt.dfa_gpt import DfaGpt


def test_a_gpu_computes_in_bfloat16_and_anything_else_in_float32(base: Path) -> None:
    assert dtype_on(torch.device("cuda", 1)) == torch.bfloat16
    assert dtype_on(torch.device("cpu")) == dtype_on(torch.device("mps")) == torch.float32
    model = load_model(base)
    assert model.device == best_device() and model.dtype == dtype_on(best_device()) and not model.training
    assert best_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_an_adapter_computes_in_the_type_that_is_asked_for(adapter: Path) -> None:
    model = load_model(adapter, torch.device("cpu"), torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


NEEDY = {
    "smolvlm": ("SmolVLMProcessor", ["<image>", "<fake_token_around_image>", "<global-img>"], "SmolVLMImageProcessor"),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", ["<|image_pad|>", "<|video_pad|>"], "Qwen2VLImageProcessor"),
    "internvl": ("InternVLProcessor", ["<IMG_CONTEXT>"], "GotOcr2ImageProcessor"),
}
"""Model types whose processor needs a package → the names of their processors, and their special tokens."""


def needy(folder: Path, kind: str) -> Path:
    """Write a model's folder with a processor that needs packages, and no weights."""
    processor, special, image_processor = NEEDY[kind]
    vocabulary = {token: number for number, token in enumerate(["<unk>", *special, "a"])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    names = {"processor_class": processor, "image_processor_type": image_processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(names))
    (folder / "model.safetensors").touch()
    return folder


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
@pytest.mark.parametrize("kind", NEEDY)
def test_a_processor_that_needs_a_package_says_which(kind: str, tmp_path: Path) -> None:
    folder = needy(tmp_path / kind, kind)
    said = f"{folder}: needs torchvision, which is not installed: pip install torchvision (or 'dfa-instruct[vlms]')"
    for load in (load_processor, DfaGpt.from_pretrained, VisionLanguageModel):
        with pytest.raises(ValueError, match="needs torchvision") as caught:
            load(folder)
        assert str(caught.value) == said


def test_every_way_of_saying_that_a_package_is_missing_is_read(tmp_path: Path) -> None:
    from dfa_instruct.vlm.load import naming

    said = {
        "Package `nowhere1` is required to run the processor. Install it with `pip install nowhere1`.": "nowhere1",
        "\nXTokenizer requires the Nowhere2 library but it was not found in your environment.": "nowhere2",
        "model requires `nowhere3` to be installed. Please install `nowhere3` and try again.": "nowhere3",
    }
    for text, package in said.items():
        with (
            pytest.raises(ValueError, match=f"^m: needs {package}, which is not installed: pip install {package}$"),
            naming("m"),
        ):
            raise ImportError(text)
    with pytest.raises(ValueError, match="m: needs nowhere4,"), naming("m"):
        import nowhere4  # noqa: F401
    with pytest.raises(ValueError, match="m: requires the torch library"), naming("m"):
        raise ValueError("requires the torch library")  # it is there


def hub(endpoint: str, home: Path) -> dict[str, str]:
    """Return an environment without a cache whose Hub is at this address."""
    return {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}


@pytest.mark.parametrize(
    "program", ["dfa_instruct.cli bench", "dfa_instruct.cli probe", "modeling_dfa_gpt.cli analyze"]
)
def test_a_hub_that_cannot_be_reached_is_one_line(program: str, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, but nobody listens: connections are refused
        taken.bind(("127.0.0.1", 0))
        module, command = program.split()
        picture = ["face.png"] if command == "analyze" else []
        done = subprocess.run(
            [sys.executable, "-c", f"from {module} import app; app()", command, "user/model", *picture],
            env=hub(f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: user/model: no such folder, and the Hub cannot be asked for it: ")
    assert done.stderr.count("\n") == 1
