"""Vision-only models, which turn a face into a feature vector.

Any model that Transformers loads can be used. Another package can add its own by the entry-point group
`dfa_instruct.probes`: a callable without arguments that returns a `Backbone`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfa_instruct.plugins import call_with, load_plugin
from dfa_instruct.vlm.load import check_on_hub, is_model, naming

if TYPE_CHECKING:
    import torch

ENTRY_POINTS: Final = "dfa_instruct.probes"
USUAL_SIDE: Final = 224
"""The side of images in pixels, for a model whose folder has no image processor."""

Features = NDArray[np.float32]
"""Shape (images, channels)."""


class Backbone(Protocol):
    """A frozen model of images."""

    fingerprint: str
    """The key of cached features. It must change with the weights and with the preparation of images."""

    def features(self, images: Sequence[Image.Image]) -> Features:
        """Return the feature vector of each image (RGB)."""
        ...


def load_backbone(name: str, image_size: int | None = None) -> Backbone:
    """Load the model of a plug-in, or a model of Transformers.

    Args:
        name: The name of a plug-in's entry point, a folder, or a Hub id.
        image_size: The side to which images are resized, in pixels. None: the size that the model's folder gives.

    Raises:
        OSError: The model does not exist, the Hub cannot be reached, or the weights cannot be read.
        ValueError: Transformers cannot load the model, it takes no images, weights are missing, or a plug-in does not
            load.
    """
    if name not in entry_points(group=ENTRY_POINTS).names:
        return Pretrained(name, image_size)
    if image_size is not None:
        raise ValueError(f"probe {name}: a plug-in takes no image size")
    return call_with(load_plugin(ENTRY_POINTS, "probe", name, ()), f"probe {name}", {})


class Pretrained:
    """The vision part of a model that `AutoModel` loads: ResNet, DeiT, CLIP, SigLIP, DINOv2, LLaVA and others.

    Args:
        name: See `load_backbone`.
        image_size: See `load_backbone`.

    Attributes:
        model: The vision model.
        prepare: Its image processor.
        pooled: Whether its pooler is pretrained, see `vectors_of`.
    """

    def __init__(self, name: str, image_size: int | None = None) -> None:
        if not Path(name).is_dir():
            check_on_hub(name)
        elif not is_model(name):
            raise FileNotFoundError(f"{name}: no model in this folder (expected config.json and safetensors)")

        import torch
        from transformers import AutoModel

        with naming(name):
            loaded, info = AutoModel.from_pretrained(
                name, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
        self.model: Any = loaded.eval()
        missing = set(info["missing_keys"])
        for part in ("vision_tower", "vision_model"):  # LLaVA has the first; CLIP, also that of a LLaVA, the second
            if hasattr(self.model, part):
                self.model = getattr(self.model, part)
                missing = {key.removeprefix(f"{part}.") for key in missing if key.startswith(f"{part}.")}
        if self.model.main_input_name != "pixel_values":
            raise ValueError(f"{name}: a {loaded.config.model_type}, which takes no images")
        self.pooled = not any("pooler" in key for key in missing)
        if random := sorted(key for key in missing if "pooler" not in key):
            raise ValueError(f"{name}: the weights of {random[0]} and {len(random) - 1} more are missing")
        self.prepare = _preparation(name, self.model.config, image_size)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model.to(self._device)
        read = {k: tensor for k, tensor in self.model.state_dict().items() if self.pooled or "pooler" not in k}
        self.fingerprint = _fingerprint(read, self.prepare.to_dict())

    def features(self, images: Sequence[Image.Image]) -> Features:
        """Return the feature vector of each image (RGB)."""
        import torch

        pixels = self.prepare(list(images), return_tensors="pt")["pixel_values"].to(self._device)
        with torch.inference_mode():
            return vectors_of(self.model, pixels, self.pooled).float().cpu().numpy()


def vectors_of(model: Any, pixels: torch.Tensor, pooled: bool) -> torch.Tensor:
    """Return the feature vectors of prepared images, shape (images, channels).

    A vector is the model's pooled output. If the pooler is not pretrained, as for DeiT, it is the first token of the
    last layer.
    """
    output = model(pixel_values=pixels)
    vectors = getattr(output, "pooler_output", None) if pooled else None
    return (output.last_hidden_state[:, 0] if vectors is None else vectors).flatten(1)


def _preparation(name: str, config: Any, image_size: int | None) -> Any:
    """Return the model's image processor, or the usual one for ImageNet if the folder has none."""
    from transformers import AutoImageProcessor, ViTImageProcessorPil
    from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    has_one = not Path(name).is_dir() or any(
        (Path(name) / file).is_file() for file in ("preprocessor_config.json", "processor_config.json")
    )
    if has_one:
        processor = AutoImageProcessor.from_pretrained(name)
    else:
        side = min(getattr(config, "image_size", USUAL_SIDE), USUAL_SIDE)
        processor = ViTImageProcessorPil(
            size={"height": side, "width": side}, image_mean=IMAGENET_DEFAULT_MEAN, image_std=IMAGENET_DEFAULT_STD
        )
    if image_size is not None:
        processor.size = {"height": image_size, "width": image_size}
        processor.do_center_crop = False
    return processor


def _fingerprint(weights: Mapping[str, Any], preparation: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(preparation, sort_keys=True, default=str).encode())
    for key, tensor in sorted(weights.items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
