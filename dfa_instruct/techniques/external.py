"""Generators that others trained: an ONNX file, or a pipeline of Diffusers. Both libraries are optional extras."""

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

from dfa_instruct.face.detection import FaceDetector, align, not_one_face
from dfa_instruct.records import Face, Forgery, Landmarks, Pixels
from dfa_instruct.techniques.warping import usable
from dfa_instruct.vocabulary import Category

LEAST_CHANGE = 4
"""Of 255: what the most changed pixel must differ by, lest a model that did nothing make a forgery."""


@dataclass(slots=True)
class OnnxGenerator:
    """An exported network that takes images, vectors or both, and gives an image.

    Its inputs are found in its signature: a float input of shape (n, 3, height, width) is an image, the target first
    and then the donor or driver; every other float input is a vector.

    Args:
        model: the file.
        category: of what it makes.
        size: of an aligned square, in pixels, for entire face synthesis.
        pixel_range: what black and white are to the network.
        vectors: what a forgery draws its vector from (the domains of a StarGAN, the directions of a StyleCLIP, one
            hot or not), each a flat list. Entire face synthesis without them draws normally distributed numbers.
        target_input: the name of the input that the target goes to, where it is not the first.

    Raises:
        ValueError: the file is none, or is not such a network.
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
    """Input → height and width, None where any will do."""
    vector: tuple[str, tuple[int, ...]] | None = field(init=False, default=None)
    """Input and its shape."""

    def __post_init__(self) -> None:
        asked = f"onnx:{self.model}"
        _need("onnxruntime", "onnx", asked)
        _need_size(self.category, self.size, asked)
        if not Path(self.model).is_file():
            raise ValueError(f"{asked}: no such file")
        self.name = Path(self.model).stem
        self.sha256 = hashlib.sha256(Path(self.model).read_bytes()).hexdigest()
        self.images = {}
        for given in _load_onnx(self.model).get_inputs():
            if given.type != "tensor(float)":
                raise ValueError(f"{asked}: its input {given.name} is a {given.type}; expected tensor(float)")
            shape = [n if isinstance(n, int) and n > 0 else None for n in given.shape]
            if len(shape) == 4 and shape[1] == 3:
                self.images[given.name] = (shape[2], shape[3])
            elif self.vector is None:
                self.vector = (given.name, tuple(n or 1 for n in shape))
            else:
                raise ValueError(f"{asked}: it takes two vectors, {self.vector[0]} and {given.name}; expected one")
        expected = {"entire_face_synthesis": (0,), "face_editing": (1,)}.get(self.category, (1, 2))
        if len(self.images) not in expected:
            raise ValueError(
                f"{asked}: it takes {len(self.images)} images of shape (n, 3, height, width); "
                f"{self.category} expects {' or '.join(map(str, expected))}"
            )
        if self.target_input is not None:
            if self.target_input not in self.images:
                raise ValueError(f"{asked}: no image input {self.target_input}; it has {', '.join(self.images)}")
            self.images = {self.target_input: self.images[self.target_input], **self.images}
        if self.vector is not None:
            name, vector_shape = self.vector
            numbers = int(np.prod(vector_shape))
            if not self.vectors and (self.category != "entire_face_synthesis" or numbers == 1):
                raise ValueError(f"{asked}: its input {name} takes a vector of {numbers} numbers; state `vectors`")
            if wrong := [len(v) for v in self.vectors if len(v) != numbers]:
                raise ValueError(f"{asked}: its input {name} takes vectors of {numbers} numbers; one has {wrong[0]}")

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Run the network; see `Technique`."""
        feed: dict[str, NDArray[np.float32]] = {}
        parameters: dict[str, Any] = {"model": Path(self.model).name, "model_sha256": self.sha256}
        for (name, (height, width)), face in zip(self.images.items(), (target, other), strict=False):
            picture = usable(face)[0]
            feed[name] = self._to_network(picture, height or len(picture), width or len(picture))
        if self.vector is not None:
            name, shape = self.vector
            if self.vectors:
                drawn = np.asarray(self.vectors[int(rng.integers(len(self.vectors)))], np.float32)
                parameters["vector"] = drawn.tolist()
            else:
                drawn = rng.standard_normal(int(np.prod(shape)), np.float32)
            feed[name] = drawn.reshape(shape)
        made = _session(self.model, os.getpid()).run(None, feed)[0]
        if made.ndim != 4 or made.shape[1] != 3:
            raise ValueError(f"the network gave a tensor of shape {made.shape} instead of (1, 3, height, width)")
        low, high = self.pixel_range
        picture = np.rint(255 * ((made[0].transpose(1, 2, 0) - low) / (high - low)).clip(0, 1)).astype(np.uint8)
        image, landmarks = _fitted_in(picture, target, self.category, self.size)
        return Forgery(image, landmarks, parameters)

    def _to_network(self, picture: Pixels, height: int, width: int) -> NDArray[np.float32]:
        low, high = self.pixel_range
        scaled = _resized(picture, height, width).astype(np.float32).transpose(2, 0, 1)[None] / 255
        return np.ascontiguousarray(scaled * (high - low) + low, np.float32)


