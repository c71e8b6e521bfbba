r"""Train an adapter further by rewards that the pixels give, with TRL's GRPOTrainer.

    accelerate launch --quiet --config_file recipes/accelerate_configs/cpu.yaml \
        -m modeling_dfa_gpt.grpo --config recipes/dfa-gpt-tiny/grpo.yaml

For each question, the model writes several answers. Those with a higher reward than the others become more likely
(group relative policy optimization). The rewards are in `modeling_dfa_gpt.rewards`. The same command resumes from the
newest complete checkpoint in `output_dir`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from transformers import AutoModelForImageTextToText
from trl import GRPOTrainer, get_dataset

from dfa_instruct.errors import one_line_errors
from dfa_instruct.instruct.sampling import is_dialogue
from dfa_instruct.vlm.load import ADAPTER_CONFIG, load_processor, naming
from dfa_instruct.vlm.messages import dialogue
from dfa_instruct.vocabulary import Ability
from modeling_dfa_gpt.checkpoints import (
    RUN_FILE,
    check_same_run,
    describe_run,
    finished_checkpoint,
    last_checkpoint,
    publish_checkpoint,
)
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.hub.card import card_of
from modeling_dfa_gpt.recipe import Recipe, parse_arguments
from modeling_dfa_gpt.rewards import REWARDS, for_trl, region_shares

ASKED: Final[dict[Ability, float]] = {"df_d": 0.2, "df_c": 0.2, "ad": 0.6}
"""Ability → the share of the faces that it is asked about. Only descriptions name regions."""
COLUMNS: Final = ("face_id", "image", "label", "category", "artifacts", "qa")


def train(arguments: list[str]) -> None:
    """Train a recipe, and save the adapter with its processor and card.

    `arguments` are `--config RECIPE`, and options that override the recipe.

    Raises:
        RecipeError: The recipe cannot be run.
        OSError, ValueError: The adapter or the data cannot be read.
    """
    recipe = parse_arguments(arguments, rewarded=True)
    check(recipe)
    processor = load_processor(recipe.model.model_name_or_path)
    rows = load_rows(recipe)
    shares = region_shares(rows.select_columns(["label", "artifacts"]))
    rewards: Any = [for_trl(reward, shares) for reward in REWARDS]
    trainer = GRPOTrainer(
        model=load_adapter(recipe.model.model_name_or_path, recipe.model.dtype),
        reward_funcs=rewards,
        args=recipe.training,
        train_dataset=prompts(rows, recipe.training.seed),
        processing_class=processor,
    )
    folder = Path(recipe.training.output_dir)
    run = describe_run(recipe, rows, trainer.model)
    checkpoint = last_checkpoint(folder)
    if checkpoint:
        check_same_run(folder, run)
        if finished_checkpoint(checkpoint, best=False):
            if trainer.accelerator.is_main_process:
                publish_checkpoint(checkpoint, checkpoint, folder)
                card_of(folder).save(folder / "README.md")
                print(f"{folder}: training is already complete", flush=True)
            return
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN_FILE).write_text(json.dumps(run, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    trainer.train(resume_from_checkpoint=os.fspath(checkpoint) if checkpoint else None)
    trainer.save_model()
    if trainer.accelerator.is_main_process:
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; run.json contains the settings
        trainer.state.save_to_json(os.fspath(folder / "trainer_state.json"))
        card_of(folder).save(folder / "README.md")


def check(recipe: Recipe) -> None:
    """Check the values that would otherwise fail after minutes.

    Raises:
        RecipeError: The model is not an adapter, its folder is `output_dir`, or the number of reward weights is wrong.
    """
    adapter, training = Path(recipe.model.model_name_or_path), recipe.training
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise RecipeError(
            f"model_name_or_path: {adapter}: expected the folder of an adapter that `modeling_dfa_gpt.sft` has trained"
        )
    if Path(training.output_dir).resolve() == adapter.resolve():
        raise RecipeError(f"output_dir: {adapter} is the folder of the adapter to start from; use another folder")
    weights = training.reward_weights
    if weights is not None and len(weights) != len(REWARDS):
        names = ", ".join(reward.__name__ for reward in REWARDS)
        raise RecipeError(f"reward_weights: expected {len(REWARDS)} numbers, for {names}, not {weights}")


def load_adapter(folder: str, dtype: str | None) -> Any:
    """Load an adapter on its base so that the weights which sft trained can be trained further.

    Raises:
        OSError, ValueError: The files cannot be read.
    """
    from peft import PeftConfig, PeftModel

    with naming(folder):
        base = str(PeftConfig.from_pretrained(folder).base_model_name_or_path)
        model = AutoModelForImageTextToText.from_pretrained(base, dtype=dtype or "auto", use_safetensors=True)
        return PeftModel.from_pretrained(model, folder, is_trainable=True)


def load_rows(recipe: Recipe) -> Any:
    """Load the faces of the recipe's datasets, one row for each face.

    Raises:
        RecipeError: A dataset or split is unknown, or is another config than `default`.
    """
    try:
        rows = get_dataset(recipe.data)["train"]
    except ValueError as error:
        raise RecipeError(f"datasets: {error}") from error
    if missing := [name for name in COLUMNS if name not in rows.column_names]:
        raise RecipeError(
            f"datasets: the rows lack the column {missing[0]}; expected the config default of dfa-instruct"
        )
    return rows.select_columns(list(COLUMNS))


def prompts(rows: Any, seed: int) -> Any:
    """Return one question for each face as TRL's `prompt`, with the columns that the rewards need.

    The images are decoded when the rows are read.

    Args:
        rows: See `load_rows`.
        seed: The seed by which the question is chosen.
    """

    def ask(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        turns = [
            question_turns(face, qa, np.random.default_rng([seed, int(face, 16)]))
            for face, qa in zip(batch["face_id"], batch["qa"], strict=True)
        ]
        return {
            "prompt": [
                dialogue([text for pair in earlier for text in (pair["question"], pair["answer"])] + [last["question"]])
                for *earlier, last in turns
            ],
            **{name: batch[name] for name in ("image", "label", "category")},
            "regions": [[artifact["region"] for artifact in artifacts] for artifacts in batch["artifacts"]],
            **{name: [pairs[-1][name] for pairs in turns] for name in ("ability", "question", "answer")},
        }

    return rows.with_transform(ask)


def question_turns(face_id: str, pairs: list[dict[str, str]], rng: np.random.Generator) -> list[dict[str, str]]:
    """Draw a question by `ASKED` from the questions and answers of a face.

    Returns:
        The question with its answer. In a dialogue, the earlier questions and answers stand before it, so that an
        answer which contradicts them also contradicts the label.
    """
    ability = rng.choice(list(ASKED), p=list(ASKED.values()))
    place = next((place for place, pair in enumerate(pairs) if pair["ability"] == ability), 0)
    return pairs[: place + 1] if is_dialogue(face_id) else [pairs[place]]


if __name__ == "__main__":
    with one_line_errors(RecipeError, OSError, ValueError, ImportError):
        train(sys.argv[1:])
