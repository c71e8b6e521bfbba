"""Generators from other projects: ONNX files and Diffusers pipelines, each a tiny real one."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfa_instruct.records import Face
from dfa_instruct.sources.portraits.drawing import draw_person
from dfa_instruct.techniques.external import DiffusersGenerator
from dfa_instruct.techniques.forge import forge
from dfa_instruct.techniques.registry import find_technique

SIDE = 128


@pytest.fixture(scope="module")
def faces() -> list[Face]:
    return [face for number in range(2) for face in draw_person(number, 2, SIDE, seed=3)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def write_onnx(
    path: Path, inputs: dict[str, list[Any]], nodes: list[tuple[str, list[str], str]], **constants: Any
) -> str:
    """Write a graph of nodes (operator, inputs, output) with the output `made` and return its name for a recipe."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    tensor, helper = onnx.TensorProto.FLOAT, onnx.helper
    graph = helper.make_graph(
        [helper.make_node(kind, taken, [given]) for kind, taken, given in nodes],
        "tiny",
        [helper.make_tensor_value_info(name, tensor, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("made", tensor, None)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return f"onnx:{path}"


def test_onnx_edits_an_image_by_a_vector(tmp_path: Path, faces: list[Face]) -> None:
    """Like a StarGAN: an image and a domain in, an image out."""
    name = write_onnx(
        tmp_path / "tiny_stargan.onnx",
        {"image": ["n", 3, SIDE // 2, SIDE // 2], "domain": ["n", 3]},
        [("Reshape", ["domain", "shape"], "colour"), ("Add", ["image", "colour"], "made")],
        shape=np.array([-1, 3, 1, 1]),
    )
    vectors = [[0.25, 0, 0], [0, 0, -0.25]]
    technique = find_technique(name, category="face_editing", size=SIDE, vectors=vectors)
    assert technique.name == "tiny_stargan"
    technique = pickle.loads(pickle.dumps(technique))  # as it is when it is sent to a worker
    drawn = set()
    for seed in range(6):
        forgery, again = (technique.forge(faces[0], None, rng(seed)) for _ in range(2))
        assert forgery.image.tobytes() == again.image.tobytes() and forgery.image.shape == (SIDE, SIDE, 3)
        assert np.array_equal(forgery.landmarks, faces[0].landmarks)
        assert forgery.parameters["model"] == "tiny_stargan.onnx" and len(forgery.parameters["model_sha256"]) == 64
        change = (forgery.image.astype(float) - faces[0].image).mean((0, 1))
        assert np.argmax(np.abs(change)) == np.flatnonzero(forgery.parameters["vector"])[0]
        drawn.add(tuple(forgery.parameters["vector"]))
    assert len(drawn) == 2


@pytest.mark.parametrize("target_input", [None, "b"])
def test_onnx_swaps_a_target_and_a_donor(target_input: str | None, tmp_path: Path, faces: list[Face]) -> None:
    name = write_onnx(
        tmp_path / "tiny_swap.onnx",
        {"a": [1, 3, "height", "width"], "b": [1, 3, "height", "width"]},
        [("Mul", ["a", "much"], "x"), ("Mul", ["b", "little"], "y"), ("Add", ["x", "y"], "made")],
        much=np.float32(0.75),
        little=np.float32(0.25),
    )
    technique = find_technique(name, category="face_swapping", target_input=target_input, pixel_range=(0, 1))
    forgery = technique.forge(faces[0], faces[2], rng())
    weight = 0.75 if target_input is None else 0.25
    expected = weight * faces[0].image + (1 - weight) * faces[2].image.astype(float)
    assert np.abs(forgery.image - expected).max() <= 1
    with pytest.raises(ValueError, match="landmarks"):
        technique.forge(faces[0], None, rng())


def test_a_forgery_by_a_network_without_a_donor_shows_the_target_only(tmp_path: Path, faces: list[Face]) -> None:
    node = [("Mul", ["a", "much"], "made")]
    name = write_onnx(tmp_path / "one_person.onnx", {"a": [1, 3, SIDE, SIDE]}, node, much=np.float32(0.75))
    technique = find_technique(name, category="face_swapping", pixel_range=(0, 1))
    forged = forge(technique, faces[0], faces, 0, "train", seed=0)
    assert forged.identities == faces[0].identities and "other" not in forged.parameters


@pytest.mark.usefixtures("landmarker")
def test_onnx_synthesizes_a_face_that_is_found_and_aligned(tmp_path: Path, faces: list[Face]) -> None:
    """Like a DCGAN: noise of shape (n, 8, 1, 1) in, a face of another size out."""
    portrait = draw_person(5, 1, 192, seed=1)[0].image.transpose(2, 0, 1)[None] / np.float32(127.5) - 1
    nodes = [("ReduceMean", ["noise"], "m"), ("Mul", ["m", "little"], "shift"), ("Add", ["face", "shift"], "made")]
    constants = {"face": portrait.astype(np.float32), "little": np.float32(0.3)}
    name = write_onnx(tmp_path / "tiny_gan.onnx", {"noise": ["n", 8, 1, 1]}, nodes, **constants)
    technique = find_technique(name, category="entire_face_synthesis", size=SIDE)
    once, twice = (technique.forge(None, None, rng(seed)) for seed in (0, 1))
    assert once.image.shape == (SIDE, SIDE, 3) and once.image.tobytes() != twice.image.tobytes()
    eyes, mouth = once.landmarks[36:48].mean(0), once.landmarks[48:68].mean(0)
    assert np.abs(eyes - [0.5 * SIDE, 0.46 * SIDE]).max() < 0.06 * SIDE
    assert np.abs(mouth - [0.5 * SIDE, 0.71 * SIDE]).max() < 0.06 * SIDE


def test_onnx_that_gives_the_target_back_is_no_forgery(tmp_path: Path, faces: list[Face]) -> None:
    name = write_onnx(tmp_path / "lazy.onnx", {"image": [1, 3, SIDE, SIDE]}, [("Identity", ["image"], "made")])
    technique = find_technique(name, category="face_editing")
    with pytest.raises(ValueError, match="returned the target unchanged"):
        technique.forge(faces[0], None, rng())


@pytest.mark.parametrize(
    ("inputs", "settings", "message"),
    [
        ({"image": [1, 3, 8, 8], "c": [1, 5]}, {"category": "face_editing"}, "vector of 5 numbers; state `vectors`"),
        ({"i": [1, 3, 8, 8], "c": [1, 5]}, {"category": "face_editing", "vectors": [[1, 2]]}, "5 numbers; one has 2"),
        ({"a": [1, 3, 8, 8], "b": [1, 3, 8, 8]}, {"category": "face_editing"}, "takes 2 images.*expects 1"),
        ({"z": [1, 4]}, {"category": "entire_face_synthesis"}, "needs the size"),
        ({"z": [1, 4]}, {"category": "face_swapping"}, "takes 0 images"),
        ({"a": [1, 3, 8, 8]}, {"category": "face_editing", "target_input": "x"}, "no image input x; it has a"),
        ({"a": [1, 3, 8, 8]}, {"category": "face_editing", "pixelrange": (0, 1)}, "pixelrange.*it takes .*pixel_range"),
    ],
)
def test_onnx_that_does_not_fit_is_refused(
    inputs: dict[str, list[Any]], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    name = write_onnx(tmp_path / "net.onnx", inputs, [("Identity", [next(iter(inputs))], "made")])
    with pytest.raises(ValueError, match=message):
        find_technique(name, **settings)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ValueError, match=r"text\.onnx: not a network"):
        find_technique(f"onnx:{tmp_path / 'text.onnx'}", category="face_editing")
    with pytest.raises(ValueError, match="no such file"):
        find_technique(f"onnx:{tmp_path / 'gone.onnx'}", category="face_editing")


@pytest.mark.parametrize(("module", "extra"), [("onnxruntime", "onnx"), ("diffusers", "diffusers")])
def test_a_missing_extra_is_named(module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"needs {module}: pip install 'dfa-instruct\[{extra}\]'"):
        find_technique(f"{extra}:model", category="face_editing")


@pytest.fixture(scope="module")
def ddpm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of an untrained unconditional pipeline."""
    diffusers = pytest.importorskip("diffusers")
    import torch

    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=32, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("pipelines") / "tiny_ddpm"
    diffusers.DDPMPipeline(unet, diffusers.DDIMScheduler(num_train_timesteps=20)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of an untrained text-to-image pipeline."""
    diffusers = pytest.importorskip("diffusers")
    import torch
    from tokenizers import Tokenizer, models, processors
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    blocks = {"block_out_channels": (8, 16), "norm_num_groups": 4}
    text = CLIPTextConfig(
        vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=8, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    words = {word: number for number, word in enumerate(("<s>", "</s>", "older", "younger", "<unk>"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    pipeline = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **blocks
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", model_max_length=8
        ),
        unet=diffusers.UNet2DConditionModel(
            sample_size=16, layers_per_block=1, cross_attention_dim=16, attention_head_dim=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **blocks,
        ),
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("pipelines") / "tiny_stable_diffusion"
    pipeline.save_pretrained(folder)
    return str(folder)


def test_diffusers_edits_from_image_to_image(stable_diffusion: str, faces: list[Face]) -> None:
    settings = {"category": "face_editing", "prompts": ["older", "younger"], "steps": 4, "strength": 0.5, "size": SIDE}
    technique = find_technique(f"diffusers:{stable_diffusion}", **settings)
    assert technique.name == "tiny_stable_diffusion"
    technique = pickle.loads(pickle.dumps(technique))
    once, again, differently = (technique.forge(faces[0], None, rng(seed)) for seed in (0, 0, 1))
    assert once.image.shape == (SIDE, SIDE, 3) and once.image.dtype == np.uint8
    assert once.image.tobytes() == again.image.tobytes() != differently.image.tobytes()
    assert np.array_equal(once.landmarks, faces[0].landmarks)
    assert once.parameters["prompt"] in settings["prompts"] and once.parameters["strength"] == 0.5
    with pytest.raises(ValueError, match="landmarks"):
        technique.forge(None, None, rng())


@pytest.mark.usefixtures("landmarker")
def test_diffusers_synthesis_without_a_face_is_refused(ddpm: str) -> None:
    """An untrained pipeline draws noise."""
    technique = find_technique(f"diffusers:{ddpm}", category="entire_face_synthesis", size=SIDE, steps=2)
    assert technique.name == "tiny_ddpm"
    with pytest.raises(ValueError, match="no face was found"):
        technique.forge(None, None, rng())


def test_diffusers_synthesizes_by_the_seed(ddpm: str) -> None:
    generator = DiffusersGenerator(ddpm, "entire_face_synthesis", SIDE, steps=3)
    once, again, differently = (generator.generate(None, rng(seed))[0] for seed in (0, 0, 1))
    assert once.shape == (32, 32, 3) and once.dtype == np.uint8 and once.std() > 5
    assert once.tobytes() == again.tobytes() != differently.tobytes()


def test_pickled_weights_are_refused(ddpm: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "pickled"
    shutil.copytree(ddpm, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    technique = find_technique(f"diffusers:{folder}", category="entire_face_synthesis", size=SIDE, steps=2)
    with pytest.raises(OSError, match="safetensors"):
        technique.forge(None, None, rng())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"category": "face_swapping"}, "entire_face_synthesis or face_editing, not face_swapping"),
        ({"category": "entire_face_synthesis"}, "needs the size"),
        ({"category": "face_editing", "strength": 2.0}, "strength is 2.0"),
        ({"category": "face_editing", "prompt": "old"}, "prompt.*it takes .*prompts"),
    ],
)
def test_diffusers_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str, ddpm: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_technique(f"diffusers:{ddpm}", **settings)


def test_a_folder_without_a_pipeline_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    with pytest.raises(ValueError, match=r"neither a folder with model_index\.json nor a pipeline") as caught:
        find_technique(f"diffusers:{tmp_path}", category="face_editing")
    assert "\n" not in str(caught.value)
