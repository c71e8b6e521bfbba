"""From conversations and images to what a model takes. Every key that a processor returns reaches the model.

LLaVA-1.5 takes `pixel_values` only; other families also take the sizes or grids of the images (`image_sizes`,
`image_grid_thw`), masks, or the number of crops. So nothing here names these keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dfa_instruct.vlm.messages import Message, with_image

TEXT_KEYS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})
"""What a processor returns of the text; all other keys belong to the images."""


@dataclass(frozen=True)
class EncodedImages:
    """Images as a processor has prepared them. They can be used in any number of prompts.

    Attributes:
        tokens: for each image, the token ids that stand for it in a prompt.
        features: what the model takes of all images, one tensor a key.
    """

    tokens: list[list[int]]
    features: dict[str, Any]


def on(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors on the model's device, those of floating point in the model's dtype."""
    return {
        key: value.to(model.device, model.dtype if value.is_floating_point() else None) for key, value in inputs.items()
    }


def encode_images(processor: Any, images: Sequence[Any]) -> EncodedImages:
    """Prepare images.

    Args:
        processor: the model's processor.
        images: Pillow images in RGB.
    """
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
    """Return the token ids of a prompt, with those of its image in the place of the image token.

    A beginning-of-sequence token is added where the chat template writes none, as Transformers does it.

    Args:
        processor: the model's processor.
        text: the prompt, see `dfa_instruct.vlm.messages.render`.
        image: the token ids that stand for the image, see `EncodedImages`.
    """
    bos = processor.tokenizer.bos_token
    written = bos is not None and text.startswith(bos)
    ids = processor.tokenizer(text, add_special_tokens=not written)["input_ids"]
    place = ids.index(processor.image_token_id)
    return [*ids[:place], *image, *ids[place + 1 :]]


def training_tokens(processor: Any, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Return the token ids of a whole conversation, with one image token, and which of them the loss is taken on.

    Raises:
        ValueError: the chat template marks no answer.
    """
    encoded = processor.tokenizer.apply_chat_template(
        with_image(messages),
        chat_template=processor.chat_template,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    learnt = [bool(mask) for mask in encoded["assistant_masks"]]
    if not any(learnt):
        raise ValueError("the chat template marks no answer ({% generation %}): nothing would be learnt")
    return list(encoded["input_ids"]), learnt


def encode_prompts(processor: Any, conversations: Sequence[Sequence[Message]], images: Sequence[Any]) -> Any:
    """Return a batch for `generate`: prompts of one image each, padded on the left.

    Args:
        processor: the model's processor.
        conversations: for each prompt, its messages of text.
        images: the image of each prompt, in RGB.
    """
    return processor.apply_chat_template(
        [with_image(messages, image) for messages, image in zip(conversations, images, strict=True)],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left"},
    )
