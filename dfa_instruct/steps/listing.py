"""The first step: what the sources name, dealt into shards."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dfa_instruct.sources import SourceItem, open_sources
from dfa_instruct.steps.work import BONA_FIDE, DROPPED_SCHEMA, Step, check_rate, digest, shard_writer, whole

SHARD_IMAGES = (16, 256)
"""Images in a shard: a sixteenth of all, but within these bounds."""
ITEM_SCHEMA = pa.schema(
    {
        "path": pa.string(),
        "source": pa.string(),
        "source_path": pa.string(),
        "category": pa.string(),
        "technique": pa.string(),
        "identities": pa.list_(pa.string()),
        "video": pa.string(),
        "frame": pa.int32(),
        "pair": pa.string(),
        "among": pa.list_(pa.string()),
        "sought": pa.bool_(),
        "cropped": pa.bool_(),
    }
)


class ListItems(Step):
    """List what the sources name, and deal it into shards. One task.

    A bona fide picture and all forgeries of it come into one shard, and the frames of a video after one another. Where
    a forgery may be of several frames, all of the video comes into one shard.
    """

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the shards, and `report.json`: how many images each has, and what was found of each technique."""
        recipe = self.recipe
        sources = open_sources(recipe.sources)
        batches: list[pa.RecordBatch] = []
        keys: list[str] = []
        pairs: list[str | None] = []
        units: list[str] = []
        techniques: list[str] = []
        among: dict[int, tuple[str, ...]] = {}
        sought: set[str] = set()
        items = _each_once((item for source in sources for item in source.items()), sought)
        while chunk := list(islice(items, 4096)):
            batches.append(pa.RecordBatch.from_pylist([item_columns(item) for item in chunk], schema=ITEM_SCHEMA))
            among |= {len(keys) + i: item.among for i, item in enumerate(chunk) if item.among}
            keys += [item.key for item in chunk]
            pairs += [item.pair or (item.among[0] if item.among else None) for item in chunk]
            units += [item.video or (*item.identities, item.key)[0] for item in chunk]
            techniques += [item.technique or BONA_FIDE for item in chunk]
        reports = [(s.name, technique, found) for s in sources for technique, found in s.report.items()]
        for source_name, technique, found in reports:
            name = f"{source_name}/{technique}"
            check_rate(name, found.resolved, found.found, found.dropped, recipe.least_resolved, "resolved")
        with shard_writer(self.work.dropped("list", 0), DROPPED_SCHEMA) as drop:
            for source_name, technique, found in reports:
                for file, reason in found.left_out:
                    drop({"what": f"{source_name}/{file}", "technique": technique, "reason": reason})
            kept = self.kept(keys, techniques, drop)
        needed = {pairs[i] for i in kept}.union(*among.values())
        kept = [i for i in kept if keys[i] not in sought or keys[i] in needed]

        unit_of = dict(zip(keys, units, strict=True))
        heads = [pair if pair in unit_of else key for key, pair in zip(keys, pairs, strict=True)]
        undivided = {unit_of[heads[i]] for i in among}
        place = {unit: digest(recipe.seed, unit) for unit in set(units)}
        kept.sort(key=lambda i: (place[unit_of[heads[i]]], heads[i], keys[i]))
        table = pa.Table.from_batches(batches, ITEM_SCHEMA)
        size = int(np.clip(-(-len(kept) // SHARD_IMAGES[0]), *SHARD_IMAGES))
        sizes: list[int] = []
        shard: list[int] = []

        def close() -> None:
            part = table.take(shard).to_pylist()
            # Bona fide before their forgeries, and the frames of one file together, so that it is opened once.
            order = sorted(
                range(len(part)),
                key=lambda i: (
                    place[unit_of[heads[shard[i]]]],
                    part[i]["category"] != BONA_FIDE,
                    part[i]["path"],
                    part[i]["frame"] or 0,
                ),
            )
            with shard_writer(self.work.shard("list", len(sizes)), ITEM_SCHEMA) as write:
                for i in order:
                    write(part[i])
            sizes.append(len(shard))
            shard.clear()

        def together(i: int) -> str:
            return unit if (unit := unit_of[heads[i]]) in undivided else heads[i]

        for _, group in groupby(kept, key=together):
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
                    "notes": found.notes,
                }
                for source_name, technique, found in reports
            }
            path.write_text(json.dumps({"sizes": sizes, "techniques": of_techniques}), encoding="utf-8")

    def kept(self, keys: Sequence[str], techniques: Sequence[str], drop: Callable[[dict[str, Any]], None]) -> list[int]:
        """Leave out techniques with too few images, and of others what is beyond the most; return what is left."""
        recipe = self.recipe
        members: dict[str, list[int]] = defaultdict(list)
        for i, technique in enumerate(techniques):
            members[technique].append(i)
        kept: list[int] = []
        for technique, own in sorted(members.items()):
            most, reason = len(own), ""
            if technique != BONA_FIDE and len(own) < recipe.fewest_images:
                most, reason = 0, f"fewer than {recipe.fewest_images} images"
            elif technique != BONA_FIDE and recipe.most_images is not None and len(own) > recipe.most_images:
                most, reason = recipe.most_images, f"beyond {recipe.most_images} images"
                own.sort(key=lambda i: digest(recipe.seed, keys[i]))
            kept += own[:most]
            for i in own[most:]:
                drop({"what": keys[i], "technique": technique, "reason": reason})
        return kept


def _each_once(items: Iterable[SourceItem], sought: set[str]) -> Iterator[SourceItem]:
    """Pass items on, the bona fide frames that are sought once each; their keys are put into `sought`."""
    for item in items:
        if item.sought:
            if item.key in sought:
                continue
            sought.add(item.key)
        yield item


def item_columns(item: SourceItem) -> dict[str, Any]:
    """Lay an item out as the columns of `ITEM_SCHEMA`."""
    columns = {f.name: getattr(item, f.name) for f in fields(item)}
    identities = list(item.identities or (item.key,))
    return {**columns, "path": str(item.path), "identities": identities, "among": list(item.among)}


def item_of(columns: dict[str, Any]) -> SourceItem:
    """Read an item from its columns."""
    tuples = {name: tuple(columns[name]) for name in ("identities", "among")}
    return SourceItem(**{**columns, **tuples, "path": Path(columns["path"])})
