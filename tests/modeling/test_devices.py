"""The model in bfloat16: its inputs are converted to the type and device of its weights."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dfa_instruct.bench.runner import load_rows
from modeling_dfa_gpt.app.attention import attention_received
from modeling_dfa_gpt.calibration import calibrate
from modeling_dfa_gpt.dfa_gpt import DfaGpt


def test_verdicts_in_bfloat16_equal_those_in_float32(adapter: Path, dataset_folder: Path) -> None:
    half = DfaGpt.from_pretrained(adapter, torch.device("cpu"), torch.bfloat16)
    full = DfaGpt.from_pretrained(adapter, torch.device("cpu"))
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in full.model.parameters()} == {torch.float32}
    faces = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in load_rows(dataset_folder)]
    rounded, exact = half.forged_logits(faces), full.forged_logits(faces)
    assert rounded != exact and np.corrcoef(rounded, exact)[0, 1] > 0.95
    middle = np.median(exact)
    assert np.mean((np.array(rounded) > middle) == (np.array(exact) > middle)) > 0.8


def test_every_use_of_a_model_works_in_bfloat16(adapter: Path, dataset_folder: Path) -> None:
    model = DfaGpt.from_pretrained(adapter, torch.device("cpu"), torch.bfloat16)
    model.calibration = calibrate(model, dataset_folder, limit=4)
    face = Image.open(io.BytesIO(load_rows(dataset_folder, 1)[0]["image"]["bytes"])).convert("RGB")
    analysis = model.analyze(face, force=True)
    assert analysis.label in ("forged", "bona_fide") and analysis.description
    assert model.chat(face).ask("Has this face been forged?")
    assert attention_received(model, face) is not None
