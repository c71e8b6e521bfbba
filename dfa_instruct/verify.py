"""Every promise of a dataset folder, checked on its rows.

One pass over the dataset; of each row only its names, its split and its hashes are kept.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from dfa_instruct.bench.parsing import parse_category, parse_yes_no
from dfa_instruct.dataset import FEATURES
from dfa_instruct.duplicates import NEAR, near_duplicates, perceptual_hash
from dfa_instruct.instruct import FC_QUESTIONS, libraries
from dfa_instruct.reading import open_splits
from dfa_instruct.records import Pixels, face_id_of
from dfa_instruct.vocabulary import ABILITIES, ARTIFACTS, CATEGORIES, REGIONS, SPLITS

if TYPE_CHECKING:
    from rich.console import Group

PROMISES: Final[dict[str, str]] = {
    "card": "a card with the dataset's configuration is there",
    "columns": "the columns are those of DFA-Instruct; parameters are JSON, landmarks 81 points",
    "splits": "a row's split is that of its file: train, validation or test",
    "images": "every image decodes, is square and of one size",
    "hashes": "a face_id follows from the pixels, and is there once",
    "identities": "an identity is in one split only",
    "pairs": "a pair_id is a bona fide face of the same split; bona fide and synthesized faces have none",
    "labels": "label, category, technique and artifacts agree",
    "questions": "seven questions an image: one of DF-D, DF-C and AD each, four of FC",
    "answers": "the answers of DF-D and DF-C agree with the label and the category",
    "bench": "test rows have the three standardised questions of DFA-Bench, and no other row has any",
    "duplicates": f"no picture is in two splits (perceptual hashes differ in more than {NEAR} of 256 bits)",
    "provenance": "a forged image carries its technique and its source's hash in its PNG",
}
"""What is promised of a dataset folder, by the name under which it is reported."""
NAMED: Final = 3
"""Examples kept of each broken promise."""
_YES_NO: Final = re.compile(r"(yes|no|)\b[,.:;]?\s*(.*)", re.DOTALL)
_OPTION: Final = re.compile(r"^[A-E]\. (.*)$", re.MULTILINE)
ASKED: Final = Counter({ability: FC_QUESTIONS if ability == "fc" else 1 for ability in ABILITIES})


@dataclass
class Finding:
    """What became of one promise: how often it was checked and broken, and the first examples."""

    checked: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)

    def check(self, kept: bool, example: str) -> None:
        """Count one check; `example` names the row and says what is wrong with it."""
        self.checked += 1
        if not kept:
            self.broken += 1
            if len(self.examples) < NAMED:
                self.examples.append(example)


def verify(where: str) -> dict[str, Finding]:
    """Check every promise of `PROMISES` on a dataset folder or a repository on the Hub, with a progress bar.

    Where the columns are not as promised, no row can be checked, and only "card" and "columns" are.

    Raises:
        FileNotFoundError: see `dfa_instruct.reading.open_splits`.
    """
    from tqdm import tqdm

    splits = open_splits(where)
    verifier = _Verifier()
    verifier.card(where)
    for name, rows in splits.items():
        verifier.columns(name, rows.features or {})
    if not verifier.findings["columns"].broken:
        for name, rows in splits.items():
            for row in tqdm(rows.decode(False), f"verify {name}", unit="image"):
                verifier.row(name, row)
        verifier.whole()
    return verifier.findings


def report(findings: Mapping[str, Finding]) -> Group:
    """Lay the findings out for a terminal: a table promise by promise, then the examples of the broken ones."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    laid = Table(title="What is promised")
    laid.add_column("promise")
    laid.add_column("checks", justify="right")
    laid.add_column("broken", justify="right")
    laid.add_column("")
    named: list[Any] = []
    for name, finding in findings.items():
        verdict = Text("broken", "bold red") if finding.broken else Text("held" if finding.checked else "not checked")
        laid.add_row(PROMISES[name], str(finding.checked), str(finding.broken), verdict)
        if finding.broken:
            named.append(Text(f"Broken: {PROMISES[name]}", "bold"))
            named += [Padding(Text(example), (0, 0, 0, 2)) for example in finding.examples]
            if more := finding.broken - len(finding.examples):
                named.append(Padding(Text(f"and {more} more"), (0, 0, 0, 2)))
    return Group(laid, *named)


