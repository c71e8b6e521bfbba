"""Check the label mask: the loss covers the answers, each with its end-of-sequence token, and nothing else.

TRL's collator derives the mask from the marks `{% generation %}` in the chat template (`dfa_instruct.vlm.messages`),
and `modeling_dfa_gpt.shared_prefix` builds its own. This module decodes the first rows before training starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from dfa_instruct.vlm.parts import patch_grid
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.shared_prefix import IGNORED


@dataclass
class TokenCounts:
    """The number of tokens in the checked rows.

    Attributes:
        rows: The number of rows.
        image: Image tokens, which are masked.
        masked: Masked tokens of prompts and padding.
        trained: Tokens in the loss.
        answers: The answers of the first row.
    """

    rows: int = 0
    image: int = 0
    masked: int = 0
    trained: int = 0
    answers: list[str] = field(default_factory=list)


def check_answers(
    tokenizer: Any, ids: list[int], labels: list[int], answers: Sequence[str], ends: Sequence[str], where: str
) -> None:
    """Check that the labels of a sequence are its answers, each with an end token; white space may follow it.

    Args:
        tokenizer: The base's tokenizer.
        ids: The token ids of the sequence.
        labels: Its labels.
        answers: Its answers.
        ends: The tokens with which the base ends an answer.
        where: The name of the row for a message.

    Raises:
        RecipeError: An answer is masked, truncated or shifted, or the loss covers other tokens.
    """
    pairs = list(zip(ids, labels, strict=True))
    if any(label not in (IGNORED, token) for token, label in pairs):
        raise RecipeError(f"{where}: a label differs from its token; the labels must not be shifted before the model")
    runs = [
        [token for token, _ in run]
        for is_trained, run in groupby(pairs, key=lambda pair: pair[1] != IGNORED)
        if is_trained
    ]
    if not runs:
        raise RecipeError(f"{where}: every answer is masked; does the chat template mark them with {{% generation %}}?")

    def decode(tokens: list[int]) -> str:
        return tokenizer.decode(tokens, clean_up_tokenization_spaces=False).strip()

    def without_end(text: str) -> str:
        end = next((end for end in ends if text.endswith(end)), None)
        return text.removesuffix(end).strip() if end else f"{text} (which does not end)"

    found = sorted(without_end(decode(run)) for run in runs)
    expected = sorted(decode(tokenizer.encode(answer, add_special_tokens=False)) for answer in answers)
    if found != expected:
        raise RecipeError(
            f"{where}: the loss covers {' | '.join(found)[:200]!r}, not the answers {' | '.join(expected)[:200]!r}, "
            f"each with {' or '.join(ends)}; are they truncated, or does the chat template mark other text?"
        )


def check_batch(
    batch: Any, rows: Sequence[dict[str, Any]], processor: Any, config: Any, ends: Sequence[str]
) -> TokenCounts:
    """Check the image tokens and the label mask of a collated batch, and return its numbers of tokens.

    The number of image tokens is checked for LLaVA-1.5. Transformers' models of other families, in which it depends on
    crops or pooling, check it in the first step.

    Args:
        batch: The batch.
        rows: Its rows.
        processor: The base's processor.
        config: The base's configuration.
        ends: The tokens with which the base ends an answer.

    Raises:
        RecipeError: The loss does not cover exactly the answers, or an image does not have one token for each patch.
    """
    patches = None
    if config.model_type == "llava":
        grid_rows, columns = patch_grid(config, batch["pixel_values"])
        patches = grid_rows * columns
    counts = TokenCounts()
    for number, (row, ids, labels) in enumerate(
        zip(rows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)
    ):
        answers = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
        check_answers(processor.tokenizer, ids, labels, answers, ends, f"row {number}")
        image = ids.count(config.image_token_id)
        if patches is not None and image != patches * len(row["images"]):
            raise RecipeError(
                f"row {number}: {image} image tokens for {patches} patches of the vision tower; "
                "patch_size or vision_feature_select_strategy of the processor does not match the model"
            )
        trained = sum(label != IGNORED for label in labels)
        counts.rows += 1
        counts.image += image
        counts.trained += trained
        counts.masked += len(ids) - image - trained
        if number == 0:
            counts.answers = answers
    return counts
