"""Train DFA-GPT: LoRA on the language model and the whole projector, by TRL's SFTTrainer.

    accelerate launch --quiet --config_file recipes/accelerate_configs/cpu.yaml \
        -m modeling_dfa_gpt.sft --config recipes/dfa-gpt-tiny/sft.yaml

What a recipe may say stands in `modeling_dfa_gpt.recipe`; any key can be overridden on the command line
(`--output_dir runs/mine`). The same command goes on from the newest whole checkpoint in `output_dir`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import dfa_instruct  # noqa: F401 (registers "dfa-instruct" with datasets)
from dfa_instruct.errors import one_line_errors
from modeling_dfa_gpt.calibration import CALIBRATION_FILE
from modeling_dfa_gpt.card import RUN_FILE, Base, model_card
from modeling_dfa_gpt.loading import is_model, naming
from modeling_dfa_gpt.processing import CHAT_TEMPLATE
from modeling_dfa_gpt.recipe import Recipe, parse_recipe
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator
from modeling_dfa_gpt.startup import (
    LEARNT_IN_SAMPLE,
    PROJECTOR,
    RecipeError,
    check_base,
    check_batch,
    check_messages,
    check_template,
    check_trainable,
    print_startup,
)

CHANGEABLE = ("dataloader_", "dataset_num_proc", "disable_tqdm", "include_num", "logging_", "output_dir", "report_to")
"""What a run's settings may differ in, by how the key begins, when it goes on: it changes nothing that is learnt."""


def load_rows(mixture: Any, split: str | None = None) -> Any:
    """Load the recipe's datasets as one, or the same ones in another split; images stay undecoded.

    Raises:
        RecipeError: the rows are no conversations about images.
    """
    from trl import get_dataset

    from modeling_dfa_gpt.trainer import undecoded

    if split:
        mixture = replace(mixture, datasets=[replace(dataset, split=split) for dataset in mixture.datasets])
    try:
        rows = get_dataset(mixture)["train"]
    except ValueError as error:  # an unknown name or split
        raise RecipeError(f"{'validation_split' if split else 'datasets'}: {error}") from error
    columns = rows.column_names or next(iter(rows))
    if missing := {"images", "messages"} - set(columns):
        lacking = " and no ".join(sorted(missing))
        raise RecipeError(f"datasets: the rows have no {lacking}; expected a `conversations` or `qa` config")
    return undecoded(rows)


def check_rows(rows: Any, processor: Any) -> None:
    """Check the text of every row (see `check_messages`), without its image. A streamed dataset is not read."""
    if not hasattr(rows, "select_columns") or not hasattr(rows, "__len__"):
        return
    special = sorted({*processor.tokenizer.all_special_tokens, processor.image_token})
    for number, row in enumerate(rows.select_columns(["messages"])):
        check_messages(row["messages"], special, f"row {number}")


def row_lengths(rows: Any, processor: Any, image_tokens: int, shared: bool, processes: int | None) -> list[int]:
    """Count the tokens of every row in the form in which it will be trained; `datasets` keeps the counts."""
    if shared:
        collator = SharedPrefixCollator(processor)

        def count(messages: list[dict[str, Any]]) -> dict[str, int]:
            return {"length": len(collator.sequence(messages, image_tokens)[0])}
    else:

        def count(messages: list[dict[str, Any]]) -> dict[str, int]:
            first, *others = messages
            content = [{"type": "image"}, {"type": "text", "text": first["content"]}]
            text = processor.tokenizer.apply_chat_template(
                [{**first, "content": content}, *others], chat_template=processor.chat_template, tokenize=False
            )
            return {"length": len(processor.tokenizer(text, add_special_tokens=False)["input_ids"]) + image_tokens - 1}

    counted = rows.map(
        count,
        input_columns=["messages"],
        remove_columns=rows.column_names,
        num_proc=processes,
        desc="Count tokens",
    )
    return list(counted["length"])


