"""What a model takes: every key that its processor returns, and the same tokens whichever way a prompt is made."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
from bench_data import tiny_base
from families import llava_next
from transformers import AutoProcessor

from dfa_instruct.vlm.chat import Answer, Chat
from dfa_instruct.vlm.inputs import encode_images, encode_prompts, on, prompt_tokens
from dfa_instruct.vlm.messages import CHAT_TEMPLATE, dialogue, render
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel

WIDE, HIGH = PIL.Image.new("RGB", (64, 32), "red"), PIL.Image.new("RGB", (32, 64), "blue")
TALK = dialogue(["Is this face forged?", "Yes.", "Why?"])


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


def test_a_prompt_has_the_tokens_that_transformers_gives_it(tmp_path: Path) -> None:
    processor = AutoProcessor.from_pretrained(tiny_base(tmp_path, 0))
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
