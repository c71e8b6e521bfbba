"""One's own media: a folder of photographs or videos, or of images that a generator made, with or without a CSV.

Without a CSV a file in a subfolder belongs to the identity that the subfolder names (the layout of LFW); a file at the
top is an identity of its own. A CSV names the files that are used, one a row, and says what they are; its columns are
`file` and any of `label`, `category`, `technique`, `identity` (several: `a;b`) and `pair` (the bona fide file that a
forgery was made from). What its label words mean is stated in the recipe and never guessed.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final, get_args

import numpy as np
from PIL import Image

from dfa_instruct.faces import FaceDetector, align
from dfa_instruct.records import FaceRecord
from dfa_instruct.sources import SourceItem, TechniqueReport, suggestion
from dfa_instruct.sources.catalogue import DATASET_TECHNIQUES, find_technique
from dfa_instruct.sources.clips import ClipSettings, clip_items
from dfa_instruct.sources.media import BadPictureError, Dropped, find_images, is_picture, is_video, read_image, walk
from dfa_instruct.vocabulary import CATEGORIES, Category, Label

DETECTION_SIDE = 256
COLUMNS: Final = ("file", "label", "category", "technique", "identity", "pair")


@dataclass(frozen=True, slots=True)
class FolderSettings(ClipSettings):
    """What a folder of one's own holds.

    Without a `csv`, `category` holds for all files; the `technique` of forged ones is the folder's name unless given.
    `labels` says what the words in the CSV's column `label` mean (`{real: bona_fide, fake: forged}`). `name` takes
    the place of `folder` as the source's name, and of the folder's own as the prefix of identities, where two folders
    would share them. `frames` and `interval` are for videos.
    """

    category: Category = "bona_fide"
    technique: str | None = None
    csv: Path | None = None
    labels: dict[str, Label] = field(default_factory=dict)
    name: str | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """What is known of a file: from its row of the CSV, or from its place."""

    category: Category
    technique: str | None
    identities: tuple[str, ...]
    pair: str | None = None


class FolderSource:
    """One's own pictures and videos below a folder."""

    def __init__(self, settings: FolderSettings) -> None:
        self.settings = settings
        self.root = settings.root.expanduser()
        self.name = settings.name or "folder"
        self.prefix = settings.name or self.root.resolve().name
        self.report: dict[str, TechniqueReport] = {}
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder")
        self._rows = None if settings.csv is None else self._read_csv(settings.csv.expanduser())

    def items(self) -> Iterator[SourceItem]:
        """Yield every picture and the chosen frames of every video, folder by folder, sorted by name."""
        self.report = defaultdict(TechniqueReport)
        refused: dict[str, str] = {}
        media, unlisted, seen = 0, 0, set()
        for below, names in walk(self.root, refused.__setitem__):
            for name in names:
                if not is_picture(name) and not is_video(name):
                    continue
                media += 1
                file = f"{below}/{name}" if below else name
                row = self._by_place(file) if self._rows is None else self._rows.get(file)
                if row is None:
                    unlisted += 1
                    continue
                seen.add(file)
                yield from self._of_file(file, row)
        for file, reason in refused.items():
            row = self._by_place(file) if self._rows is None else self._rows.get(file)
            if row:
                seen.add(file)
                self._report(row).drop(f"{reason}: {file}")
        for file, row in (self._rows or {}).items():
            if file not in seen:
                self._report(row).drop(f"listed, not on disk: {file}")
        if unlisted:
            self.report["bona_fide"].notes.append(f"{unlisted} files are not in {self.settings.csv} and were not used")
        if not media:
            raise ValueError(f"{self.root}: no image and no video in it")

    def _report(self, row: _Row) -> TechniqueReport:
        return self.report[row.technique or "bona_fide"]

    def _of_file(self, file: str, row: _Row) -> Iterator[SourceItem]:
        item = SourceItem(self.root / file, self.name, file, row.category, row.technique, row.identities)
        pair = self._item_of_pair(row.pair) if row.pair else None
        if is_picture(file):
            self._report(row).use(paired=pair is not None)
            yield replace(item, pair=pair.key if pair and pair.frame is None else None)
            return
        item = replace(item, video=f"{self.prefix}/{file}")
        bona_fide = list(self._frames(pair)) if pair else []
        yield from clip_items(item, self.root, self.settings.choice, self._report(row), bona_fide)

    def _item_of_pair(self, file: str) -> SourceItem | None:
        path = self.root / file
        if not path.is_file():
            return None
        return SourceItem(path, self.name, file, "bona_fide", None, ())

    def _frames(self, video: SourceItem) -> Iterator[SourceItem]:
        return clip_items(video, self.root, self.settings.choice, TechniqueReport())

    def _by_place(self, file: str) -> _Row:
        path = PurePosixPath(file)
        identity = path.parts[0] if len(path.parts) > 1 else path.stem
        category, technique = self.settings.category, None
        if category != "bona_fide":
            technique = self.settings.technique or self.prefix
        return _Row(category, technique, (f"{self.prefix}/{identity}",))

    def _read_csv(self, path: Path) -> dict[str, _Row]:
        """File → what its row says, in the CSV's order.

        Raises:
            FileNotFoundError, ValueError: there is no such file, or a column, word, file or pair is not what it
                should be; the message names the file, the row and what was expected.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; expected a CSV with the columns {', '.join(COLUMNS)}")
        rows: dict[str, _Row] = {}
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            columns = reader.fieldnames or []
            if "file" not in columns:
                raise ValueError(f"{path}: no column 'file'; expected {', '.join(COLUMNS)}")
            for column in columns:
                if column not in COLUMNS:
                    raise ValueError(f"{path}: unknown column {column!r}; {suggestion(column, COLUMNS)}")
            for cells in reader:
                where = f"{path}, row {reader.line_num}"
                cells = {key: (value or "").strip() for key, value in cells.items() if key}
                file = PurePosixPath(cells["file"])
                if not cells["file"] or file.is_absolute() or ".." in file.parts:
                    raise ValueError(f"{where}: {cells['file']!r} is no file below {self.root}")
                row = self._row(cells, where)
                if rows.setdefault(file.as_posix(), row) != row:
                    raise ValueError(f"{where}: {file} stands in another row, with other words")
        for file_name, row in rows.items():
            if row.pair and (row.pair not in rows or rows[row.pair].category != "bona_fide"):
                raise ValueError(f"{path}: {file_name} has the pair {row.pair!r}, which is no bona fide file of it")
        return rows

    def _row(self, cells: dict[str, str], where: str) -> _Row:
        category = self._category(cells, where)
        technique = None
        if category != "bona_fide":
            technique = _known(cells.get("technique", "")) or cells.get("technique")
            technique = technique or self.settings.technique or self.prefix
        by_place = self._by_place(cells["file"]).identities
        given = [name.strip() for name in cells.get("identity", "").split(";") if name.strip()]
        identities = tuple(f"{self.prefix}/{name}" for name in given) or by_place
        pair = PurePosixPath(cells["pair"]).as_posix() if cells.get("pair") else None
        if pair and category == "bona_fide":
            raise ValueError(f"{where}: a bona fide file has no pair, and {pair!r} is given")
        return _Row(category, technique, identities, pair)

    def _category(self, cells: dict[str, str], where: str) -> Category:
        """Bring a row's label, category and technique together."""
        labels, word = self.settings.labels, cells.get("label", "")
        if word and word not in labels:
            known = ", ".join(f"{key} ({label})" for key, label in labels.items()) or "none; state them as labels"
            raise ValueError(f"{where}: unknown label {word!r}; known: {known}")
        given = cells.get("category", "")
        if given and given not in CATEGORIES:
            raise ValueError(f"{where}: unknown category {given!r}; {suggestion(given, CATEGORIES)}")
        technique = cells.get("technique", "")
        known_technique = _known(technique)
        if technique and not known_technique and not given:
            raise ValueError(
                f"{where}: unknown technique {technique!r}; give its category, or {suggestion(technique, _CATEGORIES)}"
            )
        label = labels.get(word)
        stated: Category | None = next((c for c in get_args(Category) if c == given), None)
        belongs = _CATEGORIES[known_technique] if known_technique else None
        if stated and belongs and stated != belongs:
            raise ValueError(f"{where}: {technique} is {belongs}, not {stated}")
        category = stated or belongs
        if category is None and label != "forged":
            category = "bona_fide" if label else self.settings.category
        if category is None and self.settings.category != "bona_fide":
            category = self.settings.category
        if category is None:
            raise ValueError(f"{where}: forged, but no category (nor a technique that tells it)")
        if label and (label == "bona_fide") != (category == "bona_fide"):
            raise ValueError(f"{where}: label {word!r} is {label}, but the category is {category}")
        return category


