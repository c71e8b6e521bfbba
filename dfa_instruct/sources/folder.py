"""A folder of the user's own photographs and videos, or of a generator's images, with or without a CSV table.

Without a CSV, a file in a subfolder belongs to the identity with the subfolder's name (the layout of LFW), and a file
at the top level is an identity of its own. A CSV names one file per row, and only these files are used. Its columns are
`file` and any of `label`, `category`, `technique`, `identity` (several: `a;b`) and `pair` (the bona fide file that a
forgery was made from). The recipe must say what its label words mean.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Final

from dfa_instruct.errors import nearest
from dfa_instruct.sources import IGNORED_REASONS, SourceItem, TechniqueReport
from dfa_instruct.sources.clips import ClipSettings, Word, clip_items, read_clip
from dfa_instruct.sources.licences import LICENCES
from dfa_instruct.sources.technique_names import TECHNIQUE_CATEGORIES, canonical_technique
from dfa_instruct.sources.walk import is_picture, is_video, walk_files
from dfa_instruct.vocabulary import CATEGORIES, Category, Label

COLUMNS: Final = ("file", "label", "category", "technique", "identity", "pair")


@dataclass(frozen=True, slots=True)
class FolderSettings(ClipSettings):
    """The content of a folder.

    Args:
        category: The category of all files, if there is no CSV.
        technique: The technique of forged files for which the CSV gives none. Default: `name`, else the folder's name.
        csv: The table of the files.
        labels: The meaning of the words in the CSV's column `label` (`{real: bona_fide, fake: forged}`).
        name: The name of the source, instead of `folder`, and the prefix of its identities, instead of the name of the
            folder. Two folders that would share these names need it.
        identity_prefix: The prefix of the identities, instead of `name`. Folders with the same prefix show the same
            people: `ada` in a folder of forgeries is `ada` in the bona fide folder.
    """

    category: Category = "bona_fide"
    technique: str | None = None
    csv: Path | None = None
    labels: dict[Word, Label] = field(default_factory=dict)
    name: str | None = None
    identity_prefix: str | None = None

    def __post_init__(self) -> None:
        ClipSettings.__post_init__(self)
        if self.name in LICENCES:
            raise ValueError(f"name: {self.name!r} is a source with a licence of its own; choose another name")
        known = TECHNIQUE_CATEGORIES.get(canonical_technique(self.technique or "") or "")
        if known and self.category != known and not self.csv:
            raise ValueError(f"technique: {self.technique} is {known}, not {self.category}")

    @property
    def categories(self) -> set[Category]:
        """The categories of the items; empty if a table defines them file by file."""
        return set() if self.csv else {self.category}


@dataclass(frozen=True, slots=True)
class _Row:
    """The description of a file, from its row of the CSV or from its path."""

    category: Category
    technique: str | None
    identities: tuple[str, ...]
    pair: str | None = None


class FolderSource:
    """Pictures and videos below a folder."""

    Settings = FolderSettings

    def __init__(self, settings: FolderSettings) -> None:
        self.settings = settings
        self.root = settings.root.expanduser()
        self.name = settings.name or "folder"
        self.prefix = settings.name or self.root.resolve().name
        self.identity_prefix = settings.identity_prefix or self.prefix
        self.report: dict[str, TechniqueReport] = {}
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder")
        self._rows = None if settings.csv is None else self._read_csv(settings.csv.expanduser())

    def items(self) -> Iterator[SourceItem]:
        """Yield every picture and the sampled frames of every video, folder by folder, sorted by name."""
        self.report = defaultdict(TechniqueReport)
        refused: dict[str, str] = {}
        files = walk_files(self.root, refused.__setitem__, self.settings.follow_links)
        if (first := next(files, None)) is None and IGNORED_REASONS.issuperset(refused.values()):
            raise ValueError(f"{self.root}: no image and no video in it")
        files = chain([first] if first else [], files)
        rows = self._rows
        if rows is None:
            for file in files:
                yield from self._file_items(file, self._row_from_path(file))
            for file, reason in refused.items():
                self._report(self._row_from_path(file)).refuse(reason, file)
            return
        on_disk: dict[str, str] = {}
        for file in files:
            if _nfc(file) in rows:
                on_disk[_nfc(file)] = file
            else:
                self.report["bona_fide"].ignore(f"not in {self.settings.csv}", file)
        for name, file in on_disk.items():
            pair = rows[name].pair or ""
            bona_fide = self._item(on_disk[pair], rows[pair]) if pair in on_disk else None
            yield from self._file_items(file, rows[name], bona_fide)
        refused = {_nfc(file): reason for file, reason in refused.items()}
        for name, row in rows.items():
            if name not in on_disk:
                self._report(row).drop(refused.pop(name, "listed, not on disk"), name)
        for file, reason in refused.items():
            self.report["bona_fide"].refuse(reason, file)

    def _report(self, row: _Row) -> TechniqueReport:
        return self.report[row.technique or "bona_fide"]

    def _item(self, file: str, row: _Row) -> SourceItem:
        video = f"{self.prefix}/{file}" if is_video(file) else None
        return SourceItem(self.root / file, self.name, file, row.category, row.technique, row.identities, video)

    def _file_items(self, file: str, row: _Row, bona_fide: SourceItem | None = None) -> Iterator[SourceItem]:
        """Yield the item of a picture, or of each sampled frame of a video. `bona_fide` is the pair of the file."""
        item = self._item(file, row)
        if is_picture(file):
            self._report(row).use(paired=bona_fide is not None)
            yield replace(item, pair=bona_fide.key if bona_fide else None)
            return
        frames = read_clip(bona_fide, self.settings, TechniqueReport()) if bona_fide else None
        yield from clip_items(item, self.settings, self._report(row), frames)

    def _row_from_path(self, file: str) -> _Row:
        path = PurePosixPath(file)
        identity = path.parts[0] if len(path.parts) > 1 else path.stem
        category, technique = self.settings.category, None
        if category != "bona_fide":
            technique = self.settings.technique or self.prefix
        return _Row(category, technique, (f"{self.identity_prefix}/{identity}",))

    def _read_csv(self, path: Path) -> dict[str, _Row]:
        """Return the row of each file, in the order of the CSV."""
        rows: dict[str, _Row] = {}
        for where, cells in _read_cells(path):
            file = PurePosixPath(cells["file"])
            if not cells["file"] or file.is_absolute() or ".." in file.parts:
                raise ValueError(f"{where}: {cells['file']!r} is not a file below {self.root}")
            row = self._row(cells, where)
            if rows.setdefault(file.as_posix(), row) != row:
                raise ValueError(f"{where}: {file} is also in another row, with a different description")
        if not rows:
            raise ValueError(f"{path}: it has no rows")
        for file_name, row in rows.items():
            if row.pair and (row.pair not in rows or rows[row.pair].category != "bona_fide"):
                raise ValueError(
                    f"{path}: {file_name} has the pair {row.pair!r}, which is not a bona fide file in this CSV"
                )
            if row.pair and is_video(row.pair) != is_video(file_name):
                raise ValueError(
                    f"{path}: {file_name} has the pair {row.pair!r}, but a picture and a video cannot be a pair"
                )
        # The people in a bona fide file are also in its forgeries, even if their rows name only the donor.
        in_pair = {name: rows[row.pair].identities if row.pair else () for name, row in rows.items()}
        return {
            name: replace(row, identities=tuple(dict.fromkeys((*in_pair[name], *row.identities))))
            for name, row in rows.items()
        }

    def _row(self, cells: dict[str, str], where: str) -> _Row:
        category = self._category(cells, where)
        technique = None
        if category != "bona_fide":
            name = cells.get("technique", "")
            technique = canonical_technique(name) or name or self.settings.technique or self.prefix
        pair = PurePosixPath(cells["pair"]).as_posix() if cells.get("pair") else None
        if pair and category == "bona_fide":
            raise ValueError(f"{where}: a bona fide file cannot have the pair {pair!r}")
        names = [name.strip() for name in cells.get("identity", "").split(";") if name.strip()]
        identities = tuple(f"{self.identity_prefix}/{name}" for name in names)
        if not identities and not pair:
            identities = self._row_from_path(cells["file"]).identities
        return _Row(category, technique, identities, pair)

    def _category(self, cells: dict[str, str], where: str) -> Category:
        """Return the category of a row; raise ValueError if its label, category and technique contradict each other."""
        labels, word = self.settings.labels, cells.get("label", "")
        if word and word not in labels:
            known = ", ".join(f"{key} ({label})" for key, label in labels.items()) or "none; set `labels` in the recipe"
            raise ValueError(f"{where}: unknown label {word!r}; known: {known}")
        label = labels.get(word)
        stated, technique = cells.get("category", ""), cells.get("technique", "")
        if stated and stated not in CATEGORIES:
            raise ValueError(f"{where}: unknown category {stated!r}{nearest(stated, CATEGORIES)}")
        by_technique = TECHNIQUE_CATEGORIES.get(canonical_technique(technique) or "")
        if technique and not by_technique and not stated:
            raise ValueError(
                f"{where}: unknown technique {technique!r}: give its category{nearest(technique, TECHNIQUE_CATEGORIES)}"
            )
        if stated and by_technique and stated != by_technique:
            raise ValueError(f"{where}: {technique} is {by_technique}, not {stated}")
        default: Category | None = "bona_fide" if label == "bona_fide" else self.settings.category
        if label == "forged" and default == "bona_fide":
            default = None
        category = next((c for c in CATEGORIES if c == stated), by_technique or default)
        if category is None:
            raise ValueError(f"{where}: forged, but neither its category nor a known technique is given")
        if label and (label == "bona_fide") != (category == "bona_fide"):
            raise ValueError(f"{where}: label {word!r} means {label}, but its category is {category}")
        return category


def _read_cells(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the position of each row of a CSV, for messages, and its cells by column."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a CSV with the columns {', '.join(COLUMNS)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not in UTF-8; save it as a CSV in UTF-8") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = reader.fieldnames or []
    if "file" not in columns:
        raise ValueError(f"{path}: no column 'file'; expected {', '.join(COLUMNS)}")
    for column in columns:
        if column not in COLUMNS:
            raise ValueError(f"{path}: unknown column {column!r}{nearest(column, COLUMNS)}")
        if list(columns).count(column) > 1:
            raise ValueError(f"{path}: two columns have the name {column!r}")
    try:
        for cells in reader:
            where = f"{path}, row {reader.line_num}"
            if any(cells.pop(None, ())):  # as from a comma in a name without quotes
                raise ValueError(f"{where}: more cells than columns")
            yield where, {column: _nfc(value or "").strip() for column, value in cells.items()}
    except csv.Error as error:
        raise ValueError(f"{path}, row {reader.line_num + 1}: {error}") from error


def _nfc(name: str) -> str:
    """Return a name in Unicode's composed form, because a CSV and a disk (macOS) may encode the same ü differently."""
    return unicodedata.normalize("NFC", name)
