"""Converting conversations and images to a model's inputs.

Every key that a processor returns reaches the model. LLaVA-1.5 takes `pixel_values` only; other families also take the
sizes or grids of the images (`image_sizes`, `image_grid_thw`), masks, or the number of crops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dfa_instruct.vlm.messages import Message, with_image

TEXT_KEYS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})
"""The keys that a processor returns for the text; all other keys belong to the images."""


@dataclass(frozen=True)
class EncodedImages:
    """Images prepared by a processor. They can be used in any number of prompts.

    Attributes:
        tokens: For each image, the token ids that represent it in a prompt.
        features: The model's inputs for all images, one tensor for each key.
    """

    tokens: list[list[int]]
    features: dict[str, Any]


def on(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Move tensors to the model's device, and convert floating-point ones to the model's dtype."""
    return {
        key: value.to(model.device, model.dtype if value.is_floating_point() else None) for key, value in inputs.items()
    }


def encode_images(processor: Any, images: Sequence[Any]) -> EncodedImages:
    """Prepare RGB images with a model's processor."""
    inputs = processor(
        text=[processor.image_token] * len(images),
        images=[[image] for image in images],
        add_special_tokens=False,
        padding=True,
        return_tensors="pt",
    )
    tokens = [
        ids[mask.bool()].tolist() for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]
    return EncodedImages(tokens, {key: value for key, value in inputs.items() if key not in TEXT_KEYS})


def prompt_tokens(processor: Any, text: str, image: Sequence[int]) -> list[int]:
    """Return the token ids of a prompt, in which the image's tokens replace the image token.

    As in Transformers, a beginning-of-sequence token is added if the chat template does not write one.

    Args:
        processor: The model's processor.
        text: The prompt, see `dfa_instruct.vlm.messages.render`.
        image: The token ids that represent the image, see `EncodedImages`.
    """
    bos = processor.tokenizer.bos_token
    written = bos is not None and text.startswith(bos)
    ids = processor.tokenizer(text, add_special_tokens=not written)["input_ids"]
    place = ids.index(processor.image_token_id)
    return [*ids[:place], *image, *ids[place + 1 :]]


def training_tokens(processor: Any, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Return the token ids of a conversation with one image token, and the mask of the tokens that the loss includes.

    Raises:
        ValueError: The chat template does not mark answers.
    """
    encoded = processor.tokenizer.apply_chat_template(
        with_image(messages),
        chat_template=processor.chat_template,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    loss_mask = [bool(mask) for mask in encoded["assistant_masks"]]
    if not any(loss_mask):
        raise ValueError("the chat template marks no answer with {% generation %}, so there is nothing to train on")
    return list(encoded["input_ids"]), loss_mask


def encode_prompts(processor: Any, conversations: Sequence[Sequence[Message]], images: Sequence[Any]) -> Any:
    """Return a batch of prompts for `generate`, padded on the left, from their text messages and RGB images.

    If the last message of each conversation is an answer, the prompts end with it, so that the model continues it.
    """
    continued = conversations[0][-1]["role"] == "assistant"
    return processor.apply_chat_template(
        [with_image(messages, image) for messages, image in zip(conversations, images, strict=True)],
        add_generation_prompt=not continued,
        continue_final_message=continued,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left"},
    )
