"""The faces of a dataset folder: their rows without pictures as a stream, and any picture by its face's id."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfa_instruct.dataset.reading import paths_of, tables_of
from dfa_instruct.records import Artifact, Face, FaceRecord
from dfa_instruct.sources.pictures import read_image

GROUPS_KEPT: Final = 4
"""Row groups that are kept: a forgery lies near its bona fide."""
NOWHERE: Final[dict[str, Any]] = {"identities": (), "source": "", "source_path": "", "source_sha256": ""}
NAMES: Final = ("face_id", "label", "category", "pair_id", "pairing", "split", "artifacts")


class Faces:
    """A dataset folder, opened; of each face its place is kept."""

    def __init__(self, folder: Path) -> None:
        """Open it.

        Raises:
            FileNotFoundError: it holds no dataset.
            ValueError: a file cannot be read, or lacks a column.
        """
        self.folder = folder
        self.paths = paths_of(folder)
        self.places: dict[str, tuple[int, int, int]] = {}
        self._kept: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        for number, path in enumerate(self.paths):
            try:
                with pq.ParquetFile(path) as file:
                    for group in range(file.num_row_groups):
                        names = file.read_row_group(group, ["face_id"])["face_id"].to_pylist()
                        self.places |= {name: (number, group, row) for row, name in enumerate(names)}
            except (OSError, KeyError, pa.ArrowInvalid) as error:
                raise ValueError(f"{path}: cannot be read: {error}") from error

    def rows(self, columns: Sequence[str] = NAMES) -> Iterator[dict[str, Any]]:
        """Yield the rows in the folder's order, these columns of them."""
        for table in tables_of(self.paths, columns):
            yield from table.to_pylist()

    def _row(self, face_id: str) -> dict[str, Any]:
        number, group, row = self.places[face_id]
        if (number, group) not in self._kept:
            with pq.ParquetFile(self.paths[number]) as file:
                self._kept[number, group] = file.read_row_group(group, ["image", "landmarks", *NAMES])
            if len(self._kept) > GROUPS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end((number, group))
        return dict(self._kept[number, group].slice(row, 1).to_pylist()[0])

    def png(self, face_id: str) -> bytes:
        """Return a face's picture as it stands in the folder."""
        return bytes(self._row(face_id)["image"]["bytes"])

    def artifacts(self, face_id: str) -> list[Artifact]:
        """Return a face's measured evidence."""
        return [Artifact(**artifact) for artifact in self._row(face_id)["artifacts"]]

    def face(self, face_id: str) -> Face:
        """Return a face with its pixels and landmarks, to measure it."""
        row = self._row(face_id)
        pixels = read_image(row["image"]["bytes"], smallest=1)
        landmarks = None if row["landmarks"] is None else np.array(row["landmarks"], np.float32)
        known = {name: row[name] for name in NAMES if name != "artifacts"}
        return Face(image=pixels, landmarks=landmarks, **known, **NOWHERE)


def face_of(row: Mapping[str, Any]) -> FaceRecord:
    """Return a face's record with its row's `face_id`, `label` and `category`, without its source."""
    known = {name: row[name] for name in ("face_id", "label", "category")}
    return FaceRecord(**known, **NOWHERE)
