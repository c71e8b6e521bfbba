"""The third step: splits, what is dropped, what is forged of whom."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfa_instruct.build.recipe import Recipe
from dfa_instruct.build.work import (
    BONA_FIDE,
    DROPPED_SCHEMA,
    FACE_SCHEMA,
    Step,
    WorkFolder,
    face_of,
    missed,
    shard_writer,
    too_few,
    whole,
)
from dfa_instruct.duplicates import near_duplicates
from dfa_instruct.records import FaceRecord
from dfa_instruct.sources.official import OfficialLists, read_official
from dfa_instruct.splits import lost_by, split_images
from dfa_instruct.techniques import Fittable, Technique, find_technique
from dfa_instruct.vocabulary import CATEGORIES, FORGERY_CATEGORIES, SPLITS, Category, Split

POOL = 400
"""Bona fide faces of each split that donors and drivers come from, and that what is fitted learns from."""
SMALLEST_SET = 12
PLAN_SCHEMA = pa.schema(
    {
        "row": pa.int32(),  # of the shard of faces; -1: of none, an entire face is synthesized
        "technique": pa.int32(),  # of the recipe's list; -1: the face as it is
        "number": pa.int32(),
        "split": pa.string(),
    }
)


def techniques(recipe: Recipe) -> list[Technique | Fittable]:
    """Find the techniques that a recipe names.

    Raises:
        ValueError: nobody knows one of them, or its settings are wrong.
    """
    found = []
    for entry in recipe.techniques:
        settings = {"name": entry} if isinstance(entry, str) else dict(entry)
        if "name" not in settings:
            raise ValueError(f"techniques: expected a name or a mapping with a `name`, not {entry!r}")
        found.append(find_technique(size=recipe.size, **settings))
    return found


class Pool:
    """The sample of bona fide faces that donors come from: mapped into memory, so that all workers share one copy."""

    def __init__(self, work: WorkFolder, size: int) -> None:
        self.size = size
        self.table = pa.ipc.open_file(pa.memory_map(str(work.file("plan", "pool.arrow")))).read_all()
        split = np.array(self.table["split"].to_pylist(), dtype=object)
        self.rows = {s: np.flatnonzero(split == s) for s in SPLITS}

    def face(self, row: int) -> FaceRecord:
        """Read one face."""
        columns = self.table.slice(row, 1).to_pylist()[0]
        return face_of(columns, self.size, columns["split"])

    def faces(self, split: Split) -> list[FaceRecord]:
        """Read the faces of one split."""
        return [self.face(int(row)) for row in self.rows[split]]


@dataclass
class _Columns:
    """What is known of all faces, without their pixels: one list a column, the shards one after the other."""

    shard: list[int] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    face_id: list[str] = field(default_factory=list)
    category: list[Category] = field(default_factory=list)
    technique: list[str | None] = field(default_factory=list)
    identities: list[tuple[str, ...]] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    source_path: list[str] = field(default_factory=list)
    video: list[str | None] = field(default_factory=list)
    frame: list[int | None] = field(default_factory=list)
    pair_id: list[str | None] = field(default_factory=list)
    hash: list[bytes] = field(default_factory=list)
    aligned: list[bool] = field(default_factory=list)

    @classmethod
    def read(cls, work: WorkFolder, shards: int) -> _Columns:
        """Read the shards of faces."""
        columns = cls()
        names = [f.name for f in fields(cls) if f.name not in ("shard", "row", "aligned")]
        for shard in range(shards):
            table = pq.read_table(work.shard("faces", shard), columns=[*names, "landmarks"])
            for name in names:
                getattr(columns, name).extend(table[name].to_pylist())
            columns.aligned += table["landmarks"].is_valid().to_pylist()
            columns.shard += [shard] * len(table)
            columns.row += range(len(table))
        columns.identities = [tuple(identities) for identities in columns.identities]
        return columns


class Plan(Step):
    """Decide on every face: its split, or why it is dropped; and what is forged of it. One task."""

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write for each shard what rows to make, and the pool of donors."""
        recipe, work = self.recipe, self.work
        report = work.report("list")
        shards = len(report["sizes"])
        faces = _Columns.read(work, shards)
        self.check_alignment(faces, shards)
        reasons = self.drop_before_splits(faces)
        if (left := reasons.count(None)) < SMALLEST_SET:
            raise ValueError(f"{left} faces are too few to build a dataset from; {SMALLEST_SET} are needed")
        splits, cost = self.split(faces, reasons)
        inside = self.drop_after_splits(faces, splits, reasons)
        kept = [i for i, reason in enumerate(reasons) if reason is None]
        with shard_writer(work.dropped("plan", 0), DROPPED_SCHEMA) as drop:
            for i, reason in enumerate(reasons):
                if reason is not None:
                    frame = "" if faces.frame[i] is None else f"#{faces.frame[i]}"
                    what = f"{faces.source[i]}/{faces.source_path[i]}{frame}"
                    drop({"what": what, "technique": faces.technique[i] or BONA_FIDE, "reason": reason})

        rng = np.random.default_rng(recipe.seed)
        bona_fide = [i for i in kept if faces.category[i] == BONA_FIDE]
        self.draw_pool(faces, [i for i in bona_fide if faces.aligned[i]], splits, rng)
        jobs: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for i in kept:
            job = {"row": faces.row[i], "technique": -1, "number": 0, "split": splits[i]}
            jobs[faces.shard[i]].append(job)
        held = Counter((splits[i], faces.category[i]) for i in kept)
        categories = [technique.category for technique in techniques(recipe)]
        for target, technique, number, split in self.forgeries(faces, bona_fide, splits, rng):
            shard = number % shards if target is None else faces.shard[target]
            row = -1 if target is None else faces.row[target]
            jobs[shard].append({"row": row, "technique": technique, "number": number, "split": split})
            held[split, categories[technique]] += 1
        for shard in range(shards):
            with shard_writer(work.shard("plan", shard), PLAN_SCHEMA) as write:
                for i in np.random.default_rng([recipe.seed, shard]).permutation(len(jobs[shard])):
                    write(jobs[shard][i])
        wanted = [split for split in SPLITS if recipe.shares[split]]
        known = {*faces.category, *(category for _, category in held)}
        lacking = [f"{split} has no {c}" for split in wanted for c in CATEGORIES if c in known and not held[split, c]]
        with whole(work.file("plan", "report.json")) as path:
            sizes = [len(jobs[shard]) for shard in range(shards)]
            said = {"sizes": sizes, "near_duplicates_inside": inside, "cost": cost, "lacking": lacking}
            path.write_text(json.dumps(said), encoding="utf-8")

    def check_alignment(self, faces: _Columns, shards: int) -> None:
        """Raise ValueError where too few pictures of a technique gave a face."""
        dropped: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for shard in range(shards):
            for row in pq.read_table(self.work.dropped("faces", shard)).to_pylist():
                dropped[row["technique"]].append((row["what"], row["reason"]))
        good = Counter(technique or BONA_FIDE for technique in faces.technique)
        for technique in sorted({*good, *dropped}):
            found = good[technique] + len(dropped[technique])
            bad = missed(dropped[technique])
            if failure := too_few(technique, good[technique], found, bad, self.recipe.least_aligned, "aligned"):
                raise ValueError(f"{failure}; all that was dropped is named in {self.work.dropped_table}")

    def drop_before_splits(self, faces: _Columns) -> list[str | None]:
        """Drop small techniques, and all but one of faces with the same pixels; the reason for each, or None."""
        fewest = self.recipe.fewest_images
        counts = Counter(faces.technique)
        reasons: list[str | None] = [
            f"fewer than {fewest} images" if technique is not None and counts[technique] < fewest else None
            for technique in faces.technique
        ]
        seen: set[str] = set()
        # Bona fide first: a forgery that changed nothing is none.
        for i in sorted(range(len(reasons)), key=lambda i: faces.category[i] != BONA_FIDE):
            if reasons[i] is None:
                if faces.face_id[i] in seen:
                    reasons[i] = "the same pixels as another face"
                seen.add(faces.face_id[i])
        return reasons

    def split(self, faces: _Columns, reasons: list[str | None]) -> tuple[list[Split | None], str]:
        """Split the faces that are left; say how many that costs, and how many the official lists would cost."""
        recipe = self.recipe
        left = [i for i, reason in enumerate(reasons) if reason is None]
        identities = [faces.identities[i] for i in left]
        kinds = [f"{faces.source[i]}/{faces.technique[i] or BONA_FIDE}" for i in left]
        official = read_official(Path(recipe.official_splits)) if recipe.official_splits else {}
        splits: list[Split | None] = [None] * len(reasons)
        for i, split in zip(left, split_images(identities, kinds, recipe.seed, recipe.shares, official), strict=True):
            splits[i] = split
            if split is None:
                reasons[i] = "its identities are in different splits"

        lost = sum(splits[i] is None for i in left)
        said = f"identities in different splits cost {lost:,} of {len(left):,} ({lost / len(left):.1%})"
        roots = [Path(s["root"]).expanduser() for s in recipe.sources if s["kind"] in ("faceforensics", "celebdf")]
        lists = OfficialLists.beside([*([Path(recipe.official_splits)] if recipe.official_splits else []), *roots])
        datasets = ("faceforensics", "celebdf", "df40")
        listed = [lists.split_of(faces.video[i]) if faces.source[i] in datasets else None for i in left]
        if any(listed):
            lost, known = lost_by(identities, listed), len(listed) - listed.count(None)
            said += f"; the official lists would cost {lost:,} of the {known:,} that they know ({lost / known:.1%})"
        return splits, said

    def drop_after_splits(self, faces: _Columns, splits: list[Split | None], reasons: list[str | None]) -> int:
        """Drop what another split holds too, and forgeries whose bona fide is gone; count twins inside of splits."""
        inside = 0
        if self.recipe.near_duplicates >= 0:
            # A forgery resembles its bona fide, and stands and falls with it.
            own = [i for i, reason in enumerate(reasons) if reason is None and faces.pair_id[i] is None]
            groups = [-SPLITS.index(splits[i]) for i in own]  # training loses the copy, not the test
            inside, copies = near_duplicates([faces.hash[i] for i in own], groups, self.recipe.near_duplicates)
            for standing, copy in copies:
                reasons[own[copy]] = f"a near-duplicate of a face in {splits[own[standing]]}"
        stands = {faces.face_id[i]: splits[i] for i, reason in enumerate(reasons) if reason is None}
        for i, pair_id in enumerate(faces.pair_id):
            if reasons[i] is None and pair_id is not None and stands.get(pair_id) != splits[i]:
                reasons[i] = "its bona fide was dropped"
        return inside

    def forgeries(
        self, faces: _Columns, bona_fide: list[int], splits: Sequence[Split | None], rng: np.random.Generator
    ) -> Iterator[tuple[int | None, int, int, Split | None]]:
        """Plan our own forgeries, each category its share: which face (None: a synthesis), technique, number, split."""
        recipe = self.recipe
        categories = [technique.category for technique in techniques(recipe)]
        targets = [i for i in bona_fide if faces.aligned[i]]
        share = round(recipe.forgeries_per_face * len(bona_fide) / max(len(set(categories)), 1))
        for category in FORGERY_CATEGORIES:
            own = [t for t, c in enumerate(categories) if c == category]
            if not own or not targets:
                continue
            if category == "entire_face_synthesis":
                for n in range(share):
                    yield None, own[n % len(own)], n, splits[bona_fide[n * len(bona_fide) // share]]
                continue
            drawn = [i for _ in range(share // len(targets) + 1) for i in rng.permutation(targets)]
            for n, i in enumerate(drawn[:share]):
                yield int(i), own[n % len(own)], n, splits[i]

    def draw_pool(
        self, faces: _Columns, aligned: list[int], splits: Sequence[Split | None], rng: np.random.Generator
    ) -> None:
        """Write the pool: a bounded sample of each split with as many people as can be."""
        work = self.work
        turn: Counter[tuple[str, ...]] = Counter()
        ranked: list[tuple[int, int, int]] = []
        for i in rng.permutation(aligned):
            ranked.append((turn[faces.identities[i]], len(ranked), int(i)))
            turn[faces.identities[i]] += 1
        chosen: list[int] = []
        for split in SPLITS:
            chosen += islice((i for _, _, i in sorted(ranked) if splits[i] == split), POOL)
        rows: dict[int, list[int]] = defaultdict(list)
        for i in sorted(chosen):
            rows[faces.shard[i]].append(i)
        schema = FACE_SCHEMA.append(pa.field("split", pa.string()))
        with whole(work.file("plan", "pool.arrow")) as path, pa.ipc.new_file(str(path), schema) as file:
            for shard, members in rows.items():
                table = pq.read_table(work.shard("faces", shard)).take([faces.row[i] for i in members])
                file.write_table(table.append_column("split", pa.array([splits[i] for i in members])))
