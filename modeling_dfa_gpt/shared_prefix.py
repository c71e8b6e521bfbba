"""Pack all questions about an image as branches of one sequence, so that they share one copy of the image.

A row of `conversations` has one image and several questions. In separate rows, the image would be encoded and attended
to once for each question. A shared prefix is the sequence

    <s> system USER: <image>…<image> | question 1 answer 1 | question 2 answer 2 | …

in which each branch attends to the prefix and to itself only, and its positions start after the image. A branch may
have several turns. The loss and the gradients are the same as with one row for each branch
(`tests/modeling/test_shared_prefix.py`), with far fewer tokens.

In some families, the positions of an image's tokens have three dimensions (time, height and width). The model itself
computes them (`get_rope_index`), and the text after the image continues from the largest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from dfa_instruct.vlm.inputs import encode_images, training_tokens
from dfa_instruct.vlm.messages import Message

IGNORED = -100
"""The label of a token that the loss ignores."""


def split_branches(messages: Sequence[Message]) -> list[list[Message]]:
    """Split messages into branches by their key `branch`; without that key, each question is a branch."""
    questions = range(0, len(messages), 2)
    branches = groupby(questions, key=lambda number: messages[number].get("branch", number))
    return [[message for number in turns for message in messages[number : number + 2]] for _, turns in branches]


def rope_index_of(model: Any) -> Callable[..., Any] | None:
    """Return the model's method that computes positions of three dimensions. None if a position is a token's index."""
    return next((part.get_rope_index for part in model.modules() if hasattr(type(part), "get_rope_index")), None)


@dataclass
class SharedPrefixCollator:
    """Collate rows of one image and several questions into shared prefixes.

    Attributes:
        processor: The model's processor.
        rope_index: See `rope_index_of`.
    """

    processor: Any
    rope_index: Callable[..., Any] | None = None

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate a batch.

        Args:
            rows: Each with `images` (exactly one) and `messages` (question, answer, question, answer …).

        Returns:
            `input_ids`, `position_ids` and `labels` of shape (batch, length), a boolean `attention_mask` of shape
            (batch, 1, length, length), and the image features of the processor, such as `pixel_values`. With
            `rope_index`, the shape of `position_ids` is (3, batch, length).

        Raises:
            ValueError: A row does not have exactly one image, or the chat template marks no answer.
        """
        import torch

        images = []
        for row in rows:
            if len(row["images"]) != 1:
                raise ValueError(f"shared_prefix needs one image in each row, but one row has {len(row['images'])}")
            images.append(row["images"][0])
        encoded = encode_images(self.processor, images)
        sequences = [self.sequence(row["messages"], image) for row, image in zip(rows, encoded.tokens, strict=True)]

        length = max(len(ids) for ids, *_ in sequences)
        pad = self.processor.tokenizer.pad_token_id
        columns = zip(*sequences, strict=True)
        input_ids, labels, branches, positions = (
            torch.stack([torch.nn.functional.pad(torch.tensor(c), (0, length - len(c)), value=filler) for c in column])
            for column, filler in zip(columns, (pad, IGNORED, -1, 0), strict=True)
        )
        if self.rope_index:
            positions = positions.repeat(3, 1, 1)
            for number, grid in enumerate(encoded.features["image_grid_thw"]):
                before = branches[number] == 0
                prefix = input_ids[number, before][None]
                in_image = (prefix == self.processor.image_token_id).int()
                of_prefix, _ = self.rope_index(prefix, in_image, image_grid_thw=grid[None])
                positions[:, number] += of_prefix.max() + 1 - len(prefix[0])
                positions[:, number, before] = of_prefix[:, 0]
        query, key = branches[:, :, None], branches[:, None, :]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        # Padding (branch −1) attends to padding, so that every query attends to at least one key.
        attended = causal & ((key == query) | (key == 0))
        return {
            "input_ids": input_ids,
            "attention_mask": attended[:, None],
            "position_ids": positions,
            "labels": labels,
            **encoded.features,
        }

    def sequence(self, messages: Sequence[Message], image: Sequence[int]) -> tuple[list[int], ...]:
        """Return the token ids, labels, branch numbers (0 for the prefix) and positions of one row.

        `image` contains the token ids of the image.
        """
        ids: list[int] = []
        labels: list[int] = []
        branches: list[int] = []
        positions: list[int] = []
        for branch, turns in enumerate(split_branches(messages), start=1):
            encoded, in_answer = training_tokens(self.processor, turns)
            split = encoded.index(self.processor.image_token_id)
            if branch == 1:
                ids = [*encoded[:split], *image]
                labels, branches, positions = [IGNORED] * len(ids), [0] * len(ids), list(range(len(ids)))
                start = len(ids)
            tail = encoded[split + 1 :]
            ids += tail
            labels += [i if a else IGNORED for i, a in zip(tail, in_answer[split + 1 :], strict=True)]
            branches += [branch] * len(tail)
            positions += range(start, start + len(tail))
        return ids, labels, branches, positions
