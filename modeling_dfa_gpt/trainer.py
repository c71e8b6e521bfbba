"""TRL's SFTTrainer with what it lacks for DFA-GPT: images that don't decode, a rate for the projector, checkpoints."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetInfo, Image, IterableDataset, List
from PIL import Image as PillowImage
from safetensors import SafetensorError
from torch.utils.data import Sampler, SequentialSampler
from transformers.trainer_pt_utils import get_length_grouped_indices
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import SFTTrainer

from modeling_dfa_gpt.checks import PROJECTOR
from modeling_dfa_gpt.shared_prefix import IGNORED

GREY = PillowImage.new("RGB", (64, 64), (128, 128, 128))
UNDECODABLE = (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError)
"""What Pillow raises on a file that is no picture, is cut off or damaged, or is a decompression bomb."""
SKIPPED_SHARE = 0.05
SKIPPED_AT_LEAST = 20
"""Training fails where more than this share of the images, and at least so many, don't decode."""


class UndecodableError(ValueError):
    """Too many images don't decode for the training to mean anything."""


def undecoded(dataset: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """Return the dataset with its `images` as bytes, to be decoded where the batches are collated.

    `cast_column` would do it, but writes every image anew to do so.
    """
    if isinstance(dataset, IterableDataset):
        return dataset.decode(False)
    features = dataset.features.copy()
    features["images"] = List(Image(decode=False))
    fingerprint = f"{dataset._fingerprint}-undecoded"
    return Dataset(
        dataset.data, DatasetInfo(features=features), indices_table=dataset._indices, fingerprint=fingerprint
    )


class DecodingCollator:
    """Decodes the images of a batch, in the DataLoader's worker, and hands it on to another collator.

    A row whose image doesn't decode is named on standard error, counted and not learnt from: it keeps its place with a
    grey picture and no labels, so that batches stay as they are on every process.
    """

    def __init__(self, collator: Callable[[list[dict[str, Any]]], Any]) -> None:
        self.collator = collator
        self.seen = multiprocessing.Value("q", 0)
        self.skipped = multiprocessing.Value("q", 0)

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        """Collate rows of `messages` and undecoded `images`."""
        decoded = []
        bad = []
        for number, row in enumerate(rows):
            images = []
            for image in row["images"]:
                try:
                    images.append(Image().decode_example(image).convert("RGB"))
                except UNDECODABLE as error:
                    name = image.get("path") or f"{len(image.get('bytes') or b'')} bytes"
                    print(f"skipped {name}: it does not decode ({type(error).__name__})", file=sys.stderr, flush=True)
                    images.append(GREY)
                    bad.append(number)
            decoded.append({**row, "images": images})
        batch = self.collator(decoded)
        if bad:
            batch["labels"][bad] = IGNORED
        with self.seen.get_lock(), self.skipped.get_lock():
            self.seen.value += len(rows)
            self.skipped.value += len(set(bad))
        return batch


class EpochSampler(Sampler[int]):
    """Rows in an order that depends on the seed and the epoch only, so that a resumed run goes on in the same one.

    With `lengths`, the rows of each optimizer step are sorted, so that those of about one length share a forward pass
    and little of it is padding: the step's loss and gradients stay the same. With `grouped` as well, as in LLaVA,
    a step is made of rows of about one length.

    Args:
        count: of the rows.
        lengths: tokens of each row.
        grouped: whether steps are made of rows of about one length.
        step: rows of an optimizer step.
        seed: of the order.
        epoch: tells the epoch that begins.
    """

    def __init__(
        self, count: int, lengths: list[int] | None, grouped: bool, step: int, seed: int, epoch: Callable[[], int]
    ) -> None:
        self.count = count
        self.lengths = lengths
        self.grouped = grouped
        self.step = step
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch())
        if self.lengths is None:
            yield from torch.randperm(self.count, generator=generator).tolist()
        elif self.grouped:
            yield from get_length_grouped_indices(self.lengths, self.step, generator=generator)
        else:
            order = torch.randperm(self.count, generator=generator).tolist()
            for start in range(0, self.count, self.step):
                yield from sorted(order[start : start + self.step], key=self.lengths.__getitem__, reverse=True)


class DfaTrainer(SFTTrainer):
    """SFTTrainer that gives the projector its own learning rate and orders rows by `lengths`, see `EpochSampler`.

    A checkpoint that cannot be written leaves the ones before it as they are. No pickle lies beside a model that it
    saves; a checkpoint's own optimizer and random states are torch files, for this machine only.

    Args:
        projector_learning_rate: none: the projector has the same as the rest.
        lengths: tokens of each row of the train dataset.
    """

    def __init__(
        self,
        *args: Any,
        projector_learning_rate: float | None = None,
        lengths: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        self.projector_learning_rate = projector_learning_rate
        self.lengths = lengths
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
        projector = {id(parameter) for name, parameter in trained.named_parameters() if PROJECTOR in name}
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


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in a run's folder that was written to its end, if there is one.

    Trainer writes `trainer_state.json` last; a run that was killed may have left a checkpoint without it or half of it.
    """
    found = {int(path.name.split("-")[-1]): path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*[0-9]")}
    for _, path in sorted(found.items(), reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return path
    return None


def end_of_training(checkpoint: Path, best: bool) -> Path | None:
    """Return the last checkpoint of a training, or its best, where `checkpoint` is of its last step; else none.

    Trainer, told to go on from there, would make one step more.
    """
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    if state["global_step"] < state["max_steps"]:
        return None
    return Path(state["best_model_checkpoint"]) if best and state["best_model_checkpoint"] else checkpoint
