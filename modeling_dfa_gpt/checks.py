"""What is checked and shown before the first step, so that a training that learns the wrong thing does not start.

LLaVA's users lost weeks to masks that were off, to projectors that were not trained or not saved, to answers that were
cut. Each of these is a contradiction that can be seen before the first step; here each stops the training by one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateError

from modeling_dfa_gpt.processing import with_image
from modeling_dfa_gpt.shared_prefix import IGNORED

PROJECTOR = "multi_modal_projector"
ROWS_READ_BACK = 16
"""How many rows are collated and read back before the first step."""


class RecipeError(ValueError):
    """A recipe that cannot be run, or would train something else than it says; the message names the key."""


def check_trainable(model: Any) -> None:
    """Refuse a model with an adapter where anything but the language model's LoRA and the projector would be trained.

    Raises:
        RecipeError: a vision tower's or a base weight is trainable, or the projector or LoRA is not.
    """
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    strays = [n for n in trainable if f".{PROJECTOR}." not in n and not (".language_model." in n and ".lora_" in n)]
    adapted = [n for n in trainable if f".{PROJECTOR}." in n and ".lora_" in n]
    if strays or adapted:
        raise RecipeError(f"lora_target_modules or lora_modules_to_save would train {(strays + adapted)[0]}")
    for part, missing in ((f".{PROJECTOR}.", "lora_modules_to_save"), (".lora_", "lora_target_modules")):
        if not any(part in name for name in trainable):
            raise RecipeError(f"{missing} leaves no {part.strip('._')} to train")


def check_base(name: str, config: Any, processor: Any) -> None:
    """Refuse a base that is not a LLaVA, or whose image token the processor, the model and its embeddings do not share.

    Args:
        name: the base's folder or Hub id, for the message.
        config: the model's configuration.
        processor: the base's processor.

    Raises:
        RecipeError: see above.
    """
    token = getattr(processor, "image_token", None)
    if config.model_type != "llava" or token is None:
        raise RecipeError(
            f"model_name_or_path: {name} has no image token: expected a LLaVA (`dfa-gpt assemble` makes one), "
            f"not model type {config.model_type}"
        )
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
    """
    bos = processor.tokenizer.bos_token or ""
    conversation = with_image(
        [
            {"role": "user", "content": "Is it?"},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "It is."},
        ]
    )
    render = processor.tokenizer.apply_chat_template
    try:
        text = render(conversation, chat_template=processor.chat_template, tokenize=False)
    except TemplateError as error:
        raise RecipeError(f"the chat template cannot be rendered: {error}") from error
    for turns in (1, 3):
        prompt = render(
            conversation[:turns], chat_template=processor.chat_template, tokenize=False, add_generation_prompt=True
        )
        if not text.startswith(prompt):
            raise RecipeError(
                f"the chat template's prompt differs from its training: …{prompt[-40:]!r} is not how {text!r} begins"
            )
    if not text.startswith(bos) or text.count(processor.image_token) != 1 or "Is it?" not in text:
        raise RecipeError(f"the chat template lost {bos}, the image or a question: it gives {text!r}")


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
    height, width = batch["pixel_values"].shape[-2:]
    patch = config.vision_config.patch_size
    features = (height // patch) * (width // patch)
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


def count_parameters(model: Any) -> dict[str, tuple[int, int]]:
    """Count each part's frozen and trained parameters: vision tower, projector, language model.

    A copy that PEFT keeps of the untrained projector is not counted.
    """
    parts = {"vision tower": "vision_tower.", "projector": f"{PROJECTOR}.", "language model": ""}
    counts = dict.fromkeys(parts, (0, 0))
    for name, parameter in model.named_parameters():
        if ".original_module." in name:
            continue
        part = next(part for part, key in parts.items() if key in name)
        frozen, trained = counts[part]
        size = getattr(parameter, "ds_numel", None) or parameter.numel()  # ZeRO-3 keeps the weights elsewhere
        counts[part] = (frozen, trained + size) if parameter.requires_grad else (frozen + size, trained)
    return counts