_CATEGORIES: Final[dict[str, Category]] = {n: c for known in DATASET_TECHNIQUES.values() for n, c in known.items()}


def _known(technique: str) -> str | None:
    return next((found for dataset in DATASET_TECHNIQUES if (found := find_technique(dataset, technique))), None)


def aligned_face(path: Path, detector: FaceDetector, size: int) -> FaceRecord:
    """Read a picture and align the one face in it, as a bona fide record that the caller may relabel.

    Raises:
        BadPictureError: it cannot be read, or holds no face or several.
    """
    pixels = read_image(path)
    if (short := min(pixels.shape[:2])) < DETECTION_SIDE:
        enlarged = Image.fromarray(pixels).resize(
            (pixels.shape[1] * DETECTION_SIDE // short, pixels.shape[0] * DETECTION_SIDE // short),
            Image.Resampling.BICUBIC,
        )
        pixels = np.asarray(enlarged)
    found = detector.detect(pixels)
    if len(found) != 1:
        raise BadPictureError("no face found" if not found else f"{len(found)} faces found; one is expected")
    image, landmarks = align(pixels, found[0], size)
    return FaceRecord(
        image=image,
        label="bona_fide",
        category="bona_fide",
        identities=(),
        source="folder",
        source_path="",
        source_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        landmarks=landmarks,
    )


def read_folder(folder: Path, size: int, dropped: Dropped, category: Category = "bona_fide") -> Iterator[FaceRecord]:
    """Yield the aligned face of every picture below a folder; what has none, or several, goes to `dropped`.

    Args:
        folder: the pictures; `source_path` of a record is relative to it.
        size: the aligned square's side in pixels.
        dropped: filled with the pictures left out and why.
        category: `bona_fide` for photographs, `entire_face_synthesis` for a generator's images.

    Raises:
        FileNotFoundError, ValueError: see `find_images`.
        LandmarkerUnavailableError: see `dfa_instruct.faces.landmarker_path`.
    """
    files = find_images(folder)
    with FaceDetector() as detector:
        for path in files:
            relative = path.relative_to(folder)
            try:
                face = aligned_face(path, detector, size)
            except BadPictureError as error:
                dropped.add(str(relative), str(error))
                continue
            identity = relative.parts[0] if len(relative.parts) > 1 else relative.stem
            face.source_path = relative.as_posix()
            face.identities = (f"{folder.name}/{identity}",)
            if category != "bona_fide":
                face.label, face.category, face.technique = "forged", category, folder.name
            yield face
