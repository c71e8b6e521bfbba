"""Read the faces of a dataset folder: a stream of rows without pictures, and any single face by its id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfa_instruct.dataset.reading import paths_of, tables_of
from dfa_instruct.records import Artifact, Face, FaceRecord
from dfa_instruct.sources.pictures import read_image

CACHED_GROUPS: Final = 4
"""Row groups that stay in memory. A forgery and its bona fide face are close to each other in the folder."""
COLUMNS: Final = ("face_id", "label", "category", "technique", "pair_id", "pairing", "split", "artifacts")
NO_SOURCE: Final[dict[str, Any]] = {"identities": (), "source": "", "source_path": "", "source_sha256": ""}


class Faces:
    """The faces of a dataset folder, with random access by `face_id`."""

    def __init__(self, folder: Path) -> None:
        """Index the folder.

        Raises:
            FileNotFoundError: The folder contains no dataset.
            ValueError: A file cannot be read, or a column is missing.
        """
        self.folder = folder
        self.paths = paths_of(folder)
        self._read_group = lru_cache(CACHED_GROUPS)(_read_group)
        self._places: dict[str, tuple[Path, int, int]] = {}
        for path in self.paths:
            try:
                with pq.ParquetFile(path) as file:
                    for group in range(file.num_row_groups):
                        face_ids = file.read_row_group(group, ["face_id"])["face_id"].to_pylist()
                        self._places |= {face_id: (path, group, row) for row, face_id in enumerate(face_ids)}
            except (OSError, KeyError, pa.ArrowInvalid) as error:
                raise ValueError(f"{path}: cannot be read: {error}") from error

    def __contains__(self, face_id: object) -> bool:
        return face_id in self._places

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows in the order of the folder, with the columns `COLUMNS`."""
        for table in tables_of(self.paths, COLUMNS):
            yield from table.to_pylist()

    def _row(self, face_id: str) -> dict[str, Any]:
        path, group, row = self._places[face_id]
        return dict(self._read_group(path, group).slice(row, 1).to_pylist()[0])

    def png(self, face_id: str) -> bytes:
        """Return the PNG file of a face, as stored in the folder."""
        return bytes(self._row(face_id)["image"]["bytes"])

    def artifacts(self, face_id: str) -> list[Artifact]:
        """Return the measured artifacts of a face."""
        return artifacts_of(self._row(face_id))

    def face(self, face_id: str) -> Face:
        """Return a face with its pixels and landmarks, but with empty identities and an empty source."""
        row = self._row(face_id)
        facts = {name: row[name] for name in COLUMNS if name != "artifacts"}
        landmarks = None if row["landmarks"] is None else np.array(row["landmarks"], np.float32)
        return Face(image=read_image(row["image"]["bytes"], smallest=1), landmarks=landmarks, **facts, **NO_SOURCE)

    def bona_fide_of(self, face_id: str) -> Face | None:
        """Return the face that a forgery was made from, or None if the folder does not contain it."""
        pair_id = self._row(face_id)["pair_id"]
        return self.face(pair_id) if pair_id in self else None


def face_of(row: Mapping[str, Any]) -> FaceRecord:
    """Return the `face_id`, `label`, `category` and `technique` of a row as a record without a source."""
    facts = {name: row[name] for name in ("face_id", "label", "category", "technique")}
    return FaceRecord(**facts, **NO_SOURCE)


def artifacts_of(row: Mapping[str, Any]) -> list[Artifact]:
    """Return the measured artifacts of a row."""
    return [Artifact(**artifact) for artifact in row["artifacts"]]


def _read_group(path: Path, group: int) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, ["image", "landmarks", *COLUMNS])