class _Verifier:
    """Checks row after row, and at the end what concerns several rows."""

    def __init__(self) -> None:
        self.findings = {promise: Finding() for promise in PROMISES}
        self.shape: tuple[int, ...] | None = None
        self.faces: dict[str, tuple[str, str]] = {}  # face_id → split and category
        self.identities: dict[str, str] = {}  # identity → split
        self.pairs: list[tuple[str, str]] = []  # face_id and pair_id of a forgery
        self.hashed: list[str] = []  # face_id of every face that is no forgery of another one here
        self.hashes: list[bytes] = []  # and its perceptual hash
        self.polarity = {template.id: template.when for template in libraries().df_d}

    def check(self, promise: str, kept: bool, example: str) -> None:
        self.findings[promise].check(kept, example)

    def card(self, where: str) -> None:
        from huggingface_hub import DatasetCard

        try:
            card = DatasetCard.load(Path(where, "README.md") if Path(where).exists() else where)
        except (OSError, ValueError) as error:
            self.check("card", False, f"README.md: {' '.join(str(error).split())}")
            return
        self.check("card", bool(card.data.to_dict().get("configs")), "README.md: its header has no `configs`")
        self.check("card", bool(card.text.strip()), "README.md: nothing stands below its header")

    def columns(self, split: str, features: Mapping[str, Any]) -> None:
        for name in dict.fromkeys([*FEATURES, *features]):
            found, expected = features.get(name, "missing"), FEATURES.get(name, "no such column")
            self.check("columns", found == expected, f"{split}, {name}: {found}; expected: {expected}")

    def row(self, split: str, row: Mapping[str, Any]) -> None:
        name = f"{split} {row['face_id']}"
        self.check("splits", split == row["split"] and split in SPLITS, f"{name}: its column says {row['split']!r}")
        before = len(self.faces)
        first_split, _ = self.faces.setdefault(row["face_id"], (split, row["category"]))
        self.check("hashes", len(self.faces) > before, f"{name}: this face_id stands in {first_split} already")
        for identity in row["identities"]:
            first = self.identities.setdefault(identity, split)
            self.check("identities", first == split, f"{name}: {identity} is in {first} too")
        self.check("identities", bool(row["identities"]), f"{name}: it has none")
        if row["pair_id"] is not None:
            self.pairs.append((row["face_id"], row["pair_id"]))
            may = row["category"] not in ("bona_fide", "entire_face_synthesis")
            self.check("pairs", may, f"{name}: {row['category']} has a pair_id, {row['pair_id']}")
        self.values(name, row)
        self.image(name, row)
        self.labels(name, row)
        self.questions(name, row)
        self.bench(name, split, row)

    def values(self, name: str, row: Mapping[str, Any]) -> None:
        try:
            known = isinstance(json.loads(row["parameters"]), dict)
        except (ValueError, TypeError):
            known = False
        self.check("columns", known, f"{name}: parameters are no JSON object: {str(row['parameters'])[:40]!r}")
        if row["landmarks"] is not None:
            shape = (len(row["landmarks"]), *{len(point) for point in row["landmarks"]})
            self.check("columns", shape == (81, 2), f"{name}: landmarks of shape {shape}; expected (81, 2)")

    def image(self, name: str, row: Mapping[str, Any]) -> None:
        try:
            with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
                pixels: Pixels = np.asarray(image.convert("RGB"))
                notes = dict(getattr(image, "text", {}))
        except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
            self.check("images", False, f"{name}: {error}")
            return
        self.shape = self.shape or pixels.shape
        size = "{1}×{0} px; the first image has {3}×{2}".format(*pixels.shape[:2], *self.shape[:2])
        kept = pixels.shape[0] == pixels.shape[1] and pixels.shape == self.shape
        self.check("images", kept, f"{name}: {size}")
        self.check("hashes", row["face_id"] == face_id_of(pixels), f"{name}: the pixels give {face_id_of(pixels)}")
        if row["pair_id"] is None:  # a forgery resembles its bona fide, whose split it shares
            self.hashed.append(row["face_id"])
            self.hashes.append(perceptual_hash(pixels))
        if row["label"] == "forged":
            promised = {"label": "forged", "technique": str(row["technique"]), "source_sha256": row["source_sha256"]}
            for key, value in promised.items():
                carried = notes.get(f"dfa:{key}")
                self.check("provenance", carried == value, f"{name}: dfa:{key} is {carried!r}; expected {value!r}")

    def labels(self, name: str, row: Mapping[str, Any]) -> None:
        label, category, technique = row["label"], row["category"], row["technique"]
        kept = category in CATEGORIES and label == ("bona_fide" if category == "bona_fide" else "forged")
        self.check("labels", kept, f"{name}: label {label!r}, category {category!r}")
        self.check("labels", (technique is None) == (category == "bona_fide"), f"{name}: {category} by {technique!r}")
        self.check("labels", label == "forged" or not row["artifacts"], f"{name}: bona fide, and has artifacts")
        for artifact in row["artifacts"]:
            kept = artifact["region"] in REGIONS and artifact["artifact"] in ARTIFACTS and 0 < artifact["strength"] <= 1
            self.check("labels", kept, f"{name}: artifact {artifact}")

    def questions(self, name: str, row: Mapping[str, Any]) -> None:
        asked = Counter(pair["ability"] for pair in row["qa"])
        self.check("questions", asked == ASKED, f"{name}: {dict(asked)}")
        whole = all(pair["question"].strip() and pair["answer"].strip() for pair in row["qa"])
        self.check("questions", whole, f"{name}: a question or an answer is empty")
        for pair in row["qa"]:
            said = f"{name}: {pair['question']!r} is answered {pair['answer']!r}, and the face is {row['category']}"
            if pair["ability"] == "df_d":
                self.check("answers", self._agrees(pair, row["label"]), said)
            elif pair["ability"] == "df_c":
                options = _OPTION.findall(pair["question"]) or list(CATEGORIES.values())
                self.check("answers", parse_category(pair["answer"], options) == row["category"], said)

    def _agrees(self, pair: Mapping[str, str], label: str) -> bool:
        """Whether a DF-D answer says what the label says: its yes or no, where asked for, and its sentence."""
        word, sentence = _YES_NO.fullmatch(pair["answer"].lower()).groups()  # type: ignore[union-attr]
        claim = parse_yes_no(sentence)
        polarity = self.polarity.get(pair["template"])
        if polarity not in ("bona_fide", "forged"):
            return claim == label
        return word == ("yes" if polarity == label else "no") and claim in (label, None)

    def bench(self, name: str, split: str, row: Mapping[str, Any]) -> None:
        abilities = [question["ability"] for question in row["bench"]]
        expected = ["df_d", "df_c", "ad"] if split == "test" else []
        self.check("bench", abilities == expected, f"{name}: {abilities or 'none'}; expected {expected or 'none'}")
        descriptions = [pair["answer"] for pair in row["qa"] if pair["ability"] == "ad"]
        for question in row["bench"]:
            options, answer = question["options"], question["answer"]
            if question["ability"] == "df_d":
                kept = options == ["Yes", "No"] and answer == ("Yes" if row["label"] == "forged" else "No")
            elif question["ability"] == "df_c":
                kept = sorted(options) == sorted(CATEGORIES.values()) and answer == CATEGORIES.get(row["category"])
            else:
                kept = not options and answer in descriptions
            self.check("bench", kept, f"{name}: {question['ability']}: {answer!r} of {options}, {row['category']}")

    def whole(self) -> None:
        for face_id, pair_id in self.pairs:
            split, (own, category) = self.faces[face_id][0], self.faces.get(pair_id, ("", "not there"))
            kept = own == split and category == "bona_fide"
            self.check("pairs", kept, f"{split} {face_id}: its pair {pair_id} is {category}{own and ', in '}{own}")
        splits = [self.faces[face_id][0] for face_id in self.hashed]
        _, across = near_duplicates(self.hashes, [sorted(set(splits)).index(split) for split in splits])
        twins = {second: first for first, second in across}
        for second, face_id in enumerate(self.hashed):
            twin = self.hashed[twins.get(second, second)]
            same = f"{self.faces[face_id][0]} {face_id} is {twin} in {self.faces[twin][0]}"
            self.check("duplicates", second not in twins, same)