@dataclass(slots=True)
class DiffusersGenerator:
    """A pipeline of Diffusers: an unconditional one synthesizes entire faces, an image-to-image one edits them.

    Its weights come as safetensors, and no code comes with it.

    Args:
        model: a folder, or a model on the Hub.
        category: entire face synthesis or face editing.
        size: of an aligned square, in pixels, for entire face synthesis.
        steps: of denoising; none: as many as the pipeline is used to.
        prompts: what a forgery draws its prompt from, for pipelines that take one.
        strength: how far image-to-image goes from the target, above 0 up to 1.
        device: as torch names it.

    Raises:
        ValueError: there is no such pipeline, or it does something else.
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
        asked = f"diffusers:{self.model}"
        _need("diffusers", "diffusers", asked)
        _need_size(self.category, self.size, asked)
        if self.category not in ("entire_face_synthesis", "face_editing"):
            raise ValueError(f"{asked}: a pipeline does entire_face_synthesis or face_editing, not {self.category}")
        if not 0 < self.strength <= 1:
            raise ValueError(f"{asked}: strength is {self.strength}; expected more than 0 and at most 1")
        self.name = Path(self.model).name
        index = "model_index.json"
        try:
            if not (Path(self.model) / index).is_file():
                hf_hub_download(self.model, index)
        except (OSError, ValueError) as error:
            raise ValueError(f"{asked}: neither a folder with {index} nor a pipeline on the Hub") from error

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Run the pipeline; see `Technique`."""
        picture, parameters = self.draw(target, rng)
        image, landmarks = _fitted_in(picture, target, self.category, self.size)
        return Forgery(image, landmarks, parameters)

    def draw(self, target: Face | None, rng: np.random.Generator) -> tuple[Pixels, dict[str, Any]]:
        """Return the pipeline's picture as it comes, of any size, and its parameters."""
        import torch

        asked: dict[str, Any] = {"generator": torch.Generator().manual_seed(int(rng.integers(2**63)))}
        parameters: dict[str, Any] = {"model": self.name}
        if self.steps:
            asked["num_inference_steps"] = parameters["steps"] = self.steps
        if self.prompts:
            asked["prompt"] = parameters["prompt"] = str(rng.choice(list(self.prompts)))
        if self.category == "face_editing":
            asked["strength"] = parameters["strength"] = self.strength
            asked["image"] = usable(target)[0][None].astype(np.float32) / 255
        pipeline = _pipeline(self.model, self.category, self.device, os.getpid())
        made = np.asarray(pipeline(**asked, output_type="np").images)[0]
        picture = np.rint(255 * made.clip(0, 1)).astype(np.uint8)
        if not picture.any():
            raise ValueError("the pipeline gave a black picture (its safety checker?)")
        return picture, parameters


def _need(module: str, extra: str, asked: str) -> None:
    if find_spec(module) is None:
        raise ValueError(f"{asked} needs {module}: pip install 'dfa-instruct[{extra}]'")


def _need_size(category: Category, size: int | None, asked: str) -> None:
    if category == "entire_face_synthesis" and size is None:
        raise ValueError(f"{asked}: entire_face_synthesis needs the size of an aligned face in pixels")


def _load_onnx(model: str) -> Any:
    """Open a network; one thread, so that its sums do not depend on the machine."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base of their own
        raise ValueError(
            f"onnx:{model}: not a network that ONNX Runtime opens: {str(error).splitlines()[0]}"
        ) from error


@lru_cache(maxsize=4)
def _session(model: str, process: int) -> Any:
    """Keep networks open; a forked process opens its own."""
    return _load_onnx(model)


@lru_cache(maxsize=1)
def _pipeline(model: str, category: Category, device: str, process: int) -> Any:
    """Keep a pipeline open; a forked process opens its own."""
    from diffusers import AutoPipelineForImage2Image, DiffusionPipeline

    kind = DiffusionPipeline if category == "entire_face_synthesis" else AutoPipelineForImage2Image
    pipeline = kind.from_pretrained(model, use_safetensors=True).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _resized(picture: Pixels, height: int, width: int) -> Pixels:
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = height < len(picture)
    resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def _fitted_in(picture: Pixels, target: Face | None, category: Category, size: int | None) -> tuple[Pixels, Landmarks]:
    """Bring what was made to the target's size, or align it like a photograph where there is no target.

    The landmarks of a swapped or edited face are the target's, those of a reenacted or synthesized one are found.
    """
    if category != "entire_face_synthesis":
        bona_fide, landmarks = usable(target)
        picture = _resized(picture, *bona_fide.shape[:2])
        if np.abs(picture.astype(int) - bona_fide).max() < LEAST_CHANGE:
            raise ValueError("the generator gave the target back as it was")
        if category != "face_reenactment":
            return picture, landmarks
    with FaceDetector() as detector:
        found = detector.detect(picture)
    if len(found) != 1:
        raise ValueError(f"in what the generator made, {not_one_face(len(found))}")
    landmarks = found[0]
    return (picture, landmarks) if size is None or target is not None else align(picture, landmarks, size)
