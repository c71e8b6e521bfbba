"""Tiny models of random weights, one of each family, in the form in which their families are published."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
import torch
import transformers as hf
from bench_data import tiny_base
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from trl import chat_template_utils as published

SIZE: Final = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT: Final = {**SIZE, "num_key_value_heads": 2, "max_position_embeddings": 4096}
SIDE: Final = {"height": 32, "width": 32}
VOCABULARY = 320
TEXTS = ["Is this face forged? Yes, this face is forged. No. Why? Describe the artifacts in this face."]
UNMARKED: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}"
    "{{ IMAGE if part['type'] == 'image' else part['text'] }}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""A template that marks no answers, as those of families for which TRL has none for training."""


def tokenizer_of(eos: str, pad: str, *special: str, bos: str | None = None, **named: str) -> Any:
    """Train a byte-level tokenizer. If there is a BOS token, it starts every text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    tokens = list(dict.fromkeys([*filter(None, (bos,)), eos, pad, *special, *named.values()]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=tokens, initial_alphabet=alphabet)
    )
    if bos:
        start = [(bos, bpe.token_to_id(bos))]
        bpe.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=start)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        additional_special_tokens=[*special],
        extra_special_tokens=named,
    )


def saved(folder: Path, model_class: Any, config: Any, processor: Any, end: str) -> Path:
    """Write a model of random weights, whose answers end with the token `end`, and its processor."""
    torch.manual_seed(0)
    model = model_class(config)
    tokenizer = processor.tokenizer
    model.generation_config = hf.GenerationConfig(
        eos_token_id=tokenizer.convert_tokens_to_ids(end), pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def llava_next(folder: Path) -> Path:
    """LLaVA-NeXT cuts a picture into as many crops as its shape asks for."""
    tokenizer = tokenizer_of("</s>", "<pad>", bos="<s>", image_token="<image>")
    grid = [[32, 64], [64, 32]]
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**SIZE, image_size=32, patch_size=16),
        text_config=hf.LlamaConfig(**TEXT, vocab_size=len(tokenizer)),
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=grid,
    )
    processor = hf.LlavaNextProcessor(
        hf.LlavaNextImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIDE, image_grid_pinpoints=grid),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=published.llava_next_chat_template,
    )
    return saved(folder, hf.LlavaNextForConditionalGeneration, config, processor, "</s>")


def llava_onevision(folder: Path) -> Path:
    """LLaVA-OneVision, which also cuts pictures into crops."""
    tokenizer = tokenizer_of(
        "<|im_end|>", "<|endoftext|>", "<|im_start|>", image_token="<image>", video_token="<video>"
    )
    grid = [[32, 32], [32, 64], [64, 32], [64, 64]]
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**SIZE, image_size=32, patch_size=8, vision_use_head=False),
        text_config=hf.Qwen2Config(**TEXT, vocab_size=len(tokenizer)),
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        image_grid_pinpoints=grid,
    )
    processor = hf.LlavaOnevisionProcessor(
        hf.LlavaOnevisionImageProcessor(size=SIDE, image_grid_pinpoints=grid),
        tokenizer,
        hf.LlavaOnevisionVideoProcessor(size=SIDE),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=UNMARKED.replace("IMAGE", "'<image>'"),
    )
    return saved(folder, hf.LlavaOnevisionForConditionalGeneration, config, processor, "<|im_end|>")


def _qwen(folder: Path, model_class: Any, processor_class: Any, config: Any, video: Any, template: str) -> Path:
    tokenizer = tokenizer_of(
        "<|im_end|>", "<|endoftext|>", "<|im_start|>", image_token="<|image_pad|>", video_token="<|video_pad|>",
        vision_start_token="<|vision_start|>", vision_end_token="<|vision_end|>",
    )  # fmt: skip
    pixels = {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    made = config(
        text_vocabulary=len(tokenizer),
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        vision_start_token_id=tokenizer.vision_start_token_id,
        vision_end_token_id=tokenizer.vision_end_token_id,
    )
    crops = hf.Qwen2VLImageProcessor(size=pixels, patch_size=8, merge_size=2, temporal_patch_size=2)
    processor = processor_class(
        crops, tokenizer, video(size=pixels, patch_size=8, merge_size=2), chat_template=template
    )
    return saved(folder, model_class, made, processor, "<|im_end|>")


def qwen2_5_vl(folder: Path) -> Path:
    """Qwen2.5-VL, whose positions are three-dimensional."""

    def config(text_vocabulary: int, **tokens: int) -> Any:
        rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
        vision |= {"patch_size": 8, "spatial_merge_size": 2, "window_size": 32, "fullatt_block_indexes": [1]}
        text = {**TEXT, "vocab_size": text_vocabulary, "rope_parameters": rope}
        return hf.Qwen2_5_VLConfig(vision_config=vision, text_config=text, **tokens)

    return _qwen(
        folder,
        hf.Qwen2_5_VLForConditionalGeneration,
        hf.Qwen2_5_VLProcessor,
        config,
        hf.Qwen2VLVideoProcessor,
        published.qwen2_5_vl_chat_template,
    )


def qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL, whose language model also reads earlier layers of the vision tower, each by a projector of its own."""

    def config(text_vocabulary: int, **tokens: int) -> Any:
        rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0}
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
        vision |= {"patch_size": 8, "spatial_merge_size": 2, "deepstack_visual_indexes": [0]}
        vision |= {"num_position_embeddings": 64}
        text = {**TEXT, "vocab_size": text_vocabulary, "rope_parameters": rope, "head_dim": 16}
        return hf.Qwen3VLConfig(vision_config=vision, text_config=text, **tokens)

    return _qwen(
        folder,
        hf.Qwen3VLForConditionalGeneration,
        hf.Qwen3VLProcessor,
        config,
        hf.Qwen3VLVideoProcessor,
        published.qwen3_vl_chat_template,
    )


