"""Using a trained adapter: loading, merging, analysis and the command line."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, AutoProcessor
from typer.testing import CliRunner, Result

from dfa_instruct.bench.tasks.parsing import described_label, label_of, parse_yes_no
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from modeling_dfa_gpt.calibration import Calibration
from modeling_dfa_gpt.cli import app
from modeling_dfa_gpt.dfa_gpt import (
    CLASSIFICATION_QUESTION,
    DESCRIPTION_QUESTION,
    DETECTION_QUESTION,
    DfaGpt,
    merge,
)
from modeling_dfa_gpt.picture import open_face, re_encoded


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


def test_all_ways_of_loading_and_the_merged_model_agree(
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


def test_a_merged_model_has_the_names_of_the_published_checkpoints(merged: Path) -> None:
    with safe_open(merged / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
    beginnings = {
        "language_model.model.embed_tokens.",
        "language_model.model.layers.",
        "language_model.model.norm.",
        "multi_modal_projector.linear_1.",
        "multi_modal_projector.linear_2.",
        "vision_tower.vision_model.embeddings.",
        "vision_tower.vision_model.encoder.layers.",
        "vision_tower.vision_model.post_layernorm.",
        "vision_tower.vision_model.pre_layrnorm.",
    }
    assert {begin for begin in beginnings for name in names if name.startswith(begin)} == beginnings
    assert [name for name in names if not name.startswith(tuple(beginnings))] == []
    _, loading = AutoModelForImageTextToText.from_pretrained(merged, output_loading_info=True)
    assert not any(loading.values())


def test_truncated_weights_are_named(adapter: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated"
    shutil.copytree(adapter, truncated)
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    (truncated / "adapter_model.safetensors").write_bytes(weights[:1000])
    for load in (DfaGpt.from_pretrained, lambda folder: merge(folder, tmp_path / "merged")):
        with pytest.raises(OSError, match=f"{truncated}: "):
            load(truncated)


def test_a_failed_merge_leaves_no_files(adapter: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(OSError, match=f"{tmp_path / 'merged'}: "):
            merge(adapter, tmp_path / "merged")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_swapping_yes_and_no_negates_the_logits(base: Path, portrait: Path) -> None:
    model = DfaGpt.from_pretrained(base)
    faces = [open_face(portrait).image, Image.new("RGB", (128, 128), "green")]
    before = model.forged_logits(faces)
    assert model.forged_logits(faces[1:]) == pytest.approx(before[1:], abs=1e-4)
    _, yes, no = model._yes_and_no()
    assert [model.processor.tokenizer.decode(token).strip() for token in (yes, no)] == ["Yes", "No"]
    head = model.model.lm_head
    head.weight = torch.nn.Parameter(head.weight.detach().clone())  # untied from the embeddings
    with torch.no_grad():
        head.weight[[yes, no]] = head.weight[[no, yes]].clone()
    assert min(map(abs, before)) > 1e-3
    assert model.forged_logits(faces) == pytest.approx([-logit for logit in before], abs=1e-4)


def test_a_preference_for_yes_does_not_change_the_logits(base: Path, portrait: Path) -> None:
    model = DfaGpt.from_pretrained(base)
    before = model.forged_logits([open_face(portrait).image])
    head = model.model.lm_head
    with torch.no_grad():
        _, yes, _ = model._yes_and_no()
        bias = torch.zeros(len(head.weight))
        bias[yes] = 5.0
    head.register_forward_hook(lambda module, given, logits: logits + bias)
    assert model.forged_logits([open_face(portrait).image]) == pytest.approx(before, abs=1e-3)


def test_an_analysis_is_one_conversation_based_on_the_verdict(adapter: Path, portrait: Path) -> None:
    for bias, label, word in ((20.0, "forged", "Yes"), (-20.0, "bona_fide", "No")):
        model = DfaGpt.from_pretrained(adapter)
        model.calibration = Calibration(scale=0.0, bias=bias, images=100)
        analysis = model.analyze(portrait, force=True)  # also without a FaceLandmarker
        assert analysis.label == label and analysis.verdict.startswith(word)
        assert (analysis.probability >= 0.5) == (label == "forged")
        assert not analysis.unstable  # the bias alone determines the verdict
        conversation = model.chat(portrait)
        conversation.ask(DETECTION_QUESTION, begin=word)
        assert conversation.ask(CLASSIFICATION_QUESTION) == analysis.classification
        assert conversation.ask(DESCRIPTION_QUESTION) == analysis.description
        labels = {"verdict": parse_yes_no(analysis.verdict), "description": described_label(analysis.description)}
        labels["classification"] = label_of(analysis.category)
        assert set(analysis.disagreements) == {part for part, stated in labels.items() if stated not in (None, label)}


def test_a_verdict_that_changes_in_a_jpeg_is_unstable(adapter: Path, portrait: Path) -> None:
    model = DfaGpt.from_pretrained(adapter)
    face = open_face(portrait).image
    logits = model.forged_logits([face, *re_encoded(face)])
    assert len(set(logits)) == 3
    between = (logits[0] + logits[1]) / 2
    model.calibration = Calibration(scale=1e4, bias=-1e4 * between, images=100)
    analysis = model.analyze(portrait, force=True)
    assert analysis.unstable and not analysis.uncertain


def test_an_aligned_face_is_not_changed(portrait: Path) -> None:
    assert np.array_equal(np.asarray(open_face(portrait).image), np.asarray(Image.open(portrait)))


def test_a_photograph_is_aligned_at_the_input_size_of_the_model(adapter: Path, photos: Path) -> None:
    photograph = sorted(photos.glob("*.jpg"))[0]
    assert open_face(photograph).image.size == (256, 256)
    model = DfaGpt.from_pretrained(adapter)
    side = model.model.config.vision_config.image_size
    assert model.chat(photograph).image.size == (side, side)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_chat_and_analyze(adapter: Path, portrait: Path) -> None:
    questions = "Has this face been forged?\nWhat gives it away?\n\n"
    command = [sys.executable, "-c", "from modeling_dfa_gpt.cli import app; app()"]
    chatted, analyzed = (
        subprocess.run([*command, *arguments], capture_output=True, text=True, input=questions)
        for arguments in (["chat", adapter, portrait], ["analyze", adapter, portrait, "--json", "--force"])
    )
    assert chatted.returncode == 0 and chatted.stdout.count("DFA-GPT:") == 2
    assert analyzed.returncode == 0
    assert "Loading weights" not in chatted.stderr + analyzed.stderr
    assert set(json.loads(analyzed.stdout)) >= {"image", "label", "probability", "disagreements", "description"}


def test_a_missing_image_does_not_stop_the_others(adapter: Path, portrait: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.png"
    done = run("analyze", str(adapter), str(portrait), str(absent), str(portrait), "--json", "--force")
    assert done.exit_code == 2
    first, bad, last = map(json.loads, done.stdout.splitlines())
    assert first["image"] == last["image"] == str(portrait)
    assert bad == {"file": str(absent), "error": f"{absent}: no such file"}
    assert f"error: {absent}: no such file" in done.stderr


def test_the_image_is_read_before_the_weights(portrait: Path, tmp_path: Path) -> None:
    done = run("chat", str(tmp_path / "absent"), str(tmp_path / "none.png"))
    assert done.exit_code == 2 and "none.png: no such file" in done.stderr


def broken(adapter: Path, folder: Path, **files: str | None) -> Path:
    """Copy an adapter and replace some of its files, or remove them if the content is None."""
    shutil.copytree(adapter, folder)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
    return folder


MISTAKES = {
    "model": (["analyze", "{tmp}/absent", "{face}"], "absent: no such model"),
    "image": (["analyze", "{adapter}", "{tmp}/none.png"], "none.png: no such file"),
    "text": (["chat", "{adapter}", "{tmp}/notes.txt"], "notes.txt: does not decode as an image"),
    "output": (["merge", "{adapter}", "--output", "{tmp}"], "{tmp} is not an empty folder"),
    "folder": (["analyze", "{adapter}", "{tmp}"], "{tmp}: a folder"),
    "url": (["chat", "{adapter}", "https://example.org/a.jpg"], "a URL"),
    "pickle": (["analyze", "{tmp}/pickle", "{face}"], "pickle: the folder has no safetensors"),
    "moved": (["analyze", "{tmp}/moved", "{face}"], "moved: its base model /gone/base is not there"),
    "template": (["chat", "{tmp}/template", "{face}"], "chat template cannot be used: 'dict object' has no attribute"),
    "blind": (["chat", "{tmp}/blind", "{face}"], "chat template cannot be used: it does not show the picture"),
    "escape": (["analyze", "{adapter}", "{tmp}/\x1b[31mred.png"], "\\x1b[31mred.png"),
}
MALFORMED = {
    "a list": ({"adapter_config__json": "[]"}, "list indices must be integers"),
    "no end": ({"adapter_config__json": "[" * 100_000}, "RecursionError"),
    "no base": ({"adapter_config__json": '{"base_model_name_or_path": 3}'}, "base_model_name_or_path: .* not 3"),
    "no peft": ({"peft_type": "NONE"}, "'NONE'"),
    "other ranks": ({"r": 3}, "mismatched_sizes"),
    "other targets": ({"target_modules": ["nothing"]}, "No modules were targeted"),
    "no tokenizer": ({"tokenizer__json": "{}"}, "'added_tokens'"),
    "no processor": ({"processor_config__json": "[1]"}, "'list' object has no attribute 'get'"),
    "no calibration": ({"calibration__json": '{"scale": "x"}'}, r"calibration\.json cannot be read"),
    "syntax": ({"chat_template__jinja": "{% if %}"}, "chat template .*Expected an expression"),
    "attribute": ({"chat_template__jinja": "{{ ''.__class__.__mro__ }}"}, "chat template .*access to attribute"),
    "file": ({"chat_template__jinja": "{% include '/etc/hostname' %}"}, "chat template .*no loader"),
    "division": ({"chat_template__jinja": "{{ 1 / 0 }}"}, "chat template .*division by zero"),
    "second turn": ({"chat_template__jinja": "<image>{{ messages[1].content + 3 }}"}, "chat template .*concatenate"),
}


@pytest.mark.parametrize(("changes", "message"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_model_is_named(changes: dict[str, Any], message: str, adapter: Path, tmp_path: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text()) | changes
    files = changes if any("__" in name for name in changes) else {"adapter_config__json": json.dumps(config)}
    with pytest.raises((OSError, ValueError), match=f"strange: .*{message}"):
        DfaGpt.from_pretrained(broken(adapter, tmp_path / "strange", **files))


def test_an_adapter_of_adapters_is_refused(adapter: Path, tmp_path: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    folder = tmp_path / "round"
    broken(adapter, folder, adapter_config__json=json.dumps(config | {"base_model_name_or_path": str(folder)}))
    with pytest.raises(ValueError, match=f"{folder}: its base model {folder} is an adapter"):
        DfaGpt.from_pretrained(folder)


def test_other_weights_are_refused(adapter: Path, tmp_path: Path) -> None:
    folder = broken(adapter, tmp_path / "other")
    save_file({"other": torch.zeros(2)}, folder / "adapter_model.safetensors")
    for load in (DfaGpt.from_pretrained, VisionLanguageModel, lambda name: merge(name, tmp_path / "merged")):
        with pytest.raises((OSError, ValueError), match=f"{folder}: "):
            load(folder)


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_line_errors(case: str, adapter: Path, portrait: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    broken(adapter, tmp_path / "pickle", adapter_model__safetensors=None, adapter_model__bin="pickled")
    config = json.loads((adapter / "adapter_config.json").read_text()) | {"base_model_name_or_path": "/gone/base"}
    broken(adapter, tmp_path / "moved", adapter_config__json=json.dumps(config))
    broken(adapter, tmp_path / "template", chat_template__jinja="{{ messages[0].nothing.more }}")
    broken(adapter, tmp_path / "blind", chat_template__jinja="{{ messages[0]['role'] }}")
    arguments, expected = MISTAKES[case]
    places = {"{tmp}": tmp_path, "{adapter}": adapter, "{face}": portrait}
    *given, expected = [re.sub(r"{\w+}", lambda found: str(places[found[0]]), text) for text in (*arguments, expected)]
    done = CliRunner().invoke(app, given, input="Is it forged?\n")
    assert done.exit_code == 2
    assert "\x1b" not in done.stderr
    assert expected in [line for line in done.stderr.splitlines() if line.startswith("error:")][-1]


def test_a_question_in_another_encoding_is_a_one_line_error(adapter: Path, portrait: Path) -> None:
    command = [sys.executable, "-c", "from modeling_dfa_gpt.cli import app; app()", "chat", adapter, portrait]
    done = subprocess.run(command, capture_output=True, input=b"\xff\xfe?\n", env={**os.environ, "PYTHONUTF8": "1"})
    assert done.returncode == 2
    assert b"error: standard input: expected UTF-8" in done.stderr and b"Traceback" not in done.stderr


def test_without_exactly_one_face_there_is_no_verdict_unless_forced(
    adapter: Path, photos: Path, tmp_path: Path
) -> None:
    first, second = (Image.open(path).convert("RGB") for path in sorted(photos.glob("*.jpg"))[2:4])
    first.resize((300, 300)).save(tmp_path / "one.png")
    both = Image.new("RGB", (600, 300))
    both.paste(first.resize((300, 300)))
    both.paste(second.resize((300, 300)), (300, 0))
    both.save(tmp_path / "two.png")
    Image.new("RGB", (200, 200), "green").save(tmp_path / "none.png")
    given = [str(tmp_path / f"{name}.png") for name in ("one", "two", "none")]
    done = run("analyze", str(adapter), *given, "--json")
    assert done.exit_code == 3
    one, two, none = map(json.loads, done.stdout.splitlines())
    assert (one["faces"], one["aligned"]) == (1, True) and one["label"] in ("forged", "bona_fide")
    assert (two["faces"], two["aligned"], two["label"], two["probability"]) == (2, False, None, None)
    assert (none["faces"], none["label"]) == (0, None)
    assert "2 faces were found" in two["reason"] and "no face was found" in none["reason"]
    printed = run("analyze", str(adapter), *given[1:]).stdout
    assert printed.count("no verdict: ") == 2
    assert "no verdict: 2 faces were found" in printed and "no verdict: no face was found" in printed
    done = run("analyze", str(adapter), *given[1:], "--json", "--force")
    assert done.exit_code == 0
    assert all(json.loads(line)["label"] in ("forged", "bona_fide") for line in done.stdout.splitlines())
