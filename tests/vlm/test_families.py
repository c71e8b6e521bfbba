"""Every family: its parts, its inputs, and answers that do not depend on the size of a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest
import torch
from families import FAMILY_MAKERS
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from dfa_instruct.vlm import prefix_cache
from dfa_instruct.vlm.chat import Answer, Chat
from dfa_instruct.vlm.inputs import encode_images, encode_prompts, prompt_tokens
from dfa_instruct.vlm.messages import dialogue, render
from dfa_instruct.vlm.parts import FAMILIES, family_of, parts_of, vision_lora_targets
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel

Maker = Callable[[Path], Path]
PICTURES = [PIL.Image.effect_noise(size, 90).convert("RGB") for size in ((48, 48), (64, 32), (40, 64))]
QUESTIONS = ("Is this face forged?", "Why?", "Describe the artifacts in this face.")


def test_a_tiny_model_is_made_of_every_family(tmp_path: Path) -> None:
    assert [maker.id for maker in FAMILY_MAKERS] == [*FAMILIES]


@pytest.mark.parametrize("maker", FAMILY_MAKERS)
def test_the_parts_of_a_family(maker: Maker, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(maker(tmp_path))
    model, family = AutoModelForImageTextToText.from_config(config), family_of(config)
    parts = parts_of(model)
    of_part = {name: family.part_of(name) for name, _ in model.named_parameters()}
    assert {*of_part.values()} == {"vision tower", "projector", "language model"}
    language = {id(weights) for weights in [*parts.language.parameters(), *model.lm_head.parameters()]}
    for name, weights in model.named_parameters():
        if "image_newline" not in name:
            assert (of_part[name] == "language model") == (id(weights) in language), name
    targets = f"{family.lora_targets}|{vision_lora_targets(config)}"
    lora = LoraConfig(target_modules=targets, modules_to_save=family.projector_modules(config), r=2)
    adapted = get_peft_model(model, lora)
    trained = [name for name, weights in adapted.named_parameters() if weights.requires_grad]
    projector = [name for name in trained if family.part_of(name) == "projector"]
    assert not any(".lora_" in name for name in projector)
    assert len(projector) == sum(part == "projector" for part in of_part.values())
    assert all(".lora_" in name for name in {*trained} - {*projector})
    assert {family.part_of(name) for name in trained} == {*of_part.values()}
    layers = config.get_text_config().num_hidden_layers
    assert sum(".lora_A." in name and family.part_of(name) == "language model" for name in trained) == 7 * layers


@pytest.mark.parametrize("maker", [maker for maker in FAMILY_MAKERS if FAMILIES[maker.id].prefix_cache])
def test_a_shared_prefix_has_the_tokens_that_transformers_gives_it(maker: Maker, tmp_path: Path) -> None:
    processor = AutoProcessor.from_pretrained(maker(tmp_path))
    for picture in PICTURES:
        talk = dialogue(["Is this face forged?", "Yes.", "Why?"])
        expected = encode_prompts(processor, [talk], [picture])["input_ids"][0].tolist()
        (image,) = encode_images(processor, [picture]).tokens
        assert prompt_tokens(processor, render(processor, talk), image) == expected


@pytest.mark.parametrize("maker", FAMILY_MAKERS)
def test_answers_depend_on_no_batch_and_no_shared_prefix(
    maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = maker(tmp_path)
    chats = [Chat(picture, (question,), 8, ("A",)) for picture in PICTURES for question in QUESTIONS]
    answers: dict[int, dict[int, Answer]] = {8: {}, 1: {}}
    for size, found in answers.items():
        model = VisionLanguageModel(folder, batch_size=size)
        torch.manual_seed(0)
        for weights in model.model.parameters():  # the weights of a new model are too small to look at the picture
            if weights.dim() == 2:
                weights.data.normal_(std=0.4)
        model.answer(chats, found.__setitem__)
        monkeypatch.setattr(prefix_cache, "read_prefix", lambda *_: None)
    for number in range(len(chats)):
        alone, together = answers[1][number], answers[8][number]
        assert alone.text == together.text and alone.first == pytest.approx(together.first, abs=1e-4)
    assert len({answer.first for answer in answers[1].values()}) == len(chats)
