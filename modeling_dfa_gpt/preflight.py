"""Check the base, the chat template and the rows before the first training step, and show what will be trained.

Wrong label masks, projectors that are not trained or saved, and truncated answers cost users of LLaVA weeks. `sft`
detects each of them before the first step, and stops with a one-line error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dfa_instruct.vlm.inputs import training_tokens
from dfa_instruct.vlm.messages import dialogue, render
from dfa_instruct.vlm.parts import family_of
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.label_mask import TokenCounts, check_answers
from modeling_dfa_gpt.shared_prefix import IGNORED
from modeling_dfa_gpt.trainable_parts import count_parameters

CHECKED_ROWS = 16
"""The number of rows that are collated and checked before the first step."""


def check_base(name: str, config: Any, processor: Any) -> None:
    """Check that a base's processor and model have the same image token, and that the model embeds all tokens.

    Raises:
        RecipeError: The base cannot be trained. `name` is its folder or Hub id.
    """
    where = f"model_name_or_path: {name}"
    token = processor.image_token
    if token not in processor.tokenizer.get_vocab():
        raise RecipeError(f"{where}: the vocabulary of the tokenizer does not contain the image token {token}")
    if config.image_token_id not in processor.image_token_ids:
        raise RecipeError(
            f"{where}: the image token is {processor.image_token_ids[0]} in the processor "
            f"and {config.image_token_id} in the model"
        )
    embeddings = config.get_text_config().vocab_size
    if len(processor.tokenizer) > embeddings:
        raise RecipeError(f"{where}: the tokenizer has {len(processor.tokenizer)} tokens, the model {embeddings}")


def shares_prefix(wanted: bool | None, config: Any) -> bool:
    """Return whether the questions about an image share one copy of it in training.

    Args:
        wanted: The recipe's key `shared_prefix`. None: the image is shared if the family of the base allows it.
        config: The configuration of the base.

    Raises:
        RecipeError: The recipe wants a shared prefix, which the base's family does not allow.
    """
    possible = family_of(config).shared_prefix
    if wanted and not possible:
        raise RecipeError(
            f"shared_prefix: {config.model_type} does not allow it, because the tokens of an image attend to later "
            "ones; set shared_prefix: false"
        )
    return possible if wanted is None else wanted


def check_messages(messages: Sequence[dict[str, Any]], special_tokens: Iterable[str], where: str) -> None:
    """Check that the turns of a row alternate, and that no message is empty or contains a special token.

    Raises:
        RecipeError: A message is invalid. `where` names the row.
    """
    roles = [message["role"] for message in messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        found = ", ".join(roles) or "none"
        raise RecipeError(f"{where}: expected alternating messages of user and assistant, found the roles {found}")
    for message in messages:
        text = message["content"]
        if not text.strip():
            raise RecipeError(f"{where}: a message of the {message['role']} is empty")
        special = next((token for token in special_tokens if token in text), None)
        if special:
            raise RecipeError(f"{where}: a message of the {message['role']} contains the special token {special}")


def check_rows(rows: Any, processor: Any) -> None:
    """Check the messages of every row (see `check_messages`), unless the dataset is streamed."""
    if not hasattr(rows, "select_columns") or not hasattr(rows, "__len__"):
        return
    special = sorted({*processor.tokenizer.all_special_tokens, processor.image_token})
    for number, row in enumerate(rows.select_columns(["messages"])):
        check_messages(row["messages"], special, f"row {number}")


def check_template(processor: Any, ends: Sequence[str]) -> None:
    """Check that the chat template renders a conversation in training as it renders its prompts at inference.

    Args:
        processor: The base's processor.
        ends: The tokens with which the base ends an answer.

    Raises:
        RecipeError: The two differ, the text lacks the BOS token or a question, or a marked answer has no end token.
        ValueError: See `dfa_instruct.vlm.messages.render`; or the template marks no answer.
    """
    bos = processor.tokenizer.bos_token or ""
    conversation = dialogue(["Is it?", "Yes.", "Why?", "It is."])
    text = render(processor, conversation, whole=True)
    for turns in (1, 3):
        prompt = render(processor, conversation[:turns])
        if not text.startswith(prompt):
            raise RecipeError(
                f"the chat template's prompt ends with {prompt[-40:]!r}, but its training text is {text!r}"
            )
    if not text.startswith(bos) or "Is it?" not in text:
        raise RecipeError(f"the chat template omits {bos} or a question: {text!r}")
    ids, in_answer = training_tokens(processor, conversation)
    labels = [token if is_answer else IGNORED for token, is_answer in zip(ids, in_answer, strict=True)]
    check_answers(processor.tokenizer, ids, labels, ["Yes.", "It is."], ends, "the chat template")


def print_startup(model: Any, rate: float, projector_rate: float | None, tokens: TokenCounts) -> None:
    """Print the trained and frozen parts with their learning rates, and the tokens in the loss.

    The learning rate of the projector is `rate` if `projector_rate` is None.
    """
    from rich import print as rich_print
    from rich.table import Table

    table = Table("part", "frozen", "trained", "learning rate", title="DFA-GPT: trained parts")
    for column in table.columns[1:]:
        column.justify = "right"
    for part, (frozen, trained) in count_parameters(model).items():
        part_rate = projector_rate if part == "projector" and projector_rate is not None else rate
        table.add_row(part, f"{frozen:,}", f"{trained:,}", f"{part_rate:g}" if trained else "")
    rich_print(table)
    masked = Table("image", "prompts and padding", "answers", title=f"Tokens of the first {tokens.rows} rows")
    masked.add_row(f"{tokens.image:,} masked", f"{tokens.masked:,} masked", f"{tokens.trained:,} in the loss")
    rich_print(masked)
    print(f"Answers of the first row: {' | '.join(tokens.answers)}\n", flush=True)
