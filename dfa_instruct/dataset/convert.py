"""Convert conversations: from a dataset folder, FakeClue or DD-VQA to the format of LLaVA or TRL.

The output is a file of conversations. For a dataset folder, the pictures are written to a folder `images` beside it.
Everything is a stream, except for JSON files that are read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from dfa_instruct.dataset.reading import paths_of, tables_of
from dfa_instruct.sources.walk import is_picture
from dfa_instruct.vocabulary import Label

SourceFormat = Literal["dfa-instruct", "fakeclue", "dd-vqa"]
OutputFormat = Literal["llava", "trl"]

DD_VQA_ORIGINAL: Final = "5"
"""The number of the original videos in DD-VQA's keys `<technique>_<video>…`. All other numbers are forgeries."""
_IMAGE_TOKEN: Final = "<image>"


@dataclass(frozen=True, slots=True)
class Conversation:
    """Questions and answers about a picture. `png` holds the picture if it is not a file yet."""

    name: str
    image: str
    label: Label
    turns: tuple[tuple[str, str], ...]
    png: bytes | None = None


def convert(
    source: Path,
    output: Path,
    source_format: SourceFormat,
    output_format: OutputFormat,
    images: Path | None = None,
    forged_label: int | None = None,
) -> Counter[str]:
    """Write the conversations of `source` into a new file.

    Args:
        source: A dataset folder, or a JSON file.
        output: The new file: a JSON list for LLaVA, JSON lines for TRL.
        source_format: The format of the source.
        output_format: The format of the output.
        images: The folder of the pictures. A dataset folder needs none.
        forged_label: The `label` of forged pictures in FakeClue's file, 0 or 1. It differs between copies of the file.

    Returns:
        The number of conversations that were written, by label, and of those whose picture is missing.

    Raises:
        FileNotFoundError: The source or the folder of pictures does not exist.
        FileExistsError: The output exists.
        ValueError: The source has another format, does not take an option, or its answers contradict its labels.
    """
    if output.exists():
        raise FileExistsError(f"{output} exists already; choose a new file")
    if images is not None and source_format == "dfa-instruct":
        raise ValueError("--images: a dataset folder contains its own pictures")
    if forged_label is not None and source_format != "fakeclue":
        raise ValueError("--forged-label: only FakeClue needs it")
    counts: Counter[str] = Counter()
    conversations: Iterator[Conversation]
    if source_format == "dfa-instruct":
        conversations = _from_dataset(source)
    else:
        if images is None or not images.is_dir():
            raise FileNotFoundError(f"--images: expected the folder of the pictures, not {images or 'nothing'}")
        if source_format == "fakeclue" and forged_label not in (0, 1):
            raise ValueError("--forged-label: expected the label of forged pictures, 0 or 1")
        content = _json(source)
        found = (
            _from_dd_vqa(content, source)
            if source_format == "dd-vqa"
            else _from_fakeclue(content, source, forged_label == 1)
        )
        conversations = _with_pictures(found, images, counts)
    first = next(conversations, None)
    if first is None and not counts:
        raise ValueError(f"{source}: there is no conversation in it")
    conversations = chain([first] if first else [], conversations)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            _write(conversations, file, output_format, output.parent, counts)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return counts


def _write(
    found: Iterable[Conversation], file: TextIO, output_format: OutputFormat, folder: Path, counts: Counter[str]
) -> None:
    """Write the conversations as a JSON list (LLaVA) or as JSON lines (TRL), and count them by label in `counts`.

    Pictures that exist only in memory (`Conversation.png`) are written below `folder`.
    """
    begin, between, end = ("[", ",\n", "]\n") if output_format == "llava" else ("", "\n", "\n")
    file.write(begin)
    for number, conversation in enumerate(found):
        if conversation.png is not None:
            path = folder / conversation.image
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(conversation.png)
        line = _llava(conversation) if output_format == "llava" else _trl(conversation)
        try:
            file.write((between if number else "") + json.dumps(line, ensure_ascii=False))
        except UnicodeEncodeError as error:  # half of a surrogate pair
            raise ValueError(f"{conversation.name}: its text is not Unicode: {error}") from error
        counts[conversation.label] += 1
    file.write(end)


