r"""Train DFA-GPT with TRL's SFTTrainer: LoRA on the language model (and the vision tower), and the whole projector.

    accelerate launch --quiet --config_file recipes/accelerate_configs/cpu.yaml \
        -m modeling_dfa_gpt.sft --config recipes/dfa-gpt-tiny/sft.yaml

`modeling_dfa_gpt.recipe` lists the keys of a recipe, and the command line overrides them (`--output_dir runs/mine`).
The same command resumes from the newest complete checkpoint in `output_dir`.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, GenerationConfig
from trl import get_quantization_config
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from dfa_instruct.errors import one_line_errors
from dfa_instruct.vlm.inputs import encode_images
from dfa_instruct.vlm.load import check_loadable, naming
from dfa_instruct.vlm.parts import Family, family_of, parts_of
from modeling_dfa_gpt.calibration import CALIBRATION_FILE
from modeling_dfa_gpt.chat_template import choose_template
from modeling_dfa_gpt.checkpoints import (
    RUN_FILE,
    check_same_run,
    describe_run,
    finished_checkpoint,
    last_checkpoint,
    publish_checkpoint,
)
from modeling_dfa_gpt.data import DecodingCollator, decode_images, load_rows, row_lengths
from modeling_dfa_gpt.domain import DOMAIN_FILE
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.forgery_map import MAP_FILE
from modeling_dfa_gpt.hub.card import RESULTS_FILE, Base, model_card
from modeling_dfa_gpt.label_mask import check_batch
from modeling_dfa_gpt.preflight import (
    CHECKED_ROWS,
    check_base,
    check_rows,
    print_startup,
    shares_prefix,
)
from modeling_dfa_gpt.recipe import Recipe, parse_recipe
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator, rope_index_of
from modeling_dfa_gpt.trainable_parts import check_trainable, lora_and_projector_config
from modeling_dfa_gpt.trainer import DfaTrainer


def train(arguments: list[str]) -> None:
    """Train a recipe, and save the model (an adapter if `use_peft` is set) with its processor and card.

    `arguments` are `--config RECIPE`, and options that override the recipe.

    Raises:
        RecipeError: The recipe cannot be run, or would train something other than it states.
        OSError, ValueError: The base or the data cannot be read, or a checkpoint cannot be written.
    """
    recipe = parse_recipe(arguments)
    processor, family, ends = load_processor(recipe)
    model = load_model(recipe, family)
    attention = model.config.get_text_config()._attn_implementation
    if recipe.dfa.shared_prefix and attention != "sdpa":
        raise RecipeError(f"shared_prefix: needs attn_implementation: sdpa, because {attention} accepts no such mask")
    shared = attention == "sdpa" and shares_prefix(recipe.dfa.shared_prefix, model.config)
    collator: Any = (
        SharedPrefixCollator(processor, rope_index_of(model))
        if shared
        else DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)
    )
    adapter = lora_and_projector_config(recipe.model, model.config, recipe.dfa.lora_vision_tower)
    if adapter:
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

    for split in (rows, validation):
        check_rows(split, processor)
    if adapter:
        check_trainable(trainer.model, recipe.dfa.lora_vision_tower)
    sample = [{**row, "images": decode_images(row)[0]} for row in islice(rows, CHECKED_ROWS)]
    tokens = check_batch(collator(sample), sample, processor, model.config, ends)
    image_tokens = len(encode_images(processor, sample[0]["images"][:1]).tokens[0])
    trainer.lengths = count_lengths(recipe.training, rows, processor, image_tokens, shared)
    if trainer.accelerator.is_main_process:
        print_startup(trainer.model, recipe.training.learning_rate, recipe.dfa.projector_learning_rate, tokens)

    checkpoint = find_checkpoint(recipe, trainer, rows)
    finished = finished_checkpoint(checkpoint, recipe.training.load_best_model_at_end) if checkpoint else None
    if checkpoint and finished:
        publish_finished(recipe, trainer, checkpoint, finished)
        return
    folder = Path(recipe.training.output_dir)
    if trainer.accelerator.is_main_process:
        # These belong to the weights that are about to be replaced.
        for measured in (RESULTS_FILE, CALIBRATION_FILE, DOMAIN_FILE, MAP_FILE):
            (folder / measured).unlink(missing_ok=True)
    trainer.train(resume_from_checkpoint=os.fspath(checkpoint) if checkpoint else None)
    trainer.save_model()
    if trainer.accelerator.is_main_process:
        save_card(recipe)
        trainer.state.save_to_json(os.fspath(folder / "trainer_state.json"))


def load_processor(recipe: Recipe) -> tuple[Any, Family, list[str]]:
    """Load the processor of the base with the padding token of the recipe and a chat template for training.

    Returns:
        The processor, the family of the base, and the tokens with which the base ends an answer.

    Raises:
        RecipeError: See `check_base`, `shares_prefix` and `choose_template`.
        OSError, ValueError: See `dfa_instruct.vlm.load.check_loadable`.
    """
    base = recipe.model.model_name_or_path
    check_loadable(base)
    with naming(base):
        config = AutoConfig.from_pretrained(base)
        family = family_of(config)
        processor = AutoProcessor.from_pretrained(base)
        try:
            generation = GenerationConfig.from_pretrained(base)
        except OSError:  # the base has none of its own
            generation = GenerationConfig.from_model_config(config)
    check_base(base, config, processor)
    shares_prefix(recipe.dfa.shared_prefix, config)  # fails here, before the weights are loaded
    if recipe.training.pad_token:
        processor.tokenizer.pad_token = recipe.training.pad_token
    ids = processor.tokenizer.eos_token_id if generation.eos_token_id is None else generation.eos_token_id
    ends = processor.tokenizer.convert_ids_to_tokens(ids if isinstance(ids, list) else [ids])
    choose_template(processor, family, recipe.dfa.chat_template, ends)
    return processor, family, ends


def load_model(recipe: Recipe, family: Family) -> Any:
    """Load the base, with a quantized language model and a frozen vision tower if the recipe asks for them.

    Vision tower, projector and `lm_head` are never quantized: the projector is trained, and the others are small.
    """
    name = recipe.model.model_name_or_path
    kwargs: dict[str, Any] = {}
    if quantization := get_quantization_config(recipe.model):
        quantization.llm_int8_skip_modules = [family.vision, *family.projector, "lm_head"]
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


def count_lengths(config: Any, rows: Any, processor: Any, image_tokens: int, shared: bool) -> list[int] | None:
    """Count the tokens of every row if `max_length` or the order of rows needs them.

    Returns:
        The lengths by which to order the rows. None: in random order, or as they are streamed.

    Raises:
        RecipeError: A row is longer than `max_length`.
    """
    ordered = config.train_sampling_strategy == "group_by_length" or config.gradient_accumulation_steps > 1
    if not (config.max_length or ordered) or not hasattr(rows, "__len__"):
        return None
    with config.main_process_first(desc="count tokens"):
        lengths = row_lengths(rows, processor, image_tokens, shared, config.dataset_num_proc)
    too_long = [length for length in lengths if config.max_length and length > config.max_length]
    if too_long:
        raise RecipeError(
            f"max_length: {config.max_length} would truncate {len(too_long)} of {len(lengths)} rows; "
            f"the longest has {max(too_long)} tokens; increase max_length, or set it to null"
        )
    return lengths if ordered else None


def find_checkpoint(recipe: Recipe, trainer: DfaTrainer, rows: Any) -> Path | None:
    """Return the checkpoint to resume from, or None, and write the description of the run to its folder.

    Raises:
        RecipeError: The checkpoint belongs to a run with other settings or other data.
    """
    folder = Path(recipe.training.output_dir)
    run = describe_run(recipe, rows, trainer.model)
    given = recipe.training.resume_from_checkpoint
    checkpoint = Path(given) if given else last_checkpoint(folder)
    if checkpoint:
        check_same_run(folder, run)
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN_FILE).write_text(json.dumps(run, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if checkpoint:
            print(f"resuming from {checkpoint}", flush=True)
    return checkpoint


def publish_finished(recipe: Recipe, trainer: DfaTrainer, last: Path, finished: Path) -> None:
    """Publish the model of a complete training from its checkpoint, unless that was done before the run was killed.

    The final model is in the checkpoint `finished`, the training history in `last`.
    """
    folder = Path(recipe.training.output_dir)
    if (folder / "trainer_state.json").is_file():
        print(f"{folder}: training is already complete", flush=True)
    elif trainer.accelerator.is_main_process:
        save_card(recipe)
        publish_checkpoint(finished, last, folder)


def save_card(recipe: Recipe) -> None:
    """Write the model card of an adapter in place of PEFT's, which contains no information."""
    if recipe.model.use_peft:
        folder = Path(recipe.training.output_dir)
        model_card(folder, Base(f"`{recipe.model.model_name_or_path}`")).save(folder / "README.md")


if __name__ == "__main__":
    with one_line_errors(RecipeError, OSError, ValueError, ImportError):
        train(sys.argv[1:])
