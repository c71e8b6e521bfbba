"""Every promise of a dataset folder, checked on its rows, and of a sample of its pairs on the pixels of both.

One pass over the dataset, and another one for the sample; of each row only its names, its split and its hashes are
kept.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from dfa_instruct.annotate import Annotator, annotator
from dfa_instruct.build.recipe import Recipe
from dfa_instruct.dataset.features import FEATURES
from dfa_instruct.dataset.reading import open_splits
from dfa_instruct.duplicates import NEAR, near_duplicates, perceptual_hash
from dfa_instruct.evidence import measure
from dfa_instruct.faces import anchors
from dfa_instruct.inspect.writers import written
from dfa_instruct.instruct import FC_QUESTIONS, libraries, situations
from dfa_instruct.pairs import SAME_PICTURE, likeness
from dfa_instruct.records import MEASURED, Annotation, Artifact, FaceRecord, Pixels, face_id_of
from dfa_instruct.schema import from_columns
from dfa_instruct.vocabulary import ABILITIES, ARTIFACTS, CATEGORIES, REGIONS, SPLITS, Category, Split

if TYPE_CHECKING:
    from rich.console import Group

PROMISES: Final[dict[str, str]] = {
    "card": "a card with the dataset's configuration is there",
    "columns": "the columns are those of DFA-Instruct, nothing in them is null but what may be; parameters are JSON",
    "splits": "a row's split is that of its file: train, validation or test",
    "categories": "no split is empty, and none lacks a category, but for those that the recipe leaves out",
    "images": "every image is a PNG that decodes, is square and of one size",
    "hashes": "a face_id follows from the pixels, and is there once",
    "identities": "an identity is in one split only",
    "videos": "a video is in one split only",
    "sources": "a row has the SHA-256 of the file it comes from; an entire face that was made here comes from none",
    "landmarks": "landmarks are 81 finite points of a face in the picture",
    "pairs": "a pair is a bona fide face of the same split and frame, and whoever is in it is in the forgery, too; "
    "bona fide and synthesized faces have none",
    "donors": "a donor or driver is a bona fide face of the same split, and whoever is in it is in the forgery, too",
    "pixels": "outside of the face a forgery shows what its pair shows (a sample)",
    "labels": "label, category, technique and artifacts agree",
    "evidence": "the artifacts are those that the pixels of a forgery and of its pair give again (a sample)",
    "questions": "seven questions an image: one of DF-D, DF-C and AD each, four of FC",
    "answers": "every answer follows from its question and the row's label, category and artifacts",
    "writers": "who wrote a description and a conversation is named; a description is made of its findings",
    "bench": "test rows have the three standardised questions of DFA-Bench, and no other row has any",
    "duplicates": f"no picture is in two splits (perceptual hashes differ in more than {NEAR} of 256 bits)",
    "provenance": "a forged image carries its technique and its source's hash in its PNG",
}
"""What is promised of a dataset folder, by the name under which it is reported."""
NAMED: Final = 3
"""Examples kept of each broken promise."""
SAMPLE: Final = 400
"""Pairs whose pixels are compared and measured again, of every technique the same number as far as it has them."""
ROUNDING: Final = 0.02
"""How far a strength may be from the one that is measured again: another machine rounds otherwise."""
MAY_BE_NULL: Final = frozenset({"technique", "pair_id", "pairing", "video", "frame", "landmarks", "grounding"})
ASKED: Final = Counter({ability: FC_QUESTIONS if ability == "fc" else 1 for ability in ABILITIES})
_OPTION: Final = re.compile(r"^[A-E]\. (.*)$", re.MULTILINE)
_FACE_ID: Final = re.compile(r"[0-9a-f]{16}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


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


def verify(where: str, recipe: Recipe | None = None) -> dict[str, Finding]:
    """Check every promise of `PROMISES` on a dataset folder or a repository on the Hub, with a progress bar.

    Where the columns are not as promised, no row can be checked, and only "card" and "columns" are.

    Args:
        where: the folder, or the id of the repository.
        recipe: that of its build: the splits and categories that it leaves out may be missing.

    Raises:
        FileNotFoundError: see `dfa_instruct.dataset.reading.open_splits`.
        ValueError: likewise, or a file cannot be read.
    """
    splits = open_splits(where)
    verifier = _Verifier(annotator(recipe.annotator if recipe else "measured"))
    verifier.card(where)
    for name, rows in splits.items():
        verifier.columns(name, rows.features or {})
    if not verifier.findings["columns"].broken:
        for name, rows in splits.items():
            for number, row in enumerate(_read(where, name, rows.decode(False))):
                verifier.row(name, number, row)
        verifier.whole()
        verifier.filled(*left_by(recipe))
        verifier.sample(where)
    return verifier.findings


def left_by(recipe: Recipe | None) -> tuple[list[Split], list[Category]]:
    """Return the splits and the categories that a recipe leaves, without one all of them.

    What a table of one's own says is not looked up: it adds none.
    """
    if recipe is None:
        return list(SPLITS), list(CATEGORIES)
    from dfa_instruct.build.recipe import techniques_of
    from dfa_instruct.sources.catalogue import DATASET_TECHNIQUES, find_technique

    found: set[Category] = set()
    if recipe.forgeries_per_face:
        found |= {technique.category for technique in techniques_of(recipe)}
    for source in recipe.sources:
        kind, asked = source["kind"], source.get("techniques")
        if kind == "folder" and not source.get("csv"):
            found.add(source.get("category", "bona_fide"))
        elif kind in ("faceforensics", "celebdf", "sample"):
            found.add("bona_fide")
        if kind in DATASET_TECHNIQUES and source.get("forgeries", True):
            known = DATASET_TECHNIQUES[kind]
            found |= {
                known[name] for name in known if asked is None or name in {find_technique(kind, a) for a in asked}
            }
    splits = [split for split in SPLITS if recipe.shares[split] > 0 or recipe.official_splits]
    return splits, [category for category in CATEGORIES if category in found]


def _read(where: str, split: str, rows: Any, title: str = "verify") -> Iterator[dict[str, Any]]:
    """Yield the rows of a split, with a progress bar; say which could not be read."""
    from tqdm import tqdm

    try:
        yield from tqdm(rows, f"{title} {split}", unit="image")
    except (OSError, ValueError) as error:
        file = _unreadable(Path(where)) or f"a file of the split {split}"
        raise ValueError(f"{where}: {file} cannot be read: {error}") from error


def _unreadable(folder: Path) -> str | None:
    """Name the first Parquet file of a folder that cannot be read; Arrow's error may not."""
    for path in sorted(folder.glob("data/*.parquet")):
        try:
            pq.read_table(path, columns=["face_id"])
        except (OSError, ValueError):
            return path.name
    return None


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