def _llava(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation in LLaVA's format, with the image token in the first question."""
    messages = []
    for number, (question, answer) in enumerate(conversation.turns):
        messages.append({"from": "human", "value": question if number else f"{_IMAGE_TOKEN}\n{question}"})
        messages.append({"from": "gpt", "value": answer})
    return {"id": conversation.name, "image": conversation.image, "conversations": messages}


def _trl(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation in TRL's format."""
    messages = [
        {"role": role, "content": text}
        for turn in conversation.turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    return {"images": [conversation.image], "messages": messages, "label": conversation.label}


def _from_dataset(folder: Path) -> Iterator[Conversation]:
    columns = ["image", "face_id", "label", "qa"]
    for table in tables_of(paths_of(folder), columns):
        for row in table.to_pylist():
            name = row["face_id"]
            if null := [column for column in columns if row[column] is None]:
                raise ValueError(f"{folder}: in the row of {name}, {null[0]} is null")
            turns = tuple((pair["question"], pair["answer"]) for pair in row["qa"])
            yield Conversation(name, f"images/{name}.png", row["label"], turns, row["image"]["bytes"])


def _json(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def _from_fakeclue(content: Any, path: Path, forged_is_one: bool) -> Iterator[Conversation]:
    """Read FakeClue's list of images, labels and LLaVA conversations, which FakeVLM is trained on.

    Raises:
        ValueError: An entry has another format, or most answers contradict their labels.
    """
    agreeing = 0
    conversations = []
    for number, entry in enumerate(content if isinstance(content, list) else [None]):
        try:
            texts = [turn["value"].replace(_IMAGE_TOKEN, "").strip() for turn in entry["conversations"]]
            label: Label = "forged" if (int(entry["label"]) == 1) == forged_is_one else "bona_fide"
            turns = tuple(zip(texts[::2], texts[1::2], strict=True))
            conversations.append(Conversation(str(entry.get("id", number)), str(entry["image"]), label, turns))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"{path}: entry {number} does not have FakeClue's format: {error!r}") from error
        opening = turns[0][1].lower()[:80] if turns else ""
        if ("fake" in opening) != ("real" in opening):
            agreeing += 1 if ("fake" in opening) == (label == "forged") else -1
    if agreeing < 0:
        right = int(not forged_is_one)
        raise ValueError(f"{path}: its answers contradict its labels; did you mean --forged-label {right}?")
    yield from conversations


def _from_dd_vqa(content: Any, path: Path) -> Iterator[Conversation]:
    """Read DD-VQA's mapping: picture → number → question and answers. Only the first answer is used."""
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected DD-VQA's mapping of pictures to questions")
    for name, questions in content.items():
        turns = []
        try:
            for asked in questions.values():
                answer = asked["answer"] if isinstance(asked["answer"], str) else asked["answer"][0]
                turns.append((str(asked["question"]), str(answer)))
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"{path}: {name} does not have DD-VQA's format: {error!r}") from error
        label: Label = "bona_fide" if name.partition("_")[0] == DD_VQA_ORIGINAL else "forged"
        yield Conversation(name, name, label, tuple(turns))


def _with_pictures(conversations: Iterable[Conversation], images: Path, counts: Counter[str]) -> Iterator[Conversation]:
    """Find the picture of each conversation below a folder, by its path or its name. Count the missing ones."""
    pictures = {path for path in images.rglob("*") if is_picture(path.name)}
    by_stem = {path.stem: path for path in sorted(pictures)}
    for conversation in conversations:
        path = images / conversation.image
        found = path if path in pictures else by_stem.get(Path(conversation.image).stem)
        if found is None or not conversation.turns:
            counts["no picture"] += 1
        else:
            yield replace(conversation, image=str(found.absolute()))
