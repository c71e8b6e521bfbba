"""The first step: what the sources name, dealt into shards."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dfa_instruct.construction.work_folder import BONA_FIDE, DROPPED_SCHEMA, Step, digest, missed, shard_writer, whole
from dfa_instruct.schema import arrow_schema, from_columns, to_columns
from dfa_instruct.sources import SourceItem
from dfa_instruct.sources.registry import open_sources

CHUNK = 4096
SHARD_IMAGES = (16, 256)
"""Images in a shard: a sixteenth of all, but within these bounds."""
ITEM_SCHEMA = arrow_schema(SourceItem)
WORD = pa.dictionary(pa.int16(), pa.string())
"""Of a column that says few different things within a chunk."""
CHUNK_SCHEMA = pa.schema(
    [
        ("folder", WORD),  # path's
        ("name", pa.string()),
        *(
            (field.name, WORD if field.name in ("source", "category", "technique", "video") else field.type)
            for field in ITEM_SCHEMA
            if field.name != "path"
        ),
    ]
)


class ListItems(Step):
    """List what the sources name, and deal it into shards. One task.

    A bona fide picture and all forgeries of it come into one shard, and the frames of a video after one another. Where
    a forgery may be of several frames, all of the video comes into one shard.
    """

    folder = "list"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the shards, and `report.json`: how many images each has, and what was found of each technique."""
        recipe = self.recipe
        sources = open_sources(recipe.sources)
        listed = _Listed(recipe.seed)
        items = _each_once(item for source in sources for item in source.items())
        while chunk := list(islice(items, CHUNK)):
            listed.add(chunk)
        reports = [(s.name, technique, found) for s in sources for technique, found in s.report.items()]
        with shard_writer(self.work.dropped("list", 0), DROPPED_SCHEMA) as drop:
            for source_name, technique, found in reports:
                for file, reason in (*found.dropped_files, *found.ignored_files):
                    drop({"what": f"{source_name}/{file}", "technique": technique, "reason": reason})
            order, head = listed.order(listed.needed(self.kept(listed, drop)))
        unit = listed.unit
        undivided = {unit[head[i]] for i in listed.among}
        size = int(np.clip(-(-len(order) // SHARD_IMAGES[0]), *SHARD_IMAGES))
        sizes: list[int] = []
        shard: list[int] = []

        def close() -> None:
            part = listed.rows(shard)
            # Bona fide before their forgeries, and the frames of one file together, so that it is opened once.
            in_shard = sorted(
                range(len(part)),
                key=lambda i: (
                    listed.unit[head[shard[i]]],
                    part[i]["category"] != BONA_FIDE,
                    part[i]["path"],
                    part[i]["frame"] or 0,
                ),
            )
            with shard_writer(self.work.shard("list", len(sizes)), ITEM_SCHEMA) as write:
                for i in in_shard:
                    write(part[i])
            sizes.append(len(shard))
            shard.clear()

        def together(i: int) -> tuple[bool, int]:
            whole_unit = unit[head[i]] in undivided
            return whole_unit, unit[head[i]] if whole_unit else head[i]

        for _, group in groupby(order, key=together):
            shard += group
            if len(shard) >= size:
                close()
        if shard:
            close()
        with whole(self.work.file("list", "report.json")) as path:
            of_techniques = {
                f"{source_name}/{technique}": {
                    "found": found.found,
                    "resolved": found.resolved,
                    "paired": found.paired,
                    "missed": missed(found.dropped_files),
                    "notes": found.notes,
                }
                for source_name, technique, found in reports
            }
            path.write_text(json.dumps({"sizes": sizes, "techniques": of_techniques}), encoding="utf-8")

    def kept(self, listed: _Listed, drop: Callable[[dict[str, Any]], None]) -> NDArray[np.int64]:
        """Leave out techniques with too few images, and of others what is beyond the most; return what is left."""
        recipe = self.recipe
        technique_of = np.frombuffer(listed.technique, np.int32)
        lot = np.frombuffer(listed.lot, np.uint64)
        kept = np.ones(len(technique_of), bool)
        for technique, code in sorted(listed.techniques.items()):
            own = np.flatnonzero(technique_of == code)
            most, reason = len(own), ""
            if technique != BONA_FIDE and len(own) < recipe.fewest_images:
                most, reason = 0, f"fewer than {recipe.fewest_images} images"
            elif technique != BONA_FIDE and recipe.most_images is not None and len(own) > recipe.most_images:
                most, reason = recipe.most_images, f"beyond {recipe.most_images} images"
                own = own[np.argsort(lot[own], kind="stable")]
            kept[own[most:]] = False
            for begin in range(most, len(own), CHUNK):
                for row in listed.rows(own[begin : begin + CHUNK]):
                    drop({"what": from_columns(SourceItem, row).key, "technique": technique, "reason": reason})
        return np.flatnonzero(kept)


class _Listed:
    """What was listed, in little memory: the items in Arrow's columns, and of each the numbers that order them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.batches: list[pa.RecordBatch] = []
        self.techniques: dict[str, int] = {}
        self.technique = array("i")  # the technique's number
        self.lot = array("Q")  # drawn for the item's key
        self.pair = array("Q")  # drawn for the key of its bona fide
        self.unit = array("Q")  # drawn for what stays together: its video, or the person in it
        self.sought = array("b")  # whether it is listed only for the forgeries that may be of it
        self.among: dict[int, tuple[str, ...]] = {}  # of forgeries that may be of several frames, the frames' keys

    def add(self, items: Sequence[SourceItem]) -> None:
        """Add items, `CHUNK` but for the last ones of a source."""
        rows = [{**to_columns(item), "folder": str(item.path.parent), "name": item.path.name} for item in items]
        self.batches.append(pa.RecordBatch.from_pylist(rows, schema=CHUNK_SCHEMA))
        for item in items:
            if item.pair_candidates:
                self.among[len(self.lot)] = item.pair_candidates
            self.technique.append(self.techniques.setdefault(item.technique or BONA_FIDE, len(self.techniques)))
            self.lot.append(self.draw(item.key))
            self.pair.append(self.draw(item.pair or (item.pair_candidates[0] if item.pair_candidates else item.key)))
            self.sought.append(item.pair_only)
            self.unit.append(self.draw(item.video or (*item.identities, item.key)[0]))

    def draw(self, name: str) -> int:
        """Draw a lot of 64 bits for a name; that two names draw the same is as good as impossible."""
        return int.from_bytes(digest(self.seed, name))

    def needed(self, kept: NDArray[np.int64]) -> NDArray[np.int64]:
        """Leave out the frames that were sought for forgeries that are not kept."""
        lot, pair = (np.frombuffer(column, np.uint64) for column in (self.lot, self.pair))
        sought = np.frombuffer(self.sought, np.int8).astype(bool)
        frames = [self.draw(key) for keys in self.among.values() for key in keys]
        wanted = np.concatenate([pair[kept[~sought[kept]]], np.array(frames, np.uint64)])
        return kept[~sought[kept] | np.isin(lot[kept], wanted)]

    def order(self, kept: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Order what is kept so that people are mixed, and a picture and all forgeries of it are together.

        Returns:
            The numbers of the items in order; and of every item the number of its bona fide, or its own.
        """
        lot, pair, unit = (np.frombuffer(column, np.uint64) for column in (self.lot, self.pair, self.unit))
        by_lot = np.argsort(lot, kind="stable")
        found = np.searchsorted(lot, pair, sorter=by_lot).clip(max=len(lot) - 1)
        head = np.where(lot[by_lot[found]] == pair, by_lot[found], np.arange(len(lot)))
        order = np.lexsort((kept, head[kept], unit[head[kept]]))
        return kept[order], head

    def rows(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[dict[str, Any]]:
        """Read items, given by their numbers, as rows of `ITEM_SCHEMA`."""
        begin = np.cumsum([0, *(batch.num_rows for batch in self.batches)])
        rows: list[dict[str, Any]] = []
        batch_of = np.searchsorted(begin, numbers, "right") - 1
        for batch, own in groupby(zip(batch_of.tolist(), numbers, strict=True), key=itemgetter(0)):
            rows += self.batches[batch].take(pa.array([n - begin[batch] for _, n in own])).to_pylist()
        return [{"path": str(Path(row.pop("folder"), row.pop("name"))), **row} for row in rows]


def _each_once(items: Iterable[SourceItem]) -> Iterator[SourceItem]:
    """Pass items on, the bona fide frames that are sought once each; who is in none is an identity of its own."""
    sought: set[str] = set()
    for item in items:
        if item.pair_only:
            if item.key in sought:
                continue
            sought.add(item.key)
        yield item if item.identities else replace(item, identities=(item.key,))
