"""Conversations in the formats of others: out as LLaVA or TRL take them, in as FakeClue and DD-VQA have them.

A file of conversations and, where the pictures stand in Parquet files, a folder `images` beside it. Everything is read
and written as a stream, but for a JSON file that comes in, which is one value.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from dfa_instruct.sources.walk import is_picture
from dfa_instruct.vocabulary import Label

Coming = Literal["dfa-instruct", "fakeclue", "dd-vqa"]
Going = Literal["llava", "trl"]

DD_VQA_ORIGINAL: Final = "5"
"""DD-VQA's keys are <technique>_<video>…; 5 is the original video, whose answers say real. All others are forged."""
_PLACE: Final = "<image>"


@dataclass(frozen=True, slots=True)
class Talk:
    """A picture, whether it is forged, and the questions and answers about it; `png` where it is not a file yet."""

    name: str
    image: str
    label: Label
    turns: tuple[tuple[str, str], ...]
    png: bytes | None = None


def convert(
    source: Path,
    output: Path,
    coming: Coming,
    going: Going,
    images: Path | None = None,
    forged_label: int | None = None,
) -> Counter[str]:
    """Write the conversations of `source` into a new file.

    Args:
        source: a dataset folder, or a JSON file.
        output: the file: a JSON list for LLaVA, JSON lines for TRL.
        coming: the form of the source.
        going: the form of the output.
        images: the folder of the pictures, for what is not a dataset folder.
        forged_label: which `label` FakeClue's file gives a forged picture, 0 or 1; copies of it differ.

    Returns:
        How many conversations were written by label, and how many were left out for want of their picture.

    Raises:
        FileNotFoundError: the source or the folder of pictures is not there.
        FileExistsError: the output is there.
        ValueError: the source has another form, needs no such option, or its answers say the contrary of its labels.
    """
    if output.exists():
        raise FileExistsError(f"{output} is there already; name a new file")
    if images is not None and coming == "dfa-instruct":
        raise ValueError("--images: a dataset folder holds its own pictures")
    if forged_label is not None and coming != "fakeclue":
        raise ValueError("--forged-label: only a file of FakeClue's needs it")
    counts: Counter[str] = Counter()
    talks: Iterator[Talk]
    if coming == "dfa-instruct":
        talks = _of_dataset(source)
    else:
        if images is None or not images.is_dir():
            raise FileNotFoundError(f"--images: expected the folder of the pictures, not {images or 'nothing'}")
        if coming == "fakeclue" and forged_label not in (0, 1):
            raise ValueError("--forged-label: state which label is a forged picture's, 0 or 1")
        content = _json(source)
        talks = _of_dd_vqa(content, source) if coming == "dd-vqa" else _of_fakeclue(content, source, forged_label == 1)
        talks = _with_pictures(talks, images, counts)
    first = next(talks, None)
    if first is None and not counts:
        raise ValueError(f"{source}: no conversation in it")
    talks = chain([first] if first else [], talks)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            _write(talks, file, going, output.parent, counts)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return counts


def _write(talks: Iterable[Talk], file: TextIO, going: Going, folder: Path, counts: Counter[str]) -> None:
    """Write a JSON list for LLaVA, JSON lines for TRL; pictures that are not files yet below `folder`."""
    begin, between, end = ("[", ",\n", "]\n") if going == "llava" else ("", "\n", "\n")
    file.write(begin)
    for number, talk in enumerate(talks):
        if talk.png is not None:
            path = folder / talk.image
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(talk.png)
        line = _llava(talk) if going == "llava" else _trl(talk)
        try:
            file.write((between if number else "") + json.dumps(line, ensure_ascii=False))
        except UnicodeEncodeError as error:  # half of a pair of surrogates
            raise ValueError(f"{talk.name}: its text is no Unicode: {error}") from error
        counts[talk.label] += 1
    file.write(end)


