"""What is checked and shown before the first step, so that a training that learns the wrong thing does not start.

LLaVA's users lost weeks to masks that were off, to projectors that were not trained or not saved, to answers that were
cut. Each of these is a contradiction that can be seen before the first step; here each stops the training by one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dfa_instruct.vlm.messages import dialogue, render
from dfa_instruct.vlm.parts import family_of
from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.label_mask import Tokens
from modeling_dfa_gpt.lora import count_parameters

ROWS_READ_BACK = 16
"""How many rows are collated and read back before the first step."""


def check_base(name: str, config: Any, processor: Any) -> None:
    """Refuse a base of an unknown family, or one whose processor and model do not agree on the image token.

    Args:
        name: the base's folder or Hub id, for the message.
        config: the model's configuration.
        processor: the base's processor.

    Raises:
        RecipeError: see above.
    """
    try:
        family_of(config)
    except ValueError as error:
        raise RecipeError(f"model_name_or_path: {name}: {error} (`dfa-gpt assemble` makes one)") from error
    token = processor.image_token
    if token not in processor.tokenizer.get_vocab():
        raise RecipeError(f"model_name_or_path: {name}: its tokenizer does not know its image token {token}")
    if processor.image_token_id != config.image_token_id:
        raise RecipeError(
            f"model_name_or_path: {name}: the image token is {processor.image_token_id} to the processor "
            f"and {config.image_token_id} to the model"
        )
    embeddings = config.get_text_config().vocab_size
    if len(processor.tokenizer) > embeddings:
        raise RecipeError(
            f"model_name_or_path: {name}: the tokenizer has {len(processor.tokenizer)} tokens, the model {embeddings}"
        )


def check_messages(messages: Sequence[dict[str, Any]], special_tokens: Iterable[str], where: str) -> None:
    """Refuse a row whose turns do not alternate, or whose text is empty or holds a special token.

    Raises:
        RecipeError: see above; `where` names the row.
    """
    roles = [message["role"] for message in messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise RecipeError(f"{where}: expected questions and answers in turn, found the roles {', '.join(roles) or '-'}")
    for message in messages:
        text = message["content"]
        if not text.strip():
            raise RecipeError(f"{where}: a message of the {message['role']} is empty")
        held = next((token for token in special_tokens if token in text), None)
        if held:
            raise RecipeError(f"{where}: a message of the {message['role']} holds {held}, which is a special token")


def check_rows(rows: Any, processor: Any) -> None:
    """Check the text of every row (see `check_messages`), without its image. A streamed dataset is not read."""
    if not hasattr(rows, "select_columns") or not hasattr(rows, "__len__"):
        return
    special = sorted({*processor.tokenizer.all_special_tokens, processor.image_token})
    for number, row in enumerate(rows.select_columns(["messages"])):
        check_messages(row["messages"], special, f"row {number}")


def check_lengths(lengths: list[int], longest: int) -> None:
    """Raise RecipeError where a row is longer than `max_length`, which would cut its last answers."""
    cut = [length for length in lengths if length > longest]
    if cut:
        raise RecipeError(
            f"max_length: {longest} would cut {len(cut)} of {len(lengths)} rows, the longest of {max(cut)} tokens; "
            "raise it, or set it to null"
        )


def check_template(processor: Any) -> None:
    """Refuse a chat template whose prompt at inference is not how its training text begins.

    Raises:
        RecipeError: see above, or the text does not begin with the tokenizer's BOS or lacks the question.
        ValueError: see `dfa_instruct.vlm.messages.render`.
    """
    bos = processor.tokenizer.bos_token or ""
    conversation = dialogue(["Is it?", "Yes.", "Why?", "It is."])
    text = render(processor, conversation, whole=True)
    for turns in (1, 3):
        prompt = render(processor, conversation[:turns])
        if not text.startswith(prompt):
            raise RecipeError(
                f"the chat template's prompt differs from its training: …{prompt[-40:]!r} is not how {text!r} begins"
            )
    if not text.startswith(bos) or "Is it?" not in text:
        raise RecipeError(f"the chat template lost {bos} or a question: it gives {text!r}")


def print_startup(model: Any, rates: dict[str, float], tokens: Tokens) -> None:
    """Print what is trained, at which learning rate, what is frozen, and what the loss is taken on.

    Args:
        model: the model, with its adapter.
        rates: learning rate of "language model" and "projector".
        tokens: what `check_batch` counted.
    """
    from rich import print as rich_print
    from rich.table import Table

    table = Table("part", "frozen", "trained", "learning rate", title="DFA-GPT: what is trained")
    for column in table.columns[1:]:
        column.justify = "right"
    for part, (frozen, trained) in count_parameters(model).items():
        table.add_row(part, f"{frozen:,}", f"{trained:,}", f"{rates[part]:g}" if trained else "")
    rich_print(table)
    masked = Table("image", "prompts and padding", "answers", title=f"Tokens of the first {tokens.rows} rows")
    masked.add_row(f"{tokens.image:,} masked", f"{tokens.masked:,} masked", f"{tokens.learnt:,} learnt")
    rich_print(masked)
    print(f"The first row learns: {' | '.join(tokens.answers)}\n", flush=True)
