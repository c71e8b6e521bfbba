"""The number of an image's tokens, computed from configuration files, is that of the processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest
from families import FAMILY_MAKERS, llava_next
from transformers import AutoConfig, AutoProcessor

from dfa_instruct.vlm.image_tokens import image_tokens
from dfa_instruct.vlm.inputs import encode_images

PACKED = ("llava_next", "llava_onevision")


@pytest.mark.parametrize("size", [(48, 48), (64, 32), (40, 64)])
@pytest.mark.parametrize("maker", [maker for maker in FAMILY_MAKERS if maker.id not in PACKED])
def test_the_tokens_are_those_of_the_processor(
    maker: Callable[[Path], Path], size: tuple[int, int], tmp_path: Path
) -> None:
    folder = maker(tmp_path)
    picture = PIL.Image.effect_noise(size, 90).convert("RGB")
    encoded = encode_images(AutoProcessor.from_pretrained(folder), [picture])
    found = image_tokens(AutoConfig.from_pretrained(folder), folder, picture.height, picture.width)
    expected = len(encoded.tokens[0])
    assert found.tokens == pytest.approx(expected, abs=2)  # tiny tokenizers split a blank line
    if "image_grid_thw" in encoded.features:
        assert found.patches == encoded.features["image_grid_thw"].prod()
    else:
        assert found.crops == encoded.features["pixel_values"].flatten(0, -4).shape[0]


def test_a_family_whose_tokens_cannot_be_computed_says_so(tmp_path: Path) -> None:
    folder = llava_next(tmp_path)
    with pytest.raises(ValueError, match="cannot be estimated for llava_next"):
        image_tokens(AutoConfig.from_pretrained(folder), folder, 64, 64)


def test_a_missing_image_processor_is_named(tmp_path: Path) -> None:
    config = AutoConfig.for_model("qwen2_5_vl")
    with pytest.raises(ValueError, match=r"expected a preprocessor_config\.json"):
        image_tokens(config, tmp_path, 64, 64)