def check_lengths(lengths: list[int], longest: int) -> None:
    """Raise RecipeError where a row is longer than `max_length`, which would cut its last answers."""
    cut = [length for length in lengths if length > longest]
    if cut:
        raise RecipeError(
            f"max_length: {longest} would cut {len(cut)} of {len(lengths)} rows, the longest of {max(cut)} tokens; "
            "raise it, or set it to null"
        )


def describe_run(recipe: Recipe, rows: Any, base: Any) -> dict[str, Any]:
    """Say what makes this run: settings, data, base, versions and commit.

    The data's fingerprint is the SHA-256 of every row but its pictures, whose hashes are the `face_id`s.
    """
    digest = hashlib.sha256()
    if hasattr(rows, "__len__"):
        for row in rows.remove_columns(["images"]):
            digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
    packages = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "dfa-instruct")
    return {
        "settings": json.loads(json.dumps(recipe.settings, default=str)),
        "data": {
            "directory": os.environ.get("DFA_INSTRUCT_DIR"),
            "rows": len(rows) if hasattr(rows, "__len__") else None,
            "sha256": digest.hexdigest() if hasattr(rows, "__len__") else None,
        },
        "base": {"name": recipe.model.model_name_or_path, "commit": getattr(base.config, "_commit_hash", None)},
        "versions": {package: version(package) for package in packages},
        "commit": source_commit(),
    }


def source_commit() -> str | None:
    """Return the commit that this file is of, `-dirty` where it was changed since; none outside of its repository."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True)
        named = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(named, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def refuse_other_run(folder: Path, run: dict[str, Any]) -> None:
    """Raise RecipeError where the folder's checkpoints are of a run with other settings or data."""
    if not (folder / RUN_FILE).is_file():
        raise RecipeError(f"output_dir: {folder} holds checkpoints of an unknown run; name another folder")
    before = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    old, new = before["settings"], run["settings"]
    changed = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k) and not k.startswith(CHANGEABLE)]
    if before["data"]["sha256"] != run["data"]["sha256"]:
        changed.append("the data")
    if changed:
        raise RecipeError(
            f"output_dir: {folder} holds checkpoints of a run with another {', another '.join(changed)}; "
            "name another folder, or remove them"
        )


def load_model(model_arguments: Any) -> Any:
    """Load the base, its language model quantised where the recipe says so.

    Vision tower, projector and `lm_head` are not: the projector is trained whole, and the others are small.
    """
    from accelerate import PartialState
    from transformers import AutoModelForImageTextToText
    from trl import get_quantization_config

    kwargs: dict[str, Any] = {}
    if quantization := get_quantization_config(model_arguments):
        quantization.llm_int8_skip_modules = ["vision_tower", PROJECTOR, "lm_head"]
        kwargs = {"quantization_config": quantization, "device_map": {"": PartialState().local_process_index}}
    with naming(model_arguments.model_name_or_path):
        return AutoModelForImageTextToText.from_pretrained(
            model_arguments.model_name_or_path,
            revision=model_arguments.model_revision,
            dtype=model_arguments.dtype,
            attn_implementation=model_arguments.attn_implementation,
            use_safetensors=True,
            **kwargs,
        )