class _Face(NamedTuple):
    """What is kept of a face for what concerns several rows."""

    split: str
    category: str
    identities: tuple[str, ...]
    frame: int | None


class _Forgery(NamedTuple):
    """What is kept of a forgery that was made from other rows' faces; `other` is its donor or driver."""

    face_id: str
    technique: str
    pair_id: str | None
    same_frame: bool
    other: str | None


class _Verifier:
    """Checks row after row, at the end what concerns several rows, and then the pixels of some pairs."""

    def __init__(self, annotator: Annotator) -> None:
        self.annotator = annotator
        self.findings = {promise: Finding() for promise in PROMISES}
        self.shape: tuple[int, ...] | None = None
        self.faces: dict[str, _Face] = {}
        self.split_of: dict[str, dict[str, str]] = {"identities": {}, "videos": {}}
        self.forgeries: list[_Forgery] = []
        self.hashed: list[str] = []  # face_id of every face that is no forgery of another one here
        self.hashes: list[bytes] = []  # and its perceptual hash
        self.unsound: set[str] = set()  # face_id of what has broken pixels or landmarks
        self.pairs: list[_Forgery] = []  # whose names agree, so that their pixels are worth a look
        self.templates = {t.id: t for of_ability in (libraries().df_d, libraries().fc) for t in of_ability}

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

    def row(self, split: str, number: int, row: Mapping[str, Any]) -> None:
        name = f"{split} {row['face_id'] or f'row {number}'}"
        kept = {key: value for key, value in row.items() if key not in MAY_BE_NULL and key != "image"}
        image = row["image"] or {"bytes": None}
        null = next(
            chain(_nulls({**kept, "image.bytes": image["bytes"]}), _nulls(row["landmarks"] or [], "landmarks")), ""
        )
        self.check("columns", not null, f"{name}: {null} is null")
        if null:
            return
        face_id, category = row["face_id"], row["category"]
        self.check("splits", split == row["split"] and split in SPLITS, f"{name}: its column says {row['split']!r}")
        identities = tuple(sys.intern(identity) for identity in row["identities"])
        before = len(self.faces)
        first = self.faces.setdefault(face_id, _Face(split, sys.intern(category), identities, row["frame"]))
        self.check("hashes", len(self.faces) > before, f"{name}: this face_id stands in {first.split} already")
        self.check("identities", all(identities), f"{name}: an identity without a name")
        self.check("identities", bool(identities), f"{name}: it has none")
        for promise, values in (("identities", identities), ("videos", [row["video"]] if row["video"] else [])):
            for value in values:
                other = self.split_of[promise].setdefault(value, split)
                self.check(promise, other == split, f"{name}: {value} is in {other} too")
        known = self.known(name, row)
        self.made_from(name, row, known)
        pixels = self.image(name, row)
        if pixels is None or not self.landmarks(name, row, len(pixels)):
            self.unsound.add(face_id)
        labelled = self.labels(name, row)
        asked = Counter(pair["ability"] for pair in row["qa"])
        self.check("questions", asked == ASKED, f"{name}: {dict(asked)}")
        whole = all(pair["question"].strip() and pair["answer"].strip() for pair in row["qa"])
        self.check("questions", whole, f"{name}: a question or an answer is empty")
        if labelled and _FACE_ID.fullmatch(face_id):
            face, artifacts = _record(row), [Artifact(**artifact) for artifact in row["artifacts"]]
            annotation, wrong = written(row, self.annotator.annotate(face, artifacts))
            self.check("writers", not wrong, f"{name}: {wrong}")
            self.answers(name, row, face, annotation)
            self.bench(name, split, row, annotation)

    def known(self, name: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read the parameters of a row's technique."""
        try:
            known = json.loads(row["parameters"])
        except ValueError:
            known = None
        self.check(
            "columns", isinstance(known, dict), f"{name}: parameters are no JSON object: {row['parameters'][:40]!r}"
        )
        return known if isinstance(known, dict) else {}

    def made_from(self, name: str, row: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        invented = row["category"] == "entire_face_synthesis" and row["source"] == row["technique"]
        sha256 = row["source_sha256"]
        kept = not sha256 if invented else _SHA256.fullmatch(sha256) is not None
        self.check("sources", kept, f"{name}: source_sha256 is {sha256!r}")
        self.check("sources", bool(row["source"] and row["source_path"]), f"{name}: its source has no name")
        if row["pair_id"] is not None:
            may = row["category"] not in ("bona_fide", "entire_face_synthesis")
            self.check("pairs", may, f"{name}: {row['category']} has a pair_id, {row['pair_id']}")
        if row["pair_id"] is not None or "other" in known:
            same_frame = row.get("pairing") != "content"
            other = str(known["other"]) if "other" in known else None
            forgery = _Forgery(row["face_id"], sys.intern(str(row["technique"])), row["pair_id"], same_frame, other)
            self.forgeries.append(forgery)

    def image(self, name: str, row: Mapping[str, Any]) -> Pixels | None:
        try:
            with Image.open(io.BytesIO(row["image"]["bytes"]), formats=["PNG"]) as image:
                pixels: Pixels = np.asarray(image.convert("RGB"))
                notes = dict(getattr(image, "text", {}))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            self.check("images", False, f"{name}: {error}")
            return None
        self.shape = self.shape or pixels.shape
        size = "{1}×{0} px; the first image has {3}×{2}".format(*pixels.shape[:2], *self.shape[:2])
        kept = pixels.shape[0] == pixels.shape[1] and pixels.shape == self.shape
        self.check("images", kept, f"{name}: {size}")
        if not kept:
            self.unsound.add(row["face_id"])
        self.check("hashes", row["face_id"] == face_id_of(pixels), f"{name}: the pixels give {face_id_of(pixels)}")
        if row["pair_id"] is None:  # a forgery resembles its bona fide, whose split it shares
            self.hashed.append(row["face_id"])
            self.hashes.append(perceptual_hash(pixels))
        if row["label"] == "forged":
            promised = {"label": "forged", "technique": str(row["technique"]), "source_sha256": row["source_sha256"]}
            for key, value in promised.items():
                carried = notes.get(f"dfa:{key}")
                self.check("provenance", carried == value, f"{name}: dfa:{key} is {carried!r}; expected {value!r}")
        return pixels

    def landmarks(self, name: str, row: Mapping[str, Any], size: int) -> bool:
        """Check the landmarks, if there are any; return whether nothing is wrong with them."""
        if row["landmarks"] is None:
            return True
        shape = (len(row["landmarks"]), *{len(point) for point in row["landmarks"]})
        self.check("landmarks", shape == (81, 2), f"{name}: landmarks of shape {shape}; expected (81, 2)")
        if shape != (81, 2):
            return False
        points = np.array(row["landmarks"])
        # Of a face that is cut closely, chin and forehead lie beyond the border; eyes, nose and mouth do not.
        inside = [*(np.abs(anchors(points) - size / 2) < size / 2).ravel(), *(np.abs(points - size / 2) < size).ravel()]
        kept = bool(np.isfinite(points).all()) and all(inside)
        extent = " to ".join(str(edge.round(1).tolist()) for edge in (points.min(0), points.max(0)))
        self.check("landmarks", kept, f"{name}: landmarks from {extent}, in a picture of {size} px")
        return kept

    def labels(self, name: str, row: Mapping[str, Any]) -> bool:
        """Check the words that are said of a face; return whether all of them have a meaning."""
        label, category, technique = row["label"], row["category"], row["technique"]
        known = category in CATEGORIES and label == ("bona_fide" if category == "bona_fide" else "forged")
        self.check("labels", known, f"{name}: label {label!r}, category {category!r}")
        self.check("labels", (technique is None) == (category == "bona_fide"), f"{name}: {category} by {technique!r}")
        self.check("labels", label == "forged" or not row["artifacts"], f"{name}: bona fide, and has artifacts")
        for artifact in row["artifacts"]:
            kept = artifact["region"] in REGIONS and artifact["artifact"] in ARTIFACTS and 0 < artifact["strength"] <= 1
            self.check("labels", kept, f"{name}: artifact {artifact}")
            known = known and kept
        return known

    def answers(self, name: str, row: Mapping[str, Any], face: FaceRecord, annotation: Annotation) -> None:
        # All that may be said of the face, whatever is drawn where a situation is about one region or one category.
        drawn = [situations(face, annotation, cast(np.random.Generator, _Nth(n))) for n in range(len(REGIONS))]
        for pair in row["qa"]:
            ability, question, answer = pair["ability"], pair["question"].lower(), pair["answer"]
            if ability == "df_c":
                kept = answer == annotation.df_c
            elif ability == "ad":
                kept = answer == annotation.ad
            else:
                template = self.templates.get(
                    pair["template"] if ability == "df_d" else pair["template"].rpartition(".")[0]
                )
                if ability == "fc" and row["fc_by"] != MEASURED:
                    continue
                if template is None:
                    self.check("answers", False, f"{name}: no template is called {pair['template']!r}")
                    continue
                if ability == "df_d":
                    yes_no = "Yes" if template.when == face.label else "No"
                    claim = f"{annotation.df_d[0].lower()}{annotation.df_d[1:]}"
                    kept = answer == (annotation.df_d if template.when == "either" else f"{yes_no}, {claim}")
                else:
                    words = [known[template.when] for known in drawn if template.when in known]
                    # Where the question names what it is about, the answer is about the same.
                    named = [
                        w
                        for w in words
                        if any(key in w and w[key].lower() in question for key in ("region", "asked", "term"))
                    ]
                    kept = any(answer == said.format(**w) for w in named or words for said in template.answers)
            self.check(
                "answers", kept, f"{name}: {pair['question']!r} is answered {answer!r}, and the face is {face.category}"
            )

    def bench(self, name: str, split: str, row: Mapping[str, Any], annotation: Annotation) -> None:
        abilities = [question["ability"] for question in row["bench"]]
        expected = ["df_d", "df_c", "ad"] if split == "test" else []
        self.check("bench", abilities == expected, f"{name}: {abilities or 'none'}; expected {expected or 'none'}")
        for question in row["bench"]:
            options, answer = question["options"], question["answer"]
            if question["ability"] == "df_d":
                kept = options == ["Yes", "No"] and answer == ("Yes" if row["label"] == "forged" else "No")
            elif question["ability"] == "df_c":
                listed = (
                    sorted(options) == sorted(CATEGORIES.values()) and _OPTION.findall(question["question"]) == options
                )
                kept = listed and answer == CATEGORIES.get(row["category"])
            else:
                kept = not options and answer == annotation.ad
            self.check("bench", kept, f"{name}: {question['ability']}: {answer!r} of {options}, {row['category']}")

    def whole(self) -> None:
        for forgery in self.forgeries:
            if forgery.pair_id is not None and self.belongs("pairs", forgery, forgery.pair_id):
                self.pairs.append(forgery)
            if forgery.other is not None:
                self.belongs("donors", forgery, forgery.other)
        splits = [self.faces[face_id].split for face_id in self.hashed]
        _, across = near_duplicates(self.hashes, [sorted(set(splits)).index(split) for split in splits])
        twins = {second: first for first, second in across}
        for second, face_id in enumerate(self.hashed):
            twin = self.hashed[twins.get(second, second)]
            same = f"{self.faces[face_id].split} {face_id} is {twin} in {self.faces[twin].split}"
            self.check("duplicates", second not in twins, same)

    def belongs(self, promise: str, forgery: _Forgery, other: str) -> bool:
        """Check what is known of a forgery against what is known of the face that it was made from, or with."""
        own, there = self.faces[forgery.face_id], self.faces.get(other, _Face("", "not there", (), None))
        name = f"{own.split} {forgery.face_id}, made of {other}"
        bona_fide = there.split == own.split and there.category == "bona_fide"
        self.check(promise, bona_fide, f"{name}: that is {there.category}{there.split and ', in '}{there.split}")
        strangers = sorted({*there.identities} - {*own.identities})
        self.check(promise, not strangers, f"{name}: {', '.join(strangers)} is in that only")
        same = True
        if promise == "pairs" and forgery.same_frame and None not in (own.frame, there.frame):
            same = own.frame == there.frame
            self.check(promise, same, f"{name}: they are the frames {own.frame} and {there.frame}")
        return bona_fide and not strangers and same

    def filled(self, splits: Sequence[str], categories: Sequence[str]) -> None:
        found = Counter((face.split, face.category) for face in self.faces.values())
        for split in splits:
            missing = [category for category in categories if not found[split, category]]
            what = "row" if len(missing) == len(categories) else ", ".join(missing)
            self.check("categories", not missing, f"{split}: no {what} (--recipe names a recipe that leaves it out)")

    def sample(self, where: str) -> None:
        """Compare the pixels of some pairs, which are read once more."""
        of_technique: dict[str, list[_Forgery]] = defaultdict(list)
        for pair in sorted(self.pairs, key=lambda pair: pair.face_id):
            if not {pair.face_id, pair.pair_id} & self.unsound:
                of_technique[pair.technique].append(pair)
        dealt = [pair for turn in zip_longest(*of_technique.values()) for pair in turn if pair][:SAMPLE]
        waiting = {pair.face_id: str(pair.pair_id) for pair in dealt}
        needed = {*waiting, *waiting.values()}
        held: dict[str, Mapping[str, Any]] = {}
        for split, rows in open_splits(where).items() if waiting else ():
            for row in _read(where, split, rows.decode(False), "compare"):
                if row["face_id"] not in needed:
                    continue
                held[row["face_id"]] = row
                for face_id, pair_id in list(waiting.items()):
                    if row["face_id"] in (face_id, pair_id) and face_id in held and pair_id in held:
                        self.compare(held[face_id], held[waiting.pop(face_id)])
                if not waiting:
                    return

    def compare(self, row: Mapping[str, Any], pair: Mapping[str, Any]) -> None:
        forgery, bona_fide = _record(row, decode=True), _record(pair, decode=True)
        landmarks = forgery.landmarks if bona_fide.landmarks is None else bona_fide.landmarks
        alike = likeness(forgery.image, bona_fide.image, landmarks)
        name = f"{row['split']} {row['face_id']}"
        self.check("pixels", alike >= SAME_PICTURE, f"{name}: only {alike:.2f} of 1 like its pair {row['pair_id']}")
        if landmarks is not None:
            named = [(a["region"], a["artifact"], a["strength"]) for a in row["artifacts"]]
            again = [(a.region, a.artifact, a.strength) for a in measure(forgery, bona_fide)]
            same = len(named) == len(again) and all(
                of_row[:2] == of_pixels[:2] and abs(of_row[2] - of_pixels[2]) <= ROUNDING
                for of_row, of_pixels in zip(named, again, strict=True)
            )
            self.check("evidence", same, f"{name}: it says {_said(named)}; its pixels say {_said(again)}")


class _Nth:
    """Stands in for a random generator: of whatever is to be drawn it takes the one of this number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def integers(self, low: int, high: int | None = None) -> int:
        low, high = (0, low) if high is None else (low, high)
        return low + self.number % (high - low)


def _nulls(value: Any, where: str = "") -> Iterator[str]:
    """Name what is null in a value, however deep."""
    if value is None:
        yield where
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _nulls(part, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _nulls(part, f"{where}[{number}]")


def _record(row: Mapping[str, Any], decode: bool = False) -> FaceRecord:
    """Read a face from its row; its pixels only where they are to be decoded."""
    pixels = np.zeros((1, 1, 3), np.uint8)
    if decode:
        with Image.open(io.BytesIO(row["image"]["bytes"]), formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGB"))
    return from_columns(FaceRecord, row, image=pixels, parameters={})


def _said(artifacts: Sequence[tuple[str, str, float]]) -> str:
    return ", ".join(f"{region} {kind} {strength:.2f}" for region, kind, strength in artifacts) or "nothing"
