"""The pool of bona fide faces. Donors come from it, and techniques that learn are fitted on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dfa_instruct.construction.work_folder import FACE_SCHEMA, WorkFolder, atomic_path, face_from_row
from dfa_instruct.records import Face
from dfa_instruct.vocabulary import SPLITS, Split


@dataclass(frozen=True)
class _Faces(Sequence[Face]):
    """The faces of one split. Each face is read when it is accessed."""

    table: pa.Table
    rows: NDArray[np.int64]
    size: int

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, number: int) -> Face: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Face]: ...
    def __getitem__(self, number: int | slice) -> Face | Sequence[Face]:
        if isinstance(number, slice):
            return _Faces(self.table, self.rows[number], self.size)
        columns = self.table.slice(int(self.rows[number]), 1).to_pylist()[0]
        return face_from_row(columns, self.size, columns["split"])


class Pool:
    """The pool as a memory-mapped file, so that all workers share one copy."""

    def __init__(self, work: WorkFolder, size: int) -> None:
        table = pa.ipc.open_file(pa.memory_map(str(work.file("plan", "pool.arrow")))).read_all()
        split = np.array(table["split"].to_pylist(), dtype=object)
        self.by_split: dict[Split, Sequence[Face]] = {
            s: _Faces(table, np.flatnonzero(split == s), size) for s in SPLITS
        }


def write_pool(work: WorkFolder, places: Sequence[tuple[int, int, Split]]) -> None:
    """Write the pool.

    Args:
        work: The work folder.
        places: The shard, the row in the shard and the split of each face. The pool is written shard by shard.
    """
    by_shard: dict[int, list[tuple[int, Split]]] = defaultdict(list)
    for shard, row, split in places:
        by_shard[shard].append((row, split))
    column = FACE_SCHEMA.get_field_index("split")
    with atomic_path(work.file("plan", "pool.arrow")) as path, pa.ipc.new_file(str(path), FACE_SCHEMA) as file:
        for shard, members in by_shard.items():
            table = pq.read_table(work.shard("faces", shard)).take([row for row, _ in members])
            file.write_table(table.set_column(column, "split", pa.array([split for _, split in members])))