def internvl(folder: Path) -> Path:
    """InternVL3 in the form for Transformers (-hf)."""
    tokenizer = tokenizer_of(
        "<|im_end|>", "<|endoftext|>", "<|im_start|>", start_image_token="<img>", end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>", video_token="<video>",
    )  # fmt: skip
    vision = {**SIZE, "image_size": [32, 32], "patch_size": [8, 8]}
    config = hf.InternVLConfig(
        vision_config=vision,
        text_config=hf.Qwen2Config(**TEXT, vocab_size=len(tokenizer)),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    processor = hf.InternVLProcessor(
        hf.GotOcr2ImageProcessor(size=SIDE, crop_to_patches=True, min_patches=1, max_patches=4),
        tokenizer,
        hf.InternVLVideoProcessor(size=SIDE),
        image_seq_length=4,
        chat_template=UNMARKED.replace("IMAGE", "'<IMG_CONTEXT>\n'"),
    )
    return saved(folder, hf.InternVLForConditionalGeneration, config, processor, "<|im_end|>")


IDEFICS_TOKENS: Final = (
    "<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)  # fmt: skip
"""The special tokens of Idefics3 and SmolVLM for images and turns."""


def _idefics(config_class: Any, tokenizer: Any) -> Any:
    return config_class(
        vision_config={**SIZE, "image_size": 32, "patch_size": 8},
        text_config=hf.LlamaConfig(**TEXT, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )


def idefics3(folder: Path) -> Path:
    """Idefics3."""
    tokenizer = tokenizer_of("<|end_of_text|>", "<pad>", *IDEFICS_TOKENS, bos="<|begin_of_text|>")
    processor = hf.Idefics3Processor(
        hf.Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokenizer,
        image_seq_len=4,
        chat_template=published.idefics3_chat_template,
    )
    config = _idefics(hf.Idefics3Config, tokenizer)
    return saved(folder, hf.Idefics3ForConditionalGeneration, config, processor, "<end_of_utterance>")


def smolvlm(folder: Path) -> Path:
    """SmolVLM2."""
    tokenizer = tokenizer_of("<end_of_utterance>", "<|im_end|>", *IDEFICS_TOKENS, bos="<|im_start|>")
    processor = hf.SmolVLMProcessor(
        hf.SmolVLMImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokenizer,
        hf.SmolVLMVideoProcessor(size={"longest_edge": 32}, max_image_size={"longest_edge": 32}),
        image_seq_len=4,
        chat_template=published.smolvlm_chat_template,
    )
    config = _idefics(hf.SmolVLMConfig, tokenizer)
    return saved(folder, hf.SmolVLMForConditionalGeneration, config, processor, "<end_of_utterance>")


def gemma3(folder: Path) -> Path:
    """Gemma 3, in which the tokens of an image attend to each other in both directions."""
    tokenizer = tokenizer_of(
        "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", bos="<bos>", image_token="<image_soft_token>",
        boi_token="<start_of_image>", eoi_token="<end_of_image>",
    )  # fmt: skip
    config = hf.Gemma3Config(
        vision_config=hf.SiglipVisionConfig(**SIZE, image_size=32, patch_size=8, vision_use_head=False),
        text_config=hf.Gemma3TextConfig(**TEXT, vocab_size=len(tokenizer), head_dim=16, sliding_window=64),
        mm_tokens_per_image=4,
        image_token_index=tokenizer.image_token_id,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
    )
    processor = hf.Gemma3Processor(
        hf.Gemma3ImageProcessorPil(size=SIDE),
        tokenizer,
        image_seq_length=4,
        chat_template=published.gemma3_chat_template,
    )
    return saved(folder, hf.Gemma3ForConditionalGeneration, config, processor, "<end_of_turn>")


def llava(folder: Path) -> Path:
    """LLaVA-1.5."""
    return tiny_base(folder, seed=0)


def _needs(maker: Callable[[Path], Path], *packages: str) -> Any:
    missing = [package for package in packages if find_spec(package) is None]
    reason = f"the processor needs {' and '.join(missing)}"
    return pytest.param(maker, id=maker.__name__, marks=pytest.mark.skipif(bool(missing), reason=reason))


FAMILY_MAKERS: Final = [
    _needs(llava),
    _needs(llava_next),
    _needs(llava_onevision, "torchvision"),
    _needs(qwen2_5_vl, "torchvision"),
    _needs(qwen3_vl, "torchvision"),
    _needs(internvl, "torchvision"),
    _needs(idefics3),
    _needs(smolvlm, "torchvision", "num2words"),
    _needs(gemma3),
]
"""For each family, the function that writes a tiny model of it, for `pytest.mark.parametrize`."""
