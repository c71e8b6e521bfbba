"""Load the rows to train on, count their tokens, order them, and handle images that cannot be decoded."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
"""The image that replaces one that cannot be decoded."""


def load_rows(data: Any, split: str | None = None) -> Any:
    """Load the datasets of a recipe as one dataset, with undecoded images.

    Args:
        data: TRL's `DatasetMixtureConfig`.
        split: The split to load instead of the one that each dataset names.

    Raises:
        RecipeError: A dataset or split is unknown, or the rows are not conversations about images.
    """
    if split:
        data = replace(data, datasets=[replace(dataset, split=split) for dataset in data.datasets])
    try:
        rows = get_dataset(data)["train"]
    except ValueError as error:
        raise RecipeError(f"{'validation_split' if split else 'datasets'}: {error}") from error
    columns = rows.column_names or next(iter(rows))
    if missing := {"images", "messages"} - set(columns):
        names = " and ".join(sorted(missing))
        raise RecipeError(f"datasets: the rows lack the columns {names}; expected a `conversations` or `qa` config")
    return undecoded(rows)


def undecoded(dataset: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """Return the dataset with its `images` as bytes, so that the collator decodes them.

    Unlike `cast_column`, this does not rewrite the images.
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
    """Return the number of tokens of every row in the form in which it is trained. `datasets` caches the result."""
    collator = SharedPrefixCollator(processor)
    image = [0] * image_tokens

    def count_tokens(messages: list[dict[str, Any]]) -> dict[str, int]:
        if shared:
            return {"length": len(collator.sequence(messages, image)[0])}
        return {"length": len(prompt_tokens(processor, render(processor, messages, whole=True), image))}

    counted = rows.map(
        count_tokens,
        input_columns=["messages"],
        remove_columns=rows.column_names,
        num_proc=processes,
        desc="Count tokens",
    )
    return list(counted["length"])


def decode_images(row: dict[str, Any]) -> tuple[list[PillowImage.Image], bool]:
    """Decode the images of a row. One that cannot be decoded is named on standard error and becomes grey.

    Returns:
        The images, and whether all were decoded.
    """
    images, good = [], True
    for image in row["images"]:
        try:
            content = image["bytes"] if image["bytes"] is not None else xopen(image["path"], "rb").read()
            images.append(PillowImage.fromarray(read_image(content, smallest=1)))
        except (OSError, BadPictureError) as error:
            name = image.get("path") or f"{len(image.get('bytes') or b'')} bytes"
            print(f"skipped {name}: {error}", file=sys.stderr, flush=True)
            images.append(GREY)
            good = False
    return images, good


class DecodingCollator:
    """Decode the images of a batch in the DataLoader's worker, and pass the rows to another collator.

    A row whose image cannot be decoded is named on standard error and counted. It keeps its place with a grey image
    and no labels, so that all processes have batches of the same size.

    Attributes:
        seen: The number of rows collated by all workers.
        skipped: The number of rows with an image that cannot be decoded.
    """

    def __init__(self, collator: Callable[[list[dict[str, Any]]], Any]) -> None:
        self.collator = collator
        self.seen = multiprocessing.Value("q", 0)
        self.skipped = multiprocessing.Value("q", 0)

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        """Collate rows of `messages` and undecoded `images`."""
        decoded = []
        bad: set[int] = set()
        for number, row in enumerate(rows):
            images, good = decode_images(row)
            decoded.append({**row, "images": images})
            if not good:
                bad.add(number)
        batch = self.collator(decoded)
        if bad:
            batch["labels"][sorted(bad)] = IGNORED
        with self.seen.get_lock(), self.skipped.get_lock():
            self.seen.value += len(rows)
            self.skipped.value += len(bad)
        return batch


@dataclass(eq=False)
class EpochSampler(Sampler[int]):
    """Order rows by the seed and the epoch only, so that a resumed run continues in the same order.

    With `lengths`, the rows of each optimizer step are sorted by length. Rows of similar length then share a forward
    pass with little padding, and the loss and gradients of the step stay the same. With `grouped` as well, each step
    consists of rows of similar length, as in LLaVA.

    Attributes:
        count: The number of rows.
        lengths: The number of tokens of each row, or None for random order.
        grouped: Compose steps of rows of similar length.
        step: The number of rows in an optimizer step.
        seed: The seed of the order.
        epoch: Returns the number of the epoch that begins.
    """

    count: int
    lengths: list[int] | None
    grouped: bool
    step: int
    seed: int
    epoch: Callable[[], int]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch())
        if self.lengths is not None and self.grouped:
            yield from get_length_grouped_indices(self.lengths, self.step, generator=generator)
            return
        order = torch.randperm(self.count, generator=generator).tolist()
        if self.lengths is None:
            yield from order
            return
        for start in range(0, self.count, self.step):
            yield from sorted(order[start : start + self.step], key=self.lengths.__getitem__, reverse=True)
