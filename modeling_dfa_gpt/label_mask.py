"""The label mask: the loss is taken on the answers, each with its end of sequence, and on nothing else.

TRL's collator takes the mask from the chat template's marks (`{% generation %}` in `dfa_instruct.vlm.messages`), and
`modeling_dfa_gpt.shared_prefix` makes its own. Here the first rows are read back before the first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dfa_instruct.vlm.parts import patch_grid
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.shared_prefix import IGNORED


@dataclass
class Tokens:
    """Token counts of the rows that were read back: what the loss is taken on, and what is masked."""

    rows: int = 0
    image: int = 0
    masked: int = 0
    learnt: int = 0
    answers: list[str] = field(default_factory=list)


def check_answers(tokenizer: Any, ids: list[int], labels: list[int], answers: Sequence[str], where: str) -> None:
    """Read back what the loss is taken on and refuse anything but the answers, each with its end of sequence.

    Args:
        tokenizer: the tokenizer that the ids are of.
        ids: one sequence.
        labels: its labels, `IGNORED` where the loss is not taken.
        answers: all answers of the row, in any order.
        where: names the row in a message.

    Raises:
        RecipeError: an answer is masked, cut, shifted, or something else is learnt.
    """
    runs: list[list[int]] = []
    before = IGNORED
    for token, label in zip(ids, labels, strict=True):
        if label != IGNORED:
            if label != token:
                raise RecipeError(f"{where}: a label is not its own token: labels are shifted before the model does")
            if before == IGNORED:
                runs.append([])
            runs[-1].append(token)
        before = label
    if not runs:
        raise RecipeError(f"{where}: every answer is masked; does the chat template mark them ({{% generation %}})?")
    if len(runs) != len(answers):
        raise RecipeError(f"{where}: it has {len(answers)} answers, but {len(runs)} would be learnt")

    def read(tokens: list[int]) -> str:
        return tokenizer.decode(tokens, clean_up_tokenization_spaces=False).strip()

    expected = sorted(read(tokenizer.encode(answer, add_special_tokens=False)) for answer in answers)
    for run in runs:
        if run[-1] != tokenizer.eos_token_id:
            raise RecipeError(
                f"{where}: what is learnt ends with {read(run)[-40:]!r}, not with {tokenizer.eos_token}: "
                "it is cut, or the model would never learn to stop"
            )
    for found, wanted in zip(sorted(read(run[:-1]) for run in runs), expected, strict=True):
        if found != wanted:
            raise RecipeError(f"{where}: the loss would be taken on {found[:60]!r}, not on the answer {wanted[:60]!r}")


def check_batch(batch: Any, rows: Sequence[dict[str, Any]], processor: Any, config: Any) -> Tokens:
    """Read a collated batch back: image tokens against the vision tower's patches, and the mask of every row.

    Returns:
        The counts, and the answers of the first row as they would be learnt.

    Raises:
        RecipeError: see `check_answers`; or the image tokens are not as many as the vision tower's features.
    """
    grid_rows, columns = patch_grid(config, batch["pixel_values"])
    features = grid_rows * columns
    tokens = Tokens()
    for number, (row, ids, labels) in enumerate(
        zip(rows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)
    ):
        answers = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
        check_answers(processor.tokenizer, ids, labels, answers, f"row {number}")
        image = ids.count(processor.image_token_id)
        if image != features * len(row["images"]):
            raise RecipeError(
                f"row {number}: {image} image tokens for {features} features of the vision tower; "
                "the processor's patch_size or vision_feature_select_strategy is not the model's"
            )
        learnt = sum(label != IGNORED for label in labels)
        tokens.rows += 1
        tokens.image += image
        tokens.learnt += learnt
        tokens.masked += len(ids) - image - learnt
        if number == 0:
            tokens.answers = answers
    return tokens
