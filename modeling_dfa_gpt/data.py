"""The rows that are learnt from: loading them, their lengths, their order, and images that don't decode."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset, DatasetInfo, Image, IterableDataset, List
from datasets.utils.file_utils import xopen
from PIL import Image as PillowImage
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import get_dataset

from dfa_instruct.sources.pictures import BadPictureError, read_image
from dfa_instruct.vlm.inputs import prompt_tokens
from dfa_instruct.vlm.messages import render
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.shared_prefix import IGNORED, SharedPrefixCollator

GREY = PillowImage.new("RGB", (64, 64), (128, 128, 128))


def load_rows(data: Any, split: str | None = None) -> Any:
    """Load a recipe's datasets as one, or the same ones in another split; images stay undecoded.

    Args:
        data: TRL's `DatasetMixtureConfig`.
        split: in place of the datasets' own.

    Raises:
        RecipeError: the rows are not conversations about images.
    """
    if split:
        data = replace(data, datasets=[replace(dataset, split=split) for dataset in data.datasets])
    try:
        rows = get_dataset(data)["train"]
    except ValueError as error:  # an unknown name or split
        raise RecipeError(f"{'validation_split' if split else 'datasets'}: {error}") from error
    columns = rows.column_names or next(iter(rows))
    if missing := {"images", "messages"} - set(columns):
        lacking = " and no ".join(sorted(missing))
        raise RecipeError(f"datasets: the rows have no {lacking}; expected a `conversations` or `qa` config")
    return undecoded(rows)


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


def row_lengths(rows: Any, processor: Any, image_tokens: int, shared: bool, processes: int | None) -> list[int]:
    """Count the tokens of every row in the form in which it will be trained; `datasets` keeps the counts."""
    if shared:
        collator = SharedPrefixCollator(processor)

        def count(messages: list[dict[str, Any]]) -> dict[str, int]:
            return {"length": len(collator.sequence(messages, [0] * image_tokens)[0])}
    else:

        def count(messages: list[dict[str, Any]]) -> dict[str, int]:
            return {
                "length": len(prompt_tokens(processor, render(processor, messages, whole=True), [0] * image_tokens))
            }

    counted = rows.map(
        count,
        input_columns=["messages"],
        remove_columns=rows.column_names,
        num_proc=processes,
        desc="Count tokens",
    )
    return list(counted["length"])


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
                    content = image["bytes"] if image["bytes"] is not None else xopen(image["path"], "rb").read()
                    images.append(PillowImage.fromarray(read_image(content, smallest=1)))
                except (OSError, BadPictureError) as error:
                    name = image.get("path") or f"{len(image.get('bytes') or b'')} bytes"
                    print(f"skipped {name}: {error}", file=sys.stderr, flush=True)
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
