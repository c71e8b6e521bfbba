"""Make the processor of a LLaVA base, and train the tokenizer of the tiny one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dfa_instruct.vlm.messages import CHAT_TEMPLATE, IMAGE_TOKEN


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """Train a byte-level BPE tokenizer with LLaVA's special tokens `<s>`, `</s>`, `<unk>` and `<image>`.

    Returns:
        A `PreTrainedTokenizerFast` that pads on the right with `<unk>`.
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
    """Return a `LlavaProcessor` that resizes images to squares of `image_size` pixels."""
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
