"""What a model takes: every key that its processor returns, and the same tokens whichever way a prompt is made."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest
import torch
from bench_data import tiny_base
from transformers import (
    AutoProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
)

from dfa_instruct.vlm.chat import Answer, Chat
from dfa_instruct.vlm.inputs import encode_images, encode_prompts, on, prompt_tokens
from dfa_instruct.vlm.messages import CHAT_TEMPLATE, dialogue, render
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from modeling_dfa_gpt.bases.processor import train_tokenizer

WIDE, HIGH = PIL.Image.new("RGB", (64, 32), "red"), PIL.Image.new("RGB", (32, 64), "blue")
TALK = dialogue(["Is this face forged?", "Yes.", "Why?"])


def llava_next(folder: Path) -> Path:
    """Write a LLaVA-NeXT of random weights: it cuts a picture into as many crops as its shape asks for."""
    tokenizer = train_tokenizer(["Is this face forged? Yes. No. Why?"], 300)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    grid = [[32, 64], [64, 32]]
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**size, image_size=32, patch_size=16),
        text_config=LlamaConfig(**size, vocab_size=len(tokenizer), eos_token_id=2, pad_token_id=0),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=grid,
    )
    torch.manual_seed(0)
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    side = {"height": 32, "width": 32}
    crops = LlavaNextImageProcessorPil(size={"shortest_edge": 32}, crop_size=side, image_grid_pinpoints=grid)
    LlavaNextProcessor(
        crops,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def test_every_key_of_a_processor_reaches_the_model(tmp_path: Path) -> None:
    model = VisionLanguageModel(llava_next(tmp_path / "next"), batch_size=2)
    encoded = encode_images(model.processor, [WIDE, HIGH])
    assert set(encoded.features) == {"pixel_values", "image_sizes"}
    assert on(model.model, encoded.features)["image_sizes"].tolist() == [[32, 64], [64, 32]]
    given: dict[int, Answer] = {}
    model.answer([Chat(image, ("Is this face forged?",), 6, ("Yes",)) for image in (WIDE, HIGH)], given.__setitem__)
    alone: dict[int, Answer] = {}
    one = VisionLanguageModel(tmp_path / "next", batch_size=1)
    one.answer([Chat(image, ("Is this face forged?",), 6, ("Yes",)) for image in (WIDE, HIGH)], alone.__setitem__)
    assert [given[n].text for n in (0, 1)] == [alone[n].text for n in (0, 1)]


@pytest.mark.parametrize("family", [tiny_base, llava_next])
def test_a_prompt_has_the_tokens_that_transformers_gives_it(family: object, tmp_path: Path) -> None:
    folder = tiny_base(tmp_path, 0) if family is tiny_base else llava_next(tmp_path)
    processor = AutoProcessor.from_pretrained(folder)
    (image,) = encode_images(processor, [WIDE]).tokens
    for template in (CHAT_TEMPLATE, CHAT_TEMPLATE.replace("{{ bos_token }}", "")):
        processor.chat_template = template
        expected = encode_prompts(processor, [TALK], [WIDE])["input_ids"][0].tolist()
        assert prompt_tokens(processor, render(processor, TALK), image) == expected


def test_an_answer_that_is_begun_is_continued(tmp_path: Path) -> None:
    processor = AutoProcessor.from_pretrained(tiny_base(tmp_path, 0))
    assert render(processor, TALK).endswith("USER: Why? ASSISTANT:")
    assert render(processor, TALK[:2]).endswith("forged? ASSISTANT: Yes.")
    assert render(processor, TALK[:2], whole=True).endswith("forged? ASSISTANT: Yes.</s>")