def _llava(talk: Talk) -> dict[str, Any]:
    """Lay a talk out as LLaVA's training takes it: the picture's place stands in the first question."""
    said = []
    for number, (question, answer) in enumerate(talk.turns):
        said.append({"from": "human", "value": question if number else f"{_PLACE}\n{question}"})
        said.append({"from": "gpt", "value": answer})
    return {"id": talk.name, "image": talk.image, "conversations": said}


def _trl(talk: Talk) -> dict[str, Any]:
    """Lay a talk out as TRL takes it."""
    roles = ("user", "assistant")
    said = [{"role": role, "content": text} for turn in talk.turns for role, text in zip(roles, turn, strict=True)]
    return {"images": [talk.image], "messages": said, "label": talk.label}


def _of_dataset(folder: Path) -> Iterator[Talk]:
    paths = sorted(folder.glob("data/*.parquet"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no dataset folder of dfa-instruct (expected data/<split>-*.parquet)")
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                columns = ["image", "face_id", "label", "qa"]
                if missing := [name for name in columns if name not in file.schema_arrow.names]:
                    raise ValueError(f"{path}: no column {missing[0]!r}")
                for batch in file.iter_batches(100, columns=columns):
                    for row in batch.to_pylist():
                        name = row["face_id"]
                        if null := [column for column in columns if row[column] is None]:
                            raise ValueError(f"{path}: in the row of {name}, {null[0]} is null")
                        turns = tuple((pair["question"], pair["answer"]) for pair in row["qa"])
                        yield Talk(name, f"images/{name}.png", row["label"], turns, row["image"]["bytes"])
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: cannot be read: {error}") from error


def _json(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no JSON: {error}") from error


def _of_fakeclue(content: Any, path: Path, forged_is_one: bool) -> Iterator[Talk]:
    """Read FakeClue's list, which FakeVLM trains on: image, label, and LLaVA's conversations.

    Raises:
        ValueError: its answers say real of what the label calls forged, more often than not.
    """
    agreeing = 0
    talks = []
    for number, entry in enumerate(content if isinstance(content, list) else [None]):
        try:
            said = [turn["value"].replace(_PLACE, "").strip() for turn in entry["conversations"]]
            label: Label = "forged" if (int(entry["label"]) == 1) == forged_is_one else "bona_fide"
            turns = tuple(zip(said[::2], said[1::2], strict=True))
            talks.append(Talk(str(entry.get("id", number)), str(entry["image"]), label, turns))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"{path}: entry {number} has not FakeClue's form: {error!r}") from error
        opening = turns[0][1].lower()[:80] if turns else ""
        if ("fake" in opening) != ("real" in opening):
            agreeing += 1 if ("fake" in opening) == (label == "forged") else -1
    if agreeing < 0:
        right = int(not forged_is_one)
        raise ValueError(f"{path}: its answers say the contrary of its labels; is --forged-label {right}?")
    yield from talks


def _of_dd_vqa(content: Any, path: Path) -> Iterator[Talk]:
    """Read DD-VQA's mapping: picture → number → question and several answers, of which the first is taken."""
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected DD-VQA's mapping of pictures to questions")
    for name, questions in content.items():
        turns = []
        try:
            for asked in questions.values():
                answer = asked["answer"] if isinstance(asked["answer"], str) else asked["answer"][0]
                turns.append((str(asked["question"]), str(answer)))
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"{path}: {name} has not DD-VQA's form: {error!r}") from error
        label: Label = "bona_fide" if name.partition("_")[0] == DD_VQA_ORIGINAL else "forged"
        yield Talk(name, name, label, tuple(turns))


def _with_pictures(talks: Iterable[Talk], images: Path, counts: Counter[str]) -> Iterator[Talk]:
    """Find each talk's picture below a folder, by its path or by its name; count those that are not there."""
    pictures = {path for path in images.rglob("*") if is_picture(path.name)}
    known = {path.stem: path for path in sorted(pictures)}
    for talk in talks:
        path = images / talk.image
        found = path if path in pictures else known.get(Path(talk.image).stem)
        if found is None or not talk.turns:
            counts["no picture"] += 1
            continue
        yield Talk(talk.name, str(found.absolute()), talk.label, talk.turns)
