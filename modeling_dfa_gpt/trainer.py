"""TRL's SFTTrainer with a learning rate for the projector, a reproducible order of rows and safe checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from datasets import IterableDataset
from peft import PeftModel
from safetensors import SafetensorError
from torch.utils.data import Sampler, SequentialSampler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import SFTTrainer

from modeling_dfa_gpt.checkpoints import last_checkpoint
from modeling_dfa_gpt.data import DecodingCollator, EpochSampler
from modeling_dfa_gpt.trainable_parts import projector_parameters

SKIPPED_SHARE = 0.05
SKIPPED_AT_LEAST = 20
"""Training fails if more than this share of the images, and at least this number, cannot be decoded."""


class UndecodableError(ValueError):
    """Too many images cannot be decoded."""


class DfaTrainer(SFTTrainer):
    """Train DFA-GPT with TRL's SFTTrainer.

    The projector can have its own learning rate, and rows are ordered by `EpochSampler`. If a checkpoint cannot be
    written, the earlier ones are kept. No pickle is saved next to a model.

    Attributes:
        projector_learning_rate: The learning rate of the projector. None: the same as for the other weights.
        lengths: The number of tokens of each row of the train dataset. None: rows are in random order.
    """

    def __init__(self, *args: Any, projector_learning_rate: float | None = None, **kwargs: Any) -> None:
        self.projector_learning_rate = projector_learning_rate
        self.lengths: list[int] | None = None
        super().__init__(*args, **kwargs)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Create the optimizer, with separate parameter groups for the projector."""
        exists = self.optimizer is not None
        optimizer = super().create_optimizer(model)
        if exists or self.projector_learning_rate is None:
            return optimizer
        projector = {id(parameter) for parameter in projector_parameters(self.model if model is None else model)}
        for group in list(optimizer.param_groups):
            in_projector = [p for p in group["params"] if id(p) in projector]
            group["params"] = [p for p in group["params"] if id(p) not in projector]
            if in_projector:
                optimizer.add_param_group({**group, "params": in_projector, "lr": self.projector_learning_rate})
        return optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy == "sequential" or isinstance(dataset, IterableDataset):
            return super()._get_train_sampler(train_dataset)
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        grouped = self.args.train_sampling_strategy == "group_by_length"
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return EpochSampler(len(dataset), self.lengths, grouped, step, seed, lambda: int(self.state.epoch or 0))

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int] | None:
        if isinstance(eval_dataset, IterableDataset) or self.args.world_size > 1:
            return None  # as in Trainer, because Accelerate shards the rows
        return SequentialSampler(eval_dataset)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the metrics with the number of images that cannot be decoded, and fail if there are too many."""
        if isinstance(self.data_collator, DecodingCollator):
            counts = torch.tensor([self.data_collator.seen.value, self.data_collator.skipped.value])
            seen, skipped = self.accelerator.reduce(counts.to(self.accelerator.device)).tolist()
            if skipped:
                logs["skipped_images"] = skipped
            if skipped >= SKIPPED_AT_LEAST and skipped > SKIPPED_SHARE * seen:
                raise UndecodableError(f"{skipped} of {seen} images cannot be decoded (see above); the limit is 5%")
        for metrics in self._metrics.values():
            metrics.pop("num_tokens", None)  # TRL sums the attention mask, which is (length, length) in a shared prefix
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        folder = output_dir or str(self.args.output_dir)
        Path(folder, "training_args.bin").unlink(missing_ok=True)  # a pickle; run.json contains the settings

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        model = self.model if model is None else model
        if isinstance(model, PeftModel) or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        # Trainer looks for the names that the model has in memory, does not find those that `save_pretrained` has
        # written, and would go on with the weights from before the training.
        saved = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype, use_safetensors=True)
        model.load_state_dict(saved.state_dict())

    def _load_best_model(self) -> None:
        if isinstance(self.model, PeftModel) or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_best_model()
        else:
            self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            run = Path(str(self.args.output_dir))
            folder = run / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            shutil.rmtree(folder, ignore_errors=True)
            last = last_checkpoint(run)
            resume = f"the same command resumes from {last}" if last else "there is no earlier checkpoint"
            raise OSError(f"{folder}: cannot write the checkpoint ({error}; is the disk full?); {resume}") from error
