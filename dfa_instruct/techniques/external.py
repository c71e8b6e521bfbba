"""Generators from other projects: an ONNX file or a pipeline of Diffusers. Both libraries are optional extras."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from huggingface_hub import hf_hub_download
from numpy.typing import NDArray

from dfa_instruct.face.alignment import align
from dfa_instruct.face.detection import FaceDetector, not_one_face
from dfa_instruct.records import Face, Forgery, Landmarks, Pixels
from dfa_instruct.techniques.warping import usable
from dfa_instruct.vocabulary import Category

MIN_CHANGE = 4
"""The smallest change of the most changed pixel, in levels of 255. A generator that changes less has done nothing."""


@dataclass(slots=True)
class OnnxGenerator:
    """A technique that runs an exported network, which takes images, vectors or both and returns an image.

    A float input of shape (n, 3, height, width) takes an image: the first one the target, the second one the donor or
    driver. Any other float input takes a vector.

    Args:
        model: The path of the file.
        category: The category of its forgeries.
        size: The side of an aligned square in pixels, required for entire face synthesis.
        pixel_range: The network's values for black and white.
        vectors: The vectors that a forgery draws from, each a flat list, for example the domains of a StarGAN or the
            directions of a StyleCLIP. Without them, entire face synthesis draws normally distributed numbers.
        target_input: The name of the input that takes the target, if it is not the first.

    Raises:
        ValueError: The file does not exist, is not a network, or has other inputs than the category needs.
    """

    model: str
    category: Category
    size: int | None = None
    pixel_range: tuple[float, float] = (-1.0, 1.0)
    vectors: Sequence[Sequence[float]] = ()
    target_input: str | None = None
    name: str = field(init=False)
    sha256: str = field(init=False)
    images: dict[str, tuple[int | None, int | None]] = field(init=False)
    """The height and width of each image input, None for any."""
    vector: tuple[str, tuple[int, ...]] | None = field(init=False, default=None)
    """The name and the shape of the vector input."""

    def __post_init__(self) -> None:
        title = f"onnx:{self.model}"
        _check(title, "onnxruntime", "onnx", self.category, self.size)
        if not Path(self.model).is_file():
            raise ValueError(f"{title}: no such file")
        self.name = Path(self.model).stem
        self.sha256 = hashlib.sha256(Path(self.model).read_bytes()).hexdigest()
        self.images = {}
        for given in _load_onnx(self.model).get_inputs():
            if given.type != "tensor(float)":
                raise ValueError(f"{title}: its input {given.name} is a {given.type}; expected tensor(float)")
            shape = [n if isinstance(n, int) and n > 0 else None for n in given.shape]
            if len(shape) == 4 and shape[1] == 3:
                self.images[given.name] = (shape[2], shape[3])
            elif self.vector is None:
                self.vector = (given.name, tuple(n or 1 for n in shape))
            else:
                raise ValueError(f"{title}: it takes two vectors, {self.vector[0]} and {given.name}; expected one")
        expected = {"entire_face_synthesis": (0,), "face_editing": (1,)}.get(self.category, (1, 2))
        if len(self.images) not in expected:
            raise ValueError(
                f"{title}: it takes {len(self.images)} images of shape (n, 3, height, width); "
                f"{self.category} expects {' or '.join(map(str, expected))}"
            )
        if self.target_input is not None:
            if self.target_input not in self.images:
                raise ValueError(f"{title}: no image input {self.target_input}; it has {', '.join(self.images)}")
            self.images = {self.target_input: self.images[self.target_input], **self.images}
        if self.vector is not None:
            name, vector_shape = self.vector
            numbers = int(np.prod(vector_shape))
            if not self.vectors and (self.category != "entire_face_synthesis" or numbers == 1):
                raise ValueError(f"{title}: its input {name} takes a vector of {numbers} numbers; state `vectors`")
            if wrong := [len(v) for v in self.vectors if len(v) != numbers]:
                raise ValueError(f"{title}: its input {name} takes vectors of {numbers} numbers; one has {wrong[0]}")

    @property
    def needs_other(self) -> bool:
        """Whether the network takes a donor or driver, see `Technique`."""
        return len(self.images) == 2

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Run the network, see `Technique`."""
        low, high = self.pixel_range
        feed: dict[str, NDArray[np.float32]] = {}
        parameters: dict[str, Any] = {"model": Path(self.model).name, "model_sha256": self.sha256}
        for (name, (height, width)), face in zip(self.images.items(), (target, other), strict=False):
            picture = usable(face)[0]
            picture = _resized(picture, height or len(picture), width or len(picture))
            scaled = picture.astype(np.float32).transpose(2, 0, 1)[None] / 255
            feed[name] = np.ascontiguousarray(scaled * (high - low) + low, np.float32)
        if self.vector is not None:
            name, shape = self.vector
            if self.vectors:
                drawn = np.asarray(self.vectors[int(rng.integers(len(self.vectors)))], np.float32)
                parameters["vector"] = drawn.tolist()
            else:
                drawn = rng.standard_normal(int(np.prod(shape)), np.float32)
            feed[name] = drawn.reshape(shape)
        output = _session(self.model, os.getpid()).run(None, feed)[0]
        if output.ndim != 4 or output.shape[1] != 3:
            raise ValueError(f"the network returned a tensor of shape {output.shape} instead of (1, 3, height, width)")
        picture = _to_pixels((output[0].transpose(1, 2, 0) - low) / (high - low))
        image, landmarks = _finish(picture, target, self.category, self.size)
        return Forgery(image, landmarks, parameters)