def train(arguments: list[str]) -> None:
    """Train as a recipe says, and save the model (an adapter where `use_peft` is set) with its processor."""
    recipe = parse_recipe(arguments)
    config, ours, base = recipe.config, recipe.ours, recipe.model.model_name_or_path
    if not is_model(base):
        raise RecipeError(f"model_name_or_path: {base}: no such model (expected a LLaVA's folder or Hub id)")
    folder = Path(config.output_dir)
    if recipe.model.use_peft and folder.resolve() == Path(base).resolve():
        raise RecipeError(f"output_dir: {folder} is the base itself; name another folder")
    if not config.assistant_only_loss:
        raise RecipeError("assistant_only_loss: expected true: the loss is taken on answers only")

    from transformers import AutoConfig, AutoProcessor
    from trl import get_peft_config
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from modeling_dfa_gpt.trainer import (
        GREY,
        DecodingCollator,
        DfaTrainer,
        end_of_training,
        last_checkpoint,
        publish,
    )

    with naming(base):
        processor = AutoProcessor.from_pretrained(base)
        check_base(base, AutoConfig.from_pretrained(base), processor)
    if ours.chat_template:
        processor.chat_template = CHAT_TEMPLATE
    if config.pad_token:
        processor.tokenizer.pad_token = config.pad_token
    check_template(processor)
    model = load_model(recipe.model)
    if ours.freeze_vision_tower:
        model.model.vision_tower.requires_grad_(False)

    attention = model.config.get_text_config()._attn_implementation
    shared = attention == "sdpa" if ours.shared_prefix is None else ours.shared_prefix
    if shared and attention != "sdpa":
        raise RecipeError(f"shared_prefix: needs attn_implementation: sdpa; {attention} takes no mask that branches")

    rows = load_rows(recipe.mixture)
    validation = load_rows(recipe.mixture, ours.validation_split) if ours.validation_split else None
    for part in (rows, validation):
        check_rows(part, processor)
    collator = (
        SharedPrefixCollator(processor)
        if shared
        else DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)
    )
    trainer = DfaTrainer(
        model=model,
        args=config,
        train_dataset=rows,
        eval_dataset=validation,
        processing_class=processor,
        data_collator=DecodingCollator(collator),
        peft_config=get_peft_config(recipe.model),
        projector_learning_rate=ours.projector_learning_rate,
    )
    if recipe.model.use_peft:
        check_trainable(trainer.model)
    sample = [{**row, "images": [GREY] * len(row["images"])} for row in islice(rows, LEARNT_IN_SAMPLE)]
    tokens = check_batch(collator(sample), sample, processor, model.config)
    ordered = config.train_sampling_strategy == "group_by_length" or config.gradient_accumulation_steps > 1
    if (config.max_length or ordered) and hasattr(rows, "__len__"):  # a streamed dataset is not read ahead
        with config.main_process_first(desc="count tokens"):
            lengths = row_lengths(rows, processor, tokens.image // tokens.rows, shared, config.dataset_num_proc)
        check_lengths(lengths, config.max_length or max(lengths))
        trainer.lengths = lengths if ordered else None

    run = describe_run(recipe, rows, model)
    given = config.resume_from_checkpoint
    checkpoint = Path(given) if given else last_checkpoint(folder)
    if checkpoint:
        refuse_other_run(folder, run)
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.is_main_process:
        rate = config.learning_rate
        projector_rate = rate if ours.projector_learning_rate is None else ours.projector_learning_rate
        rates = {"vision tower": rate, "language model": rate, "projector": projector_rate}
        print_startup(trainer.model, rates, tokens)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN_FILE).write_text(json.dumps(run, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if checkpoint:
            print(f"going on from {checkpoint}", flush=True)
    state = folder / "trainer_state.json"
    end = end_of_training(checkpoint, config.load_best_model_at_end) if checkpoint else None
    if end and state.is_file():
        print(f"{folder} is trained to its end already", flush=True)
        return
    if end is None:
        for measured in ("results.json", CALIBRATION_FILE) if trainer.accelerator.is_main_process else ():
            (folder / measured).unlink(missing_ok=True)  # of the weights that stood there before
        trainer.train(resume_from_checkpoint=os.fspath(checkpoint) if checkpoint else None)
        trainer.save_model()
    if not trainer.accelerator.is_main_process:
        return
    if recipe.model.use_peft:  # PEFT's card says nothing
        model_card(folder, Base(f"`{base}`")).save(folder / "README.md")
    if checkpoint and end:  # killed after its last checkpoint
        publish(end, checkpoint, folder)
    else:
        trainer.state.save_to_json(os.fspath(state))


if __name__ == "__main__":
    with one_line_errors(RecipeError, OSError, ValueError, ImportError):
        train(sys.argv[1:])
