"""Read descriptions that people have written, and put them into the store of a dataset.

dfa-instruct annotate runs/ddvqa/dfa-instruct --human DQ_FF++/train_set
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from rich.table import Table

from dfa_instruct.annotate.claims import read_findings
from dfa_instruct.annotate.descriptions import Descriptions
from dfa_instruct.annotate.store import Store, store_path
from dfa_instruct.dataset.reading import paths_of, tables_of
from dfa_instruct.records import Description
from dfa_instruct.vocabulary import Label

COLUMNS: Final = ("file", "text", "region", "person")
"""The columns of a CSV file, or the keys of a list in JSON. The first two are required."""
FILES: Final = (".csv", ".json")
_PART: Final = re.compile(r"person's (\w+)", re.IGNORECASE)
"""The part of the face that a question of DD-VQA is about."""


@dataclass(frozen=True, slots=True)
class Words:
    """One person's words about a picture.

    Args:
        where: The file and the entry in it, for messages.
        picture: The picture, see `_Pictures.faces`.
        is_key: Whether `picture` is a key of DD-VQA, which names its pictures without a folder.
    """

    where: str
    picture: str
    person: str
    about: str
    text: str
    is_key: bool = False


def read_words(path: Path) -> Iterator[Words]:
    """Read people's words from a CSV file, a JSON file, or all such files below a folder.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file has another format.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in FILES)
        if not files:
            raise FileNotFoundError(f"{path}: no CSV or JSON file in this folder")
        for file in files:
            yield from read_words(file)
        return
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as lines:
                yield from _from_entries(path, "row", list(csv.DictReader(lines, restval="")))
            return
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    if isinstance(content, dict):
        yield from _from_dd_vqa(path, content)
    else:
        yield from _from_entries(path, "entry", content)


def _from_entries(path: Path, name: str, entries: Any) -> Iterator[Words]:
    """Read rows or entries with `COLUMNS`. People without a name are numbered for each picture and region."""
    unnamed: Counter[tuple[str, str]] = Counter()
    for number, entry in enumerate(entries if isinstance(entries, list) else [None], start=1):
        where = f"{path}, {name} {number}"
        if not isinstance(entry, dict) or not {"file", "text"} <= entry.keys() <= {*COLUMNS}:
            found = ", ".join(map(str, entry)) if isinstance(entry, dict) else f"{entry!r:.40}"
            raise ValueError(f"{where}: expected file and text, and optionally region and person; found {found}")
        values = {column: entry.get(column) or "" for column in COLUMNS}
        if not all(isinstance(value, str) for value in values.values()):
            raise ValueError(f"{where}: expected texts only; found {entry}")
        picture, about, person = values["file"].strip(), values["region"].strip(), values["person"].strip()
        if not picture or not values["text"].strip():
            raise ValueError(f"{where}: {'text' if picture else 'file'} is empty")
        if not person:
            unnamed[picture, about] += 1
        yield Words(where, picture, person or str(unnamed[picture, about]), about, values["text"])


def _from_dd_vqa(path: Path, content: Mapping[str, Any]) -> Iterator[Words]:
    """Read DD-VQA's mapping: picture → number → question and one answer of each person.

    Not everybody has answered every question. If an answer may be of several people, it is given to the one whose
    description of the whole face shares most sentences with it.
    """
    for picture, questions in content.items():
        where = f"{path}, {picture}"
        try:
            asked = [(_PART.search(one["question"]), list(one["answer"])) for one in questions.values()]
            parts = [(part[1].lower() if part else "", answers) for part, answers in asked]
            whole = next((answers for about, answers in parts if not about), [])
            for about, answers in parts:
                people = range(len(answers)) if len(answers) >= len(whole) else _people(answers, whole)
                for person, text in zip(people, answers, strict=True):
                    if text.strip():
                        yield Words(where, picture, str(person + 1), about, text, is_key=True)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{where}: neither a list of file, region and text nor DD-VQA's format") from error


def _people(answers: Sequence[str], whole: Sequence[str]) -> list[int]:
    """Return the place among the descriptions of the whole face, at least as many, that each answer belongs to."""
    people: list[int] = []
    for answer in answers:
        sentences = [sentence.strip(" .").lower() for sentence in answer.split(". ")[1:]]
        left = [person for person in range(len(whole)) if person not in people]
        people.append(max(left, key=lambda person: sum(s in whole[person].lower() for s in sentences)))
    return people


