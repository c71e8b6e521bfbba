"""Pretrain the bases that this package carries: the tiny one for drawn faces, and the one for photographs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from modeling_dfa_gpt.hub.card import base_card


def pretrain(data: Path, output: Path, *, photographs: bool = False, seed: int = 0) -> None:
    """Train the vision tower, projector and language model of a base, and write it in half precision.

    Intermediate results are kept in `<output>.work`, from which the same call resumes if it was killed.

    Args:
        data: The dataset folder that `recipes/dfa-gpt-tiny/dfa-instruct.yaml` builds, or, for the base for photographs,
            `recipes/dfa-gpt-photo/dfa-instruct.yaml`.
        output: A new folder for the base.
        photographs: Whether to train the base for photographs.
        seed: The seed of all steps.

    Raises:
        FileExistsError: The output exists.
        FileNotFoundError: The dataset does not exist.
        subprocess.CalledProcessError: The training failed.
    """
    import torch
    from datasets import load_dataset
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    from dfa_instruct.dataset import DATASET_NAME
    from modeling_dfa_gpt.bases.photo_tower import make_photo_base
    from modeling_dfa_gpt.bases.tiny import make_tiny_base
    from modeling_dfa_gpt.launch import launch_training

    if output.exists():
        raise FileExistsError(f"{output} exists; use a new folder")
    name, make_base = ("dfa-gpt-photo", make_photo_base) if photographs else ("dfa-gpt-tiny", make_tiny_base)
    split = load_dataset(DATASET_NAME, data_dir=str(data), split="train")
    work = output.with_name(f"{output.name}.work")
    taught, trained, made = work / f"taught-{split._fingerprint}-{seed}", work / "trained", work / "made"
    if not taught.is_dir():
        make_base(split, made, seed=seed)
        made.rename(taught)
    launch_training(f"{name}/pretrain", taught, trained, data, seed)
    shutil.rmtree(made, ignore_errors=True)
    AutoModelForImageTextToText.from_pretrained(trained, dtype=torch.float16).save_pretrained(made)
    config = AutoConfig.from_pretrained(made)
    for part in (config, config.text_config, config.vision_config):
        part.dtype = torch.float32  # the type to compute in, although the weights are stored in float16
    config.save_pretrained(made)
    AutoProcessor.from_pretrained(trained).save_pretrained(made)
    run = json.loads((trained / "run.json").read_text(encoding="utf-8"))
    (made / "README.md").write_text(base_card(name, run), encoding="utf-8")
    made.rename(output)
    shutil.rmtree(work)
