"""Shared prefix: all questions of an image as branches of one sequence, behind one copy of the image.

A row of `conversations` has one image and several questions. As separate rows, the image would be encoded and attended
to once a question. Here the sequence is

    <s> system USER: <image>…<image> | question 1 answer 1 | question 2 answer 2 | …

in which every branch sees the prefix and itself only, and its positions start where the image ends. A branch may have
several turns. Loss and gradients equal those of a row a branch (`tests/modeling/test_shared_prefix.py`), at a fraction
of the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from modeling_dfa_gpt.chat_template import with_image

Message = dict[str, Any]

IGNORED = -100


def split_branches(messages: Sequence[Message]) -> list[list[Message]]:
    """Split questions and answers into branches: those of one `branch`, or one question each where none is named."""
    questions = range(0, len(messages), 2)
    branches = groupby(questions, key=lambda number: messages[number].get("branch", number))
    return [[message for number in turns for message in messages[number : number + 2]] for _, turns in branches]


@dataclass
class SharedPrefixCollator:
    """Collates rows of `images` (one) and `messages` (question, answer, question, answer …) into shared prefixes.

    Messages with the same `branch`, where they have one, are turns of one branch; else each question is one.

    Returns `input_ids`, `position_ids` and `labels` of shape (batch, length), `attention_mask` of shape (batch, 1,
    length, length) and bool, and `pixel_values`.

    Raises:
        ValueError: a row has not exactly one image, or the chat template marks no answer.
    """

    processor: Any

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate a batch."""
        import torch

        images = []
        for row in rows:
            if len(row["images"]) != 1:
                raise ValueError(f"shared_prefix needs one image a row; one has {len(row['images'])}")
            images.append(row["images"][0])
        pixel_values = self.processor.image_processor(images, return_tensors="pt")["pixel_values"]
        placeholders = self.processor.replace_image_token({"pixel_values": pixel_values}, 0)
        image_tokens = len(self.processor.tokenizer(placeholders, add_special_tokens=False)["input_ids"])
        sequences = [self.sequence(row["messages"], image_tokens) for row in rows]

        length = max(len(ids) for ids, *_ in sequences)
        pad = self.processor.tokenizer.pad_token_id
        columns = zip(*sequences, strict=True)
        input_ids, labels, branches, positions = (
            torch.stack([torch.nn.functional.pad(torch.tensor(c), (0, length - len(c)), value=filler) for c in column])
            for column, filler in zip(columns, (pad, IGNORED, -1, 0), strict=True)
        )
        query, key = branches[:, :, None], branches[:, None, :]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        seen = causal & ((key == query) | (key == 0))  # padding, branch −1, sees padding only: no row is empty
        return {
            "input_ids": input_ids,
            "attention_mask": seen[:, None],
            "position_ids": positions,
            "labels": labels,
            "pixel_values": pixel_values,
        }

    def sequence(self, messages: Sequence[Message], image_tokens: int) -> tuple[list[int], ...]:
        """Return ids, labels, branches (0: the prefix) and positions of one row."""
        image_id = self.processor.image_token_id
        ids: list[int] = []
        labels: list[int] = []
        branches: list[int] = []
        positions: list[int] = []
        for branch, turns in enumerate(split_branches(messages), start=1):
            encoded = self.processor.tokenizer.apply_chat_template(
                with_image(turns),
                chat_template=self.processor.chat_template,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
            if not any(encoded["assistant_masks"]):
                raise ValueError("the chat template marks no answer ({% generation %}): nothing would be learnt")
            split = encoded["input_ids"].index(image_id)
            if branch == 1:
                ids = encoded["input_ids"][:split] + [image_id] * image_tokens
                labels, branches, positions = [IGNORED] * len(ids), [0] * len(ids), list(range(len(ids)))
                start = len(ids)
            tail = encoded["input_ids"][split + 1 :]
            answered = encoded["assistant_masks"][split + 1 :]
            ids += tail
            labels += [i if a else IGNORED for i, a in zip(tail, answered, strict=True)]
            branches += [branch] * len(tail)
            positions += range(start, start + len(tail))
        return ids, labels, branches, positions