@dataclass(slots=True)
class DiffusersGenerator:
    """A technique that runs a pipeline of Diffusers.

    An unconditional pipeline synthesizes entire faces, and an image-to-image pipeline edits faces. Only weights in
    safetensors are loaded, and no code.

    Args:
        model: A folder or a model on the Hub.
        category: `entire_face_synthesis` or `face_editing`.
        size: The side of an aligned square in pixels, required for entire face synthesis.
        steps: The number of denoising steps. None for the pipeline's default.
        prompts: The prompts that a forgery draws from, for pipelines that take a prompt.
        strength: How far image-to-image departs from the target, above 0 and at most 1.
        device: The torch device.

    Raises:
        ValueError: There is no such pipeline, or a setting is wrong.
    """

    model: str
    category: Category
    size: int | None = None
    steps: int | None = None
    prompts: Sequence[str] = ()
    strength: float = 0.4
    device: str = "cpu"
    name: str = field(init=False)

    def __post_init__(self) -> None:
        title = f"diffusers:{self.model}"
        _check(title, "diffusers", "diffusers", self.category, self.size)
        if self.category not in ("entire_face_synthesis", "face_editing"):
            raise ValueError(f"{title}: a pipeline does entire_face_synthesis or face_editing, not {self.category}")
        if not 0 < self.strength <= 1:
            raise ValueError(f"{title}: strength is {self.strength}; expected more than 0 and at most 1")
        self.name = Path(self.model).name
        index = "model_index.json"
        try:
            if not (Path(self.model) / index).is_file():
                hf_hub_download(self.model, index)
        except (OSError, ValueError) as error:
            raise ValueError(f"{title}: neither a folder with {index} nor a pipeline on the Hub") from error

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Run the pipeline, see `Technique`."""
        picture, parameters = self.generate(target, rng)
        image, landmarks = _finish(picture, target, self.category, self.size)
        return Forgery(image, landmarks, parameters)

    def generate(self, target: Face | None, rng: np.random.Generator) -> tuple[Pixels, dict[str, Any]]:
        """Return the pipeline's picture, in the pipeline's own size, and its parameters."""
        import torch

        settings: dict[str, Any] = {"generator": torch.Generator().manual_seed(int(rng.integers(2**63)))}
        parameters: dict[str, Any] = {"model": self.name}
        if self.steps:
            settings["num_inference_steps"] = parameters["steps"] = self.steps
        if self.prompts:
            settings["prompt"] = parameters["prompt"] = str(rng.choice(list(self.prompts)))
        if self.category == "face_editing":
            settings["strength"] = parameters["strength"] = self.strength
            settings["image"] = usable(target)[0][None].astype(np.float32) / 255
        pipeline = _pipeline(self.model, self.category, self.device, os.getpid())
        picture = _to_pixels(np.asarray(pipeline(**settings, output_type="np").images)[0])
        if not picture.any():
            raise ValueError("the pipeline returned a black picture, perhaps because of its safety checker")
        return picture, parameters


def _check(title: str, module: str, extra: str, category: Category, size: int | None) -> None:
    """Raise ValueError if the extra is not installed, or the size is missing."""
    if find_spec(module) is None:
        raise ValueError(f"{title} needs {module}: pip install 'dfa-instruct[{extra}]'")
    if category == "entire_face_synthesis" and size is None:
        raise ValueError(f"{title}: entire_face_synthesis needs the size of an aligned face in pixels")


def _load_onnx(model: str) -> Any:
    """Open a network in one thread, so that its sums are the same on every machine."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # The exceptions of ONNX Runtime have no common base class.
        reason = str(error).splitlines()[0]
        raise ValueError(f"onnx:{model}: not a network that ONNX Runtime can open: {reason}") from error


@lru_cache(maxsize=4)
def _session(model: str, process: int) -> Any:
    """Open a network once in each process."""
    return _load_onnx(model)


@lru_cache(maxsize=1)
def _pipeline(model: str, category: Category, device: str, process: int) -> Any:
    """Open a pipeline once in each process."""
    from diffusers import AutoPipelineForImage2Image, DiffusionPipeline

    kind = DiffusionPipeline if category == "entire_face_synthesis" else AutoPipelineForImage2Image
    pipeline = kind.from_pretrained(model, use_safetensors=True).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _to_pixels(values: NDArray[np.floating]) -> Pixels:
    """Convert values from 0 to 1 to pixels."""
    return np.rint(255 * values.clip(0, 1)).astype(np.uint8)


def _resized(picture: Pixels, height: int, width: int) -> Pixels:
    if picture.shape[:2] == (height, width):
        return picture
    interpolation = cv2.INTER_AREA if height < len(picture) else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=interpolation), np.uint8)


def _finish(picture: Pixels, target: Face | None, category: Category, size: int | None) -> tuple[Pixels, Landmarks]:
    """Resize a generated picture to the target's size, or align it like a photograph if it has no target.

    A swapped or edited face keeps the target's landmarks. Those of a reenacted or synthesized face are detected.
    """
    if category != "entire_face_synthesis":
        bona_fide, landmarks = usable(target)
        picture = _resized(picture, *bona_fide.shape[:2])
        if np.abs(picture.astype(int) - bona_fide).max() < MIN_CHANGE:
            raise ValueError("the generator returned the target unchanged")
        if category != "face_reenactment":
            return picture, landmarks
    with FaceDetector() as detector:
        found = detector.detect(picture)
    if len(found) != 1:
        raise ValueError(f"in the generated picture, {not_one_face(len(found))}")
    return (picture, found[0]) if size is None or target is not None else align(picture, found[0], size)
