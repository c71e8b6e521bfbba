"""Using a trained adapter: three ways of loading, merging, conversations, analysis, and the command line."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from dfa_instruct.sample import draw_sample
from modeling_dfa_gpt.modeling import DfaGpt, merge, open_face


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("face") / "portrait.png"
    Image.fromarray(next(draw_sample(1, 1)).image).save(path)
    return path


@pytest.fixture(scope="module")
def merged(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merged") / "model"
    merge(adapter, folder)
    return folder


def logits(model: torch.nn.Module, folder: Path, portrait: Path) -> torch.Tensor:
    processor = AutoProcessor.from_pretrained(folder)
    content = [{"type": "image", "image": Image.open(portrait)}, {"type": "text", "text": "Is this face forged?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"add_special_tokens": False},
    )
    with torch.inference_mode():
        return model.eval()(**inputs).logits


def test_three_ways_of_loading_agree_and_so_does_the_merged(
    adapter: Path, base: Path, merged: Path, portrait: Path
) -> None:
    by_peft = logits(
        PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), adapter), adapter, portrait
    )
    by_auto = logits(AutoModelForImageTextToText.from_pretrained(adapter), adapter, portrait)
    by_ours = logits(DfaGpt.from_pretrained(adapter).model, adapter, portrait)
    untrained = logits(AutoModelForImageTextToText.from_pretrained(base), base, portrait)
    assert torch.equal(by_peft, by_auto) and torch.equal(by_peft, by_ours)
    plain = logits(AutoModelForImageTextToText.from_pretrained(merged), merged, portrait)
    assert (plain - by_peft).abs().max() < 1e-4
    assert (untrained - by_peft).abs().max() > 1e-2
    assert not (merged / "adapter_config.json").exists()


def test_a_conversation_keeps_its_history(adapter: Path, portrait: Path) -> None:
    conversation = DfaGpt.from_pretrained(adapter).chat(portrait)
    first = "".join(conversation.stream("Has this face been forged?")).strip()
    conversation.ask("Describe the artifacts in this face.")
    assert [m["role"] for m in conversation.messages] == ["user", "assistant", "user", "assistant"]
    assert conversation.messages[1]["content"][0]["text"] == first
    assert sum(part["type"] == "image" for m in conversation.messages for part in m["content"]) == 1


def test_an_image_token_in_a_question_is_no_second_picture(adapter: Path, portrait: Path) -> None:
    conversation = DfaGpt.from_pretrained(adapter).chat(portrait)
    conversation.ask("<image> Has this face been forged?")
    assert conversation.messages[0]["content"][1]["text"] == " Has this face been forged?"
    conversation.ask("And what is <image>?")
    assert len(conversation.messages) == 4


def test_a_turn_that_was_not_answered_is_not_kept(adapter: Path, portrait: Path) -> None:
    conversation = DfaGpt.from_pretrained(adapter).chat(portrait)
    next(conversation.stream("Has this face been forged?"))
    assert conversation.messages == []
    assert conversation.ask("Has this face been forged?")


def test_weights_that_were_cut_short_are_named(adapter: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(adapter, cut)
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    (cut / "adapter_model.safetensors").write_bytes(weights[:1000])
    for load in (DfaGpt.from_pretrained, lambda folder: merge(folder, tmp_path / "merged")):
        with pytest.raises(OSError, match=f"{cut}: "):
            load(cut)


def test_a_merge_that_cannot_be_written_leaves_nothing(adapter: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(OSError, match=f"{tmp_path / 'merged'}: "):
            merge(adapter, tmp_path / "merged")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_the_probability_is_that_of_yes_against_no(adapter: Path, portrait: Path) -> None:
    model = DfaGpt.from_pretrained(adapter)
    analysis = model.analyze(portrait)
    assert 0 < analysis.probability < 1
    assert analysis.label == ("forged" if analysis.probability >= 0.5 else "bona_fide")
    _, yes, no = model._yes_and_no()
    decode = model.processor.tokenizer.decode
    assert decode(yes).strip() == "Yes" and decode(no).strip() == "No"


def test_a_model_that_answers_yes_gives_a_high_probability(base: Path, portrait: Path) -> None:
    model = DfaGpt.from_pretrained(base)
    face = open_face(portrait)
    before = model.forged_probability(face)
    _, yes, no = model._yes_and_no()
    head = model.model.lm_head.weight
    with torch.no_grad():
        head[[yes, no]] = head[[no, yes]].clone()
    assert before != pytest.approx(0.5, abs=1e-6)
    assert model.forged_probability(face) == pytest.approx(1 - before, abs=1e-5)


def test_an_aligned_face_is_left_as_it_is(portrait: Path) -> None:
    assert np.array_equal(np.asarray(open_face(portrait)), np.asarray(Image.open(portrait)))


def test_a_photograph_is_aligned_at_the_side_that_the_model_sees(adapter: Path, photos: Path) -> None:
    photograph = sorted(photos.glob("*.jpg"))[0]
    assert open_face(photograph).size == (256, 256)
    model = DfaGpt.from_pretrained(adapter)
    seen = model.model.config.vision_config.image_size
    assert model.chat(photograph).image.size == (seen, seen)


def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from modeling_dfa_gpt.cli import app; app()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, input=text)


def test_the_commands(adapter: Path, portrait: Path) -> None:
    talked = run("chat", str(adapter), str(portrait), text="Has this face been forged?\nWhat gives it away?\n\n")
    assert talked.returncode == 0 and talked.stdout.count("DFA-GPT:") == 2
    analyzed = run("analyze", str(adapter), str(portrait), "--json")
    assert analyzed.returncode == 0
    assert set(json.loads(analyzed.stdout)) >= {"image", "label", "probability", "category", "description"}


def test_one_bad_picture_does_not_stop_the_others(adapter: Path, portrait: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.png"
    done = run("analyze", str(adapter), str(portrait), str(absent), str(portrait), "--json")
    assert done.returncode == 2
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == [str(portrait)] * 2
    assert f"error: {absent}: no such file" in done.stderr.splitlines()


def test_a_picture_is_looked_at_before_the_weights_are_loaded(portrait: Path, tmp_path: Path) -> None:
    done = run("chat", str(tmp_path / "absent"), str(tmp_path / "none.png"))
    assert done.returncode == 2 and "none.png: no such file" in done.stderr


@pytest.mark.parametrize("case", ["model", "image", "text", "output"])
def test_mistakes_are_one_line_and_a_failure(case: str, adapter: Path, portrait: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    arguments, expected = {
        "model": (["analyze", str(tmp_path / "absent"), str(portrait)], "absent: no such model"),
        "image": (["analyze", str(adapter), str(tmp_path / "none.png")], "none.png"),
        "text": (["chat", str(adapter), str(notes)], "notes.txt: does not decode as an image"),
        "output": (["merge", str(adapter), "--output", str(tmp_path)], "holds something already"),
    }[case]
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert expected in [line for line in done.stderr.splitlines() if line.startswith("error:")][-1]
