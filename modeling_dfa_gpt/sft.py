"""Train DFA-GPT: LoRA on the language model and the whole projector, by TRL's SFTTrainer.

    accelerate launch --quiet --config_file recipes/accelerate_configs/cpu.yaml \
        -m modeling_dfa_gpt.sft --config recipes/dfa-gpt-tiny/sft.yaml

What a recipe may say stands in `modeling_dfa_gpt.recipe`; any key can be overridden on the command line
(`--output_dir runs/mine`). The same command goes on from the newest whole checkpoint in `output_dir`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from trl import get_quantization_config
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from dfa_instruct.errors import one_line_errors
from dfa_instruct.vlm.load import check_loadable, naming
from dfa_instruct.vlm.messages import CHAT_TEMPLATE
from dfa_instruct.vlm.parts import Family, family_of, parts_of
from modeling_dfa_gpt.calibration import CALIBRATION_FILE
from modeling_dfa_gpt.checkpoints import (
    RUN_FILE,
    describe_run,
    end_of_training,
    last_checkpoint,
    publish_checkpoint,
    refuse_other_run,
)
from modeling_dfa_gpt.data import GREY, DecodingCollator, load_rows, row_lengths
from modeling_dfa_gpt.domain import DOMAIN_FILE
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.hub.card import RESULTS_FILE, Base, model_card
from modeling_dfa_gpt.label_mask import check_batch
from modeling_dfa_gpt.lora import adapter_of, check_trainable
from modeling_dfa_gpt.preflight import (
    ROWS_READ_BACK,
    check_base,
    check_lengths,
    check_rows,
    check_template,
    print_startup,
)
from modeling_dfa_gpt.recipe import Recipe, parse_recipe
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator
from modeling_dfa_gpt.trainer import DfaTrainer


@dataclass
class Training:
    """A training that is ready to be checked.

    Attributes:
        recipe: what it was prepared from.
        processor: the base's, with the recipe's chat template.
        rows: what is learnt from, images undecoded.
        validation: the same of the validation split, where the recipe names one.
        shared: the questions of an image stand behind one copy of it.
        collator: makes a batch of rows whose images are decoded.
        trainer: holds the model, with its adapter where there is one.
    """

    recipe: Recipe
    processor: Any
    rows: Any
    validation: Any
    shared: bool
    collator: Any
    trainer: DfaTrainer

    @property
    def folder(self) -> Path:
        """Where the model is saved."""
        return Path(self.recipe.training.output_dir)


def train(arguments: list[str]) -> None:
    """Train as a recipe says, and save the model (an adapter where `use_peft` is set) with its processor."""
    training = prepare(parse_recipe(arguments))
    check(training)
    checkpoint = resume(training)
    best = training.recipe.training.load_best_model_at_end
    finished = end_of_training(checkpoint, best) if checkpoint else None
    if finished is None:
        forget_figures(training)
        training.trainer.train(resume_from_checkpoint=os.fspath(checkpoint) if checkpoint else None)
    save(training, checkpoint, finished)


def prepare(recipe: Recipe) -> Training:
    """Load what a recipe names; the base and its chat template are checked before its weights are loaded.

    Raises:
        RecipeError: the base, its template or the datasets are not what the recipe needs.
    """
    processor, family = load_processor(recipe)
    model = load_model(recipe, family)
    attention = model.config.get_text_config()._attn_implementation
    shared = attention == "sdpa" if recipe.dfa.shared_prefix is None else recipe.dfa.shared_prefix
    if shared and attention != "sdpa":
        raise RecipeError(f"shared_prefix: needs attn_implementation: sdpa; {attention} takes no mask that branches")
    collator: Any = (
        SharedPrefixCollator(processor)
        if shared
        else DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)
    )
    if adapter := adapter_of(recipe.model, family):
        recipe.settings |= {key: getattr(recipe.model, key) for key in ("lora_target_modules", "lora_modules_to_save")}
    rows = load_rows(recipe.data)
    validation = load_rows(recipe.data, recipe.dfa.validation_split) if recipe.dfa.validation_split else None
    trainer = DfaTrainer(
        model=model,
        args=recipe.training,
        train_dataset=rows,
        eval_dataset=validation,
        processing_class=processor,
        data_collator=DecodingCollator(collator),
        peft_config=adapter,
        projector_learning_rate=recipe.dfa.projector_learning_rate,
    )
    return Training(recipe, processor, rows, validation, shared, collator, trainer)


def load_processor(recipe: Recipe) -> tuple[Any, Family]:
    """Load the base's processor, with the recipe's chat template and padding token, and tell the base's family.

    Raises:
        RecipeError: see `check_base` and `check_template`.
        OSError, ValueError: see `dfa_instruct.vlm.load.check_loadable`.
    """
    base = recipe.model.model_name_or_path
    check_loadable(base)
    with naming(base):
        processor, config = AutoProcessor.from_pretrained(base), AutoConfig.from_pretrained(base)
    check_base(base, config, processor)
    if recipe.dfa.chat_template:
        processor.chat_template = CHAT_TEMPLATE
    if recipe.training.pad_token:
        processor.tokenizer.pad_token = recipe.training.pad_token
    check_template(processor)
    return processor, family_of(config)


def load_model(recipe: Recipe, family: Family) -> Any:
    """Load the base, its language model quantised and its vision tower frozen where the recipe says so.

    Vision tower, projector and `lm_head` are not quantised: the projector is trained whole, and the others are small.
    """
    name = recipe.model.model_name_or_path
    kwargs: dict[str, Any] = {}
    if quantization := get_quantization_config(recipe.model):
        quantization.llm_int8_skip_modules = [family.vision, family.projector, "lm_head"]
        kwargs = {"quantization_config": quantization, "device_map": {"": PartialState().local_process_index}}
    with naming(name):
        model = AutoModelForImageTextToText.from_pretrained(
            name,
            revision=recipe.model.model_revision,
            dtype=recipe.model.dtype,
            attn_implementation=recipe.model.attn_implementation,
            use_safetensors=True,
            **kwargs,
        )
    if recipe.dfa.freeze_vision_tower:
        parts_of(model).vision.requires_grad_(False)
    return model


def check(training: Training) -> None:
    """Stop a training that would learn the wrong thing; show what is trained, and what the loss is taken on.

    Raises:
        RecipeError: see `modeling_dfa_gpt.preflight`, `label_mask` and `lora`.
    """
    recipe, trainer, processor = training.recipe, training.trainer, training.processor
    model: Any = trainer.model
    for rows in (training.rows, training.validation):
        check_rows(rows, processor)
    if recipe.model.use_peft:
        check_trainable(model)
    sample = [{**row, "images": [GREY] * len(row["images"])} for row in islice(training.rows, ROWS_READ_BACK)]
    tokens = check_batch(training.collator(sample), sample, processor, model.config)
    order_by_length(training, tokens.image // tokens.rows)
    if trainer.accelerator.is_main_process:
        rate, projector_rate = recipe.training.learning_rate, recipe.dfa.projector_learning_rate
        rates = {"vision tower": rate, "language model": rate, "projector": rate}
        if projector_rate is not None:
            rates["projector"] = projector_rate
        print_startup(model, rates, tokens)


def order_by_length(training: Training, image_tokens: int) -> None:
    """Count the tokens of every row where `max_length` or the order asks for it. A streamed dataset is not read ahead.

    Raises:
        RecipeError: a row is longer than `max_length`.
    """
    config = training.recipe.training
    ordered = config.train_sampling_strategy == "group_by_length" or config.gradient_accumulation_steps > 1
    if not (config.max_length or ordered) or not hasattr(training.rows, "__len__"):
        return
    with config.main_process_first(desc="count tokens"):
        processes = config.dataset_num_proc
        lengths = row_lengths(training.rows, training.processor, image_tokens, training.shared, processes)
    if config.max_length:
        check_lengths(lengths, config.max_length)
    if ordered:
        training.trainer.lengths = lengths


def resume(training: Training) -> Path | None:
    """Write down what makes this run, and return the checkpoint that it goes on from, if there is one.

    Raises:
        RecipeError: the checkpoint is of a run with other settings or data.
    """
    trainer, folder = training.trainer, training.folder
    run = describe_run(training.recipe, training.rows, trainer.model)
    given = training.recipe.training.resume_from_checkpoint
    checkpoint = Path(given) if given else last_checkpoint(folder)
    if checkpoint:
        refuse_other_run(folder, run)
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN_FILE).write_text(json.dumps(run, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if checkpoint:
            print(f"going on from {checkpoint}", flush=True)
    return checkpoint


def forget_figures(training: Training) -> None:
    """Remove what was measured of the weights that stood in the folder before."""
    if training.trainer.accelerator.is_main_process:
        for measured in (RESULTS_FILE, CALIBRATION_FILE, DOMAIN_FILE):
            (training.folder / measured).unlink(missing_ok=True)


def save(training: Training, checkpoint: Path | None, finished: Path | None) -> None:
    """Save the model with its card and its history; a run that was killed after its last step, from its checkpoint.

    Args:
        training: as it was trained.
        checkpoint: what it went on from.
        finished: the checkpoint of the model, where the training had ended before.
    """
    folder, trainer = training.folder, training.trainer
    state = folder / "trainer_state.json"
    if finished and state.is_file():
        print(f"{folder} is trained to its end already", flush=True)
        return
    if finished is None:
        trainer.save_model()
    if not trainer.accelerator.is_main_process:
        return
    if training.recipe.model.use_peft:  # PEFT's card says nothing
        model_card(folder, Base(f"`{training.recipe.model.model_name_or_path}`")).save(folder / "README.md")
    if checkpoint and finished:
        publish_checkpoint(finished, checkpoint, folder)
    else:
        trainer.state.save_to_json(os.fspath(state))


if __name__ == "__main__":
    with one_line_errors(RecipeError, OSError, ValueError, ImportError):
        train(sys.argv[1:])
