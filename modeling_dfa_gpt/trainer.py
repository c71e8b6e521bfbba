"""TRL's SFTTrainer with what it lacks for DFA-GPT: a rate for the projector, an order of rows, safe checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from datasets import IterableDataset
from safetensors import SafetensorError
from torch.utils.data import Sampler, SequentialSampler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import SFTTrainer

from dfa_instruct.vlm.parts import family_of
from modeling_dfa_gpt.checkpoints import last_checkpoint
from modeling_dfa_gpt.data import DecodingCollator, EpochSampler

SKIPPED_SHARE = 0.05
SKIPPED_AT_LEAST = 20
"""Training fails where more than this share of the images, and at least so many, don't decode."""


class UndecodableError(ValueError):
    """Too many images don't decode for the training to mean anything."""


class DfaTrainer(SFTTrainer):
    """SFTTrainer that gives the projector its own learning rate and orders rows by `lengths`, see `EpochSampler`.

    A checkpoint that cannot be written leaves the ones before it as they are. No pickle lies beside a model that it
    saves; a checkpoint's own optimizer and random states are torch files, for this machine only.

    Attributes:
        projector_learning_rate: none: the projector has the same as the rest.
        lengths: tokens of each row of the train dataset; none: rows are in random order.
    """

    def __init__(self, *args: Any, projector_learning_rate: float | None = None, **kwargs: Any) -> None:
        self.projector_learning_rate = projector_learning_rate
        self.lengths: list[int] | None = None
        super().__init__(*args, **kwargs)

    @property
    def _folder(self) -> Path:
        return Path(str(self.args.output_dir))

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make the optimizer, with groups of their own for the projector's parameters."""
        made_before = self.optimizer is not None
        optimizer = super().create_optimizer(model)
        if made_before or self.projector_learning_rate is None:
            return optimizer
        trained: Any = self.model if model is None else model
        family = family_of(trained.config)
        projector = {id(p) for name, p in trained.named_parameters() if family.part_of(name) == "projector"}
        for group in list(optimizer.param_groups):
            own = [p for p in group["params"] if id(p) in projector]
            group["params"] = [p for p in group["params"] if id(p) not in projector]
            if own:
                optimizer.add_param_group({**group, "params": own, "lr": self.projector_learning_rate})
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
            return None  # as Trainer does; Accelerate shards
        return SequentialSampler(eval_dataset)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the count of images that did not decode; fail where they are too many."""
        if isinstance(self.data_collator, DecodingCollator):
            counts = torch.tensor([self.data_collator.seen.value, self.data_collator.skipped.value])
            seen, skipped = self.accelerator.reduce(counts.to(self.accelerator.device)).tolist()
            if skipped:
                logs["skipped_images"] = skipped
            if skipped >= SKIPPED_AT_LEAST and skipped > SKIPPED_SHARE * seen:
                raise UndecodableError(f"{skipped} of {seen} images do not decode (see above); at most 5% may")
        for metrics in self._metrics.values():
            metrics.pop("num_tokens", None)  # TRL sums the mask, which here is (length, length)
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        Path(output_dir or self._folder, "training_args.bin").unlink(missing_ok=True)  # run.json says the same

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            folder = Path(self._folder, f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
            shutil.rmtree(folder, ignore_errors=True)
            last = last_checkpoint(self._folder)
            then = f"{last} is whole, and the same command goes on from it" if last else "there is none before it"
            why = f"{error}; is the disk full?"
            raise OSError(f"the checkpoint {folder.name} could not be written ({why}); {then}") from error
