"""From a conversation to token ids: the chat template, and the tiny model's own tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

SYSTEM_PROMPT = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
IMAGE_TOKEN = "<image>"

CHAT_TEMPLATE = (
    "{{ bos_token }}{{ '" + SYSTEM_PROMPT.replace("'", "\\'") + "' }}"
    "{% for message in messages %}"
    "{% if message['content'] is string %}{% set text = message['content'] %}{% set images = 0 %}"
    "{% else %}"
    "{% set text = message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join %}"
    "{% set images = message['content'] | selectattr('type', 'equalto', 'image') | list | length %}"
    "{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{{ (' ' if loop.first else '') + 'USER: ' + '" + IMAGE_TOKEN + "\\n' * images + text }}"
    "{% else %}"
    "{{ ' ASSISTANT:' }}{% generation %}{{ ' ' + text + eos_token }}{% endgeneration %}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
"""LLaVA-1.5's `vicuna_v1` conversation, with BOS, the system prompt, and an end-of-sequence token after every answer.

The template published with the converted checkpoints lacks all three. `{% generation %}` marks what the loss is taken
on: the answer with its leading space, and `</s>`.
"""


def with_image(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Place the image before the first message's text, in the form that chat templates take."""
    first, *others = messages
    return [{**first, "content": [{"type": "image"}, {"type": "text", "text": first["content"]}]}, *others]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """Train a small byte-level BPE on `texts`, with the special tokens of LLaVA's (`<s>`, `</s>`, `<unk>`, `<image>`).

    Returns a `PreTrainedTokenizerFast` that pads on the right with `<unk>`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<unk>", "<s>", "</s>", IMAGE_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<unk>",
        padding_side="right",
        extra_special_tokens={"image_token": IMAGE_TOKEN},
    )


def make_processor(tokenizer: Any, image_size: int, patch_size: int) -> Any:
    """Join a tokenizer and CLIP's image preparation (square, `image_size`) into a `LlavaProcessor`."""
    from transformers import CLIPImageProcessor, LlavaProcessor

    side = {"height": image_size, "width": image_size}
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(size=side, crop_size=side, do_center_crop=False),
        tokenizer=tokenizer,
        patch_size=patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE_TOKEN,
    )
