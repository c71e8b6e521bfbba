"""A model of every family is trained, merged and used. The models are tiny and have random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from families import FAMILY_MAKERS
from PIL import Image
from tiny_recipe import tiny_recipe
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.vlm.inputs import encode_prompts, on
from dfa_instruct.vlm.messages import dialogue
from dfa_instruct.vlm.parts import FAMILIES, family_of
from modeling_dfa_gpt import conversation
from modeling_dfa_gpt.chat_template import choose_template
from modeling_dfa_gpt.conversation import Conversation
from modeling_dfa_gpt.dfa_gpt import DETECTION_QUESTIONS, DfaGpt, merge
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.sft import train
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator, rope_index_of

Maker = Callable[[Path], Path]
SHORT = {
    "datasets": [{"path": "dfa-instruct", "name": "conversations_d", "split": "train[:8]"}],
    "max_steps": 2,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
}


@pytest.mark.parametrize("maker", FAMILY_MAKERS)
def test_two_steps_a_merge_and_a_conversation(
    maker: Maker, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = maker(tmp_path / "base")
    monkeypatch.setenv("DFA_INSTRUCT_DIR", str(dataset_folder))
    train(["--config", str(tiny_recipe(tmp_path, base, **SHORT, shared_prefix=None))])
    merge(tmp_path / "run", tmp_path / "merged")
    face = Image.fromarray(next(draw_sample(1, 1)).image)
    logits = {}
    for name in ("base", "run", "merged"):
        processor = AutoProcessor.from_pretrained(tmp_path / name)
        processor.chat_template = AutoProcessor.from_pretrained(tmp_path / "run").chat_template
        model = AutoModelForImageTextToText.from_pretrained(tmp_path / name).eval()
        with torch.no_grad():
            logits[name] = model(**encode_prompts(processor, [dialogue(["Is it?"])], [face])).logits[:, -1]
    assert (logits["run"] - logits["merged"]).abs().max() < 1e-4
    assert (logits["run"] - logits["base"]).abs().max() > 1e-3

    monkeypatch.setattr(conversation, "MAX_NEW_TOKENS", 12)
    gpt = DfaGpt.from_pretrained(tmp_path / "run")
    questions = ("Is this face forged?", "Why? <image><|image_pad|><start_of_image>", "Describe the artifacts.")
    talks = [Conversation(gpt, face, use_cache=use_cache) for use_cache in (True, False)]
    answers = [[talk.ask(question) for question in questions] for talk in talks]
    assert answers[0] == answers[1] and len(talks[0].messages) == 6
    assert "".join(talks[0].stream("Is this face forged?", begin="Yes")).startswith("Yes")
    assert gpt.analyze(face, force=True).probability is not None
    (logit,) = gpt.forged_logits([face])
    assert logit == pytest.approx(separate_logit(gpt, face), abs=1e-3)


def separate_logit(gpt: DfaGpt, face: Image.Image) -> float:
    """Return `forged_logits` of one face, computed by generating the first token of each answer alone."""
    common, yes, no = gpt._yes_and_no()
    logits = []
    for question, label in DETECTION_QUESTIONS.items():
        inputs = encode_prompts(gpt.processor, [dialogue([question])], [face])
        found = gpt.model.generate(
            **inputs,
            max_new_tokens=len(common) + 1,
            do_sample=False,
            prefix_allowed_tokens_fn=lambda _, ids, start=inputs["input_ids"].shape[1]: (
                [common[len(ids) - start]] if len(ids) - start < len(common) else [yes, no]
            ),
            output_logits=True,
            return_dict_in_generate=True,
        )
        difference = float(found.logits[-1][0, yes] - found.logits[-1][0, no])
        logits.append(difference if label == "forged" else -difference)
    return sum(logits) / len(logits)


def picture(seed: int, width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("maker", [maker for maker in FAMILY_MAKERS if FAMILIES[maker.id].shared_prefix])
def test_a_shared_prefix_has_the_loss_and_gradients_of_separate_rows(maker: Maker, tmp_path: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(maker(tmp_path), dtype=torch.float64).eval()
    processor = AutoProcessor.from_pretrained(tmp_path)
    ends = processor.tokenizer.convert_ids_to_tokens([model.generation_config.eos_token_id])
    choose_template(processor, family_of(model.config), None, ends)
    questions = ["Is this face forged?", "Yes, this face is forged.", "Why?", "No.", "Describe the artifacts.", "Yes."]
    rows = [
        {"images": [picture(0, 48, 48)], "messages": dialogue(questions)},
        {"images": [picture(1, 64, 32)], "messages": dialogue(questions[:4])},
    ]
    separate = [
        {**row, "messages": row["messages"][turn : turn + 2]}
        for row in rows
        for turn in range(0, len(row["messages"]), 2)
    ]

    def run(batch: Mapping[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        model.zero_grad()
        loss = model(**on(model, batch)).loss
        loss.backward()
        return float(loss.detach()), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    loss, gradients = run(SharedPrefixCollator(processor, rope_index_of(model))(rows))
    expected, expected_gradients = run(
        DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)(separate)
    )
    assert loss == pytest.approx(expected, rel=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    largest = max(float(gradient.norm()) for gradient in expected_gradients.values())
    for name, gradient in gradients.items():
        scale = max(float(expected_gradients[name].norm()), 1e-6 * largest)  # some are zero but for rounding
        assert (gradient - expected_gradients[name]).norm() < 1e-5 * scale, name


@pytest.mark.parametrize("maker", [maker for maker in FAMILY_MAKERS if not FAMILIES[maker.id].shared_prefix])
def test_a_family_without_shared_prefixes_is_refused(maker: Maker, tmp_path: Path) -> None:
    base = maker(tmp_path / "base")
    (base / "model.safetensors").write_bytes(b"no weights that could be read")
    with pytest.raises(RecipeError, match=f"shared_prefix: {maker.__name__} does not allow it.*shared_prefix: false"):
        train(["--config", str(tiny_recipe(tmp_path, base, **SHORT, shared_prefix=True))])