class _Pictures:
    """The faces of a dataset folder by the picture or video that they were cut from.

    Forgeries that the build has made from a picture are left out, because nobody has described them.
    """

    def __init__(self, folder: Path) -> None:
        self.of_path: dict[str, list[tuple[str, Label, str | None]]] = defaultdict(list)
        self.by_name: dict[str, set[str]] = defaultdict(set)
        columns = ["face_id", "source_path", "label", "technique", "pair_id"]
        rows = [row for table in tables_of(paths_of(folder), columns) for row in table.to_pylist()]
        path_of = {row["face_id"]: row["source_path"] for row in rows}
        for row in rows:
            path = row["source_path"]
            if path_of.get(row["pair_id"]) != path:
                self.of_path[path].append((row["face_id"], row["label"], row["technique"]))
                for name in (PurePosixPath(path).name, PurePosixPath(path).stem):
                    self.by_name[name].add(path)

    def faces(self, words: Words) -> list[tuple[str, Label, str | None]]:
        """Return the faces that were cut from a picture, which is named by the end of its path, or by its stem.

        Raises:
            ValueError: Several pictures have this name.
        """
        wanted = PurePosixPath(words.picture.replace("\\", "/"))
        parts = tuple(part for part in wanted.parts if part not in ("/", "."))
        found = sorted(
            path
            for path in self.by_name.get(wanted.name, ())
            if PurePosixPath(path).parts[: -len(parts) - 1 : -1][1:] == parts[-2::-1]
        )
        if len(found) > 1 and not words.is_key:
            raise ValueError(f"{words.where}: {words.picture} may be {found[0]} or {found[1]}; write more of its path")
        return [face for path in found for face in self.of_path[path]]


def annotate_in_words_of_people(folder: Path, paths: Iterable[Path]) -> Table:
    """Put people's words about the faces of a dataset folder into its store, all or none.

    Args:
        folder: The dataset folder.
        paths: CSV and JSON files, or folders of them, see `read_words`.

    Returns:
        A table of the faces, people and words by technique.

    Raises:
        FileNotFoundError: A file or the dataset does not exist.
        ValueError: A file has another format, the pictures are not in the dataset or cannot be told apart, or two texts
            are by the same person about the same part of a face.
    """
    pictures = _Pictures(folder)
    found: dict[tuple[str, str, str], tuple[Words, Label, str | None]] = {}
    missing: dict[str, Words] = {}
    for path in paths:
        for words in read_words(path):
            faces = pictures.faces(words)
            if not faces:
                missing.setdefault(words.picture, words)
            for face_id, label, technique in faces:
                key = face_id, words.person, words.about
                before, *_ = found.setdefault(key, (words, label, technique))
                if before.text != words.text:
                    raise ValueError(
                        f"{words.where}: person {words.person} has described {words.about or 'the face'} otherwise in "
                        f"{before.where}; if these are two people, name them in the column person"
                    )
    if not found:
        example = next(iter(missing.values()), None)
        named = f"; {example.where} names {example.picture}" if example else ""
        raise ValueError(f"{folder}: no face is from a picture that is described{named}")
    with Store(store_path(folder)) as store:
        Descriptions(store).put(
            (face_id, Description(person, about, words.text))
            for (face_id, person, about), (words, _, _) in found.items()
        )
    table = _table(found)
    table.caption = f"{len(missing)} pictures that are described are not in the dataset." if missing else None
    return table


def _table(found: Mapping[tuple[str, str, str], tuple[Words, Label, str | None]]) -> Table:
    table = Table(title="Descriptions by people", show_footer=True)
    columns = ("faces", "people", "texts", "region read", "kind read")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    faces, people = defaultdict(set), defaultdict(set)
    for (face_id, person, about), (words, label, technique) in found.items():
        name = technique or label
        faces[name].add(face_id)
        people[name].add((face_id, person))
        findings = read_findings(words.text, about) if label == "forged" else ()
        counts[name].update({"texts": 1, "region read": bool(findings)})
        counts[name]["kind read"] += any(finding.artifacts for finding in findings)
    for name, of_name in counts.items():
        of_name.update({"faces": len(faces[name]), "people": len(people[name])})
    total = sum(counts.values(), Counter())
    table.add_column("technique", footer="all")
    for column in columns:
        table.add_column(column, justify="right", footer=str(total[column]))
    for name, of_name in sorted(counts.items()):
        table.add_row(name, *(str(of_name[column]) for column in columns))
    return table
