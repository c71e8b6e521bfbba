"""The first step: list the items of all sources and distribute them over shards."""

from __future__ import annotations

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

from dfa_instruct.construction.work_folder import (
    BONA_FIDE,
    DROPPED_SCHEMA,
    ListedTechnique,
    ListReport,
    Step,
    group_by_reason,
    seeded_hash,
    shard_writer,
)
from dfa_instruct.schema import arrow_schema, from_columns, to_columns
from dfa_instruct.sources import SourceItem
from dfa_instruct.sources.registry import open_sources

CHUNK = 4096
SHARD_IMAGES = (16, 256)
"""A shard has a sixteenth of all images, but at least 16 and at most 256."""
ITEM_SCHEMA = arrow_schema(SourceItem)
WORD = pa.dictionary(pa.int16(), pa.string())
"""The type of a column with few different values within a chunk."""
CHUNK_SCHEMA = pa.schema(
    [
        ("folder", WORD),  # the folder and the name make up the path
        ("name", pa.string()),
        *(
            (field.name, WORD if field.name in ("source", "category", "technique", "video") else field.type)
            for field in ITEM_SCHEMA
            if field.name != "path"
        ),
    ]
)


class ListItems(Step):
    """List the items of all sources and distribute them over shards. One task.

    A bona fide picture and all its forgeries are in one shard, and the frames of a video follow each other. If a
    forgery may belong to one of several frames, the whole video is in one shard.
    """

    folder = "list"
    recipe_keys = ("fewest_images", "most_images", "seed", "sources")
    depends_on = (
        "construction/steps/list_items.py",
        "construction/work_folder.py",
        "duplicates.py",
        "errors.py",
        "face",
        "plugins.py",
        "records.py",
        "schema.py",
        "sources",
        "vocabulary.py",
    )

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the shards and the report, see `ListReport`."""
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
            order, bona_fide = listed.order(listed.needed(self.kept(listed, drop)))
        unit = listed.unit
        undivided = {unit[bona_fide[i]] for i in listed.pair_candidates}
        size = int(np.clip(-(-len(order) // SHARD_IMAGES[0]), *SHARD_IMAGES))
        sizes: list[int] = []
        shard: list[int] = []

        def close() -> None:
            part = listed.rows(shard)
            # Bona fide pictures come before their forgeries. Frames of one file come together, so it is opened once.
            in_shard = sorted(
                range(len(part)),
                key=lambda i: (
                    listed.unit[bona_fide[shard[i]]],
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
            whole_unit = unit[bona_fide[i]] in undivided
            return whole_unit, unit[bona_fide[i]] if whole_unit else bona_fide[i]

        for _, group in groupby(order, key=together):
            shard += group
            if len(shard) >= size:
                close()
        if shard:
            close()
        techniques = {
            f"{source_name}/{technique}": ListedTechnique(
                found.found, found.resolved, found.paired, group_by_reason(found.dropped_files), found.notes
            )
            for source_name, technique, found in reports
        }
        self.work.write_report("list", ListReport(sizes, techniques))

    def kept(self, listed: _Listed, drop: Callable[[dict[str, Any]], None]) -> NDArray[np.int64]:
        """Drop techniques with too few images, and images beyond the recipe's `most_images`.

        Returns:
            The numbers of the items that are kept.
        """
        recipe = self.recipe
        technique_of = np.frombuffer(listed.technique, np.int32)
        key_hash = np.frombuffer(listed.key_hash, np.uint64)
        kept = np.ones(len(technique_of), bool)
        for technique, code in sorted(listed.techniques.items()):
            own = np.flatnonzero(technique_of == code)
            most, reason = len(own), ""
            if technique != BONA_FIDE and len(own) < recipe.fewest_images:
                most, reason = 0, f"fewer than {recipe.fewest_images} images"
            elif technique != BONA_FIDE and recipe.most_images is not None and len(own) > recipe.most_images:
                most, reason = recipe.most_images, f"beyond {recipe.most_images} images"
                own = own[np.argsort(key_hash[own], kind="stable")]
            kept[own[most:]] = False
            for begin in range(most, len(own), CHUNK):
                for row in listed.rows(own[begin : begin + CHUNK]):
                    drop({"what": from_columns(SourceItem, row).key, "technique": technique, "reason": reason})
        return np.flatnonzero(kept)


class _Listed:
    """The listed items in little memory: their columns in Arrow, and for each item the numbers that order it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.batches: list[pa.RecordBatch] = []
        self.techniques: dict[str, int] = {}
        self.technique = array("i")  # the number of its technique
        self.key_hash = array("Q")  # the hash of its key
        self.pair = array("Q")  # the hash of the key of its bona fide picture
        self.unit = array("Q")  # the hash of what stays together: its video or the person in it
        self.pair_only = array("b")  # whether it is listed only for the forgeries that may belong to it
        self.pair_candidates: dict[int, tuple[str, ...]] = {}  # forgery → the keys of the frames that it may belong to

    def add(self, items: Sequence[SourceItem]) -> None:
        """Add a chunk of items."""
        rows = [{**to_columns(item), "folder": str(item.path.parent), "name": item.path.name} for item in items]
        self.batches.append(pa.RecordBatch.from_pylist(rows, schema=CHUNK_SCHEMA))
        for item in items:
            if item.pair_candidates:
                self.pair_candidates[len(self.key_hash)] = item.pair_candidates
            self.technique.append(self.techniques.setdefault(item.technique or BONA_FIDE, len(self.techniques)))
            self.key_hash.append(self.hash(item.key))
            self.pair.append(self.hash(item.pair or (item.pair_candidates[0] if item.pair_candidates else item.key)))
            self.pair_only.append(item.pair_only)
            self.unit.append(self.hash(item.video or (*item.identities, item.key)[0]))

    def hash(self, name: str) -> int:
        """Return a hash of 64 bits. A collision of two names is practically impossible."""
        return int.from_bytes(seeded_hash(self.seed, name))

    def needed(self, kept: NDArray[np.int64]) -> NDArray[np.int64]:
        """Remove the frames that were listed only for forgeries that are not kept."""
        key_hash, pair = (np.frombuffer(column, np.uint64) for column in (self.key_hash, self.pair))
        pair_only = np.frombuffer(self.pair_only, np.int8).astype(bool)
        frames = [self.hash(key) for keys in self.pair_candidates.values() for key in keys]
        wanted = np.concatenate([pair[kept[~pair_only[kept]]], np.array(frames, np.uint64)])
        return kept[~pair_only[kept] | np.isin(key_hash[kept], wanted)]

    def order(self, kept: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Order the kept items so that people are mixed, and each picture is followed by its forgeries.

        Returns:
            The numbers of the kept items in order, and for every listed item the number of its bona fide item or its
            own number.
        """
        key_hash, pair, unit = (np.frombuffer(column, np.uint64) for column in (self.key_hash, self.pair, self.unit))
        by_key_hash = np.argsort(key_hash, kind="stable")
        found = np.searchsorted(key_hash, pair, sorter=by_key_hash).clip(max=len(key_hash) - 1)
        bona_fide = np.where(key_hash[by_key_hash[found]] == pair, by_key_hash[found], np.arange(len(key_hash)))
        order = np.lexsort((kept, bona_fide[kept], unit[bona_fide[kept]]))
        return kept[order], bona_fide

    def rows(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return the items with these numbers as rows of `ITEM_SCHEMA`."""
        begin = np.cumsum([0, *(batch.num_rows for batch in self.batches)])
        rows: list[dict[str, Any]] = []
        batch_of = np.searchsorted(begin, numbers, "right") - 1
        for batch, own in groupby(zip(batch_of.tolist(), numbers, strict=True), key=itemgetter(0)):
            rows += self.batches[batch].take(pa.array([n - begin[batch] for _, n in own])).to_pylist()
        return [{"path": str(Path(row.pop("folder"), row.pop("name"))), **row} for row in rows]


def _each_once(items: Iterable[SourceItem]) -> Iterator[SourceItem]:
    """Yield each item, but a `pair_only` frame only once. An item without identities gets one of its own."""
    seen: set[str] = set()
    for item in items:
        if item.pair_only:
            if item.key in seen:
                continue
            seen.add(item.key)
        yield item if item.identities else replace(item, identities=(item.key,))
