"""The fourth step: decide on the splits, on what is dropped, and on what is forged from which face."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfa_instruct.construction.pool import write_pool
from dfa_instruct.construction.recipe import techniques_of
from dfa_instruct.construction.work_folder import (
    BONA_FIDE,
    DROPPED_SCHEMA,
    ListReport,
    PlanReport,
    Step,
    WorkFolder,
    group_by_reason,
    shard_writer,
    too_few,
)
from dfa_instruct.duplicates import exact_duplicates, near_duplicates
from dfa_instruct.pairs import forgeries_without_pair
from dfa_instruct.sources.official_splits import read_official
from dfa_instruct.splits import split_images
from dfa_instruct.techniques.forge import assign_forgeries, draw_pool
from dfa_instruct.vocabulary import CATEGORIES, SPLITS, Category, Split

SMALLEST_SET = 12
"""The fewest faces that a dataset with a train split is built from."""
PLAN_SCHEMA = pa.schema(
    {
        "row": pa.int32(),  # in the shard of faces; -1 if no face is needed (entire face synthesis)
        "technique": pa.int32(),  # position in the list of the recipe; -1 if the face is not forged here
        "number": pa.int32(),
        "split": pa.string(),
    }
)


@dataclass
class _Faces:
    """The facts of all faces without their pixels: one list for each column, the shards one after the other."""

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
    def read(cls, work: WorkFolder, shards: int) -> _Faces:
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
    """Decide for each face on its split or the reason to drop it, and on what is forged from it. One task."""

    folder = "plan"
    recipe_keys = (
        "fewest_images",
        "forgeries_per_face",
        "held_out",
        "least_aligned",
        "near_duplicates",
        "official_splits",
        "seed",
        "shares",
        "size",
        "sources",
        "techniques",
    )
    depends_on = (
        "construction/pool.py",
        "construction/recipe.py",
        "construction/steps/plan.py",
        "splits.py",
        "techniques",
        "yaml_file.py",
    )

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the rows that each shard is to make, the pool, and the report, see `PlanReport`."""
        recipe, work = self.recipe, self.work
        shards = len(work.report("list", ListReport).sizes)
        faces = _Faces.read(work, shards)
        self.check_alignment(faces, shards)
        reasons = self.drop_before_splits(faces)
        least = SMALLEST_SET if recipe.shares["train"] else 1
        if (left := reasons.count(None)) < least:
            raise ValueError(f"{left} faces are too few for a dataset; expected at least {least}")
        self.check_held_out(faces)
        splits, cost = self.split(faces, reasons)
        inside = self.drop_after_splits(faces, splits, reasons)
        self.write_dropped(faces, reasons)

        kept = [i for i, reason in enumerate(reasons) if reason is None]
        rng = np.random.default_rng(recipe.seed)
        bona_fide = [i for i in kept if faces.category[i] == BONA_FIDE]
        aligned = [i for i in bona_fide if faces.aligned[i]]
        pool = draw_pool(aligned, faces.identities, splits, rng)
        write_pool(work, [(faces.shard[i], faces.row[i], cast(Split, splits[i])) for i in pool])
        jobs: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for i in kept:
            job = {"row": faces.row[i], "technique": -1, "number": 0, "split": splits[i]}
            jobs[faces.shard[i]].append(job)
        counts = Counter((splits[i], faces.category[i]) for i in kept)
        categories = [technique.category for technique in techniques_of(recipe)]
        for_test = [technique.name in recipe.held_out for technique in techniques_of(recipe)]
        planned = assign_forgeries(bona_fide, aligned, categories, recipe.forgeries_per_face, rng)
        for target, technique, number, in_split_of in planned:
            split = splits[in_split_of]
            if for_test[technique] and split != "test":
                continue
            shard = number % shards if target is None else faces.shard[target]
            row = -1 if target is None else faces.row[target]
            jobs[shard].append({"row": row, "technique": technique, "number": number, "split": split})
            counts[split, categories[technique]] += 1
        sizes = self.write_jobs(jobs, shards)
        lacking, techniques = self.lacking(faces, counts), self.techniques(faces, kept)
        work.write_report("plan", PlanReport(sizes, inside, cost, lacking, techniques))

    def techniques(self, faces: _Faces, kept: Sequence[int]) -> dict[str, Category]:
        """Map each technique that the dataset will hold to its category."""
        found = {name: faces.category[i] for i in kept if (name := faces.technique[i])}
        made = techniques_of(self.recipe) if self.recipe.forgeries_per_face else []
        return found | {technique.name: technique.category for technique in made}

    def write_dropped(self, faces: _Faces, reasons: Sequence[str | None]) -> None:
        """Write which faces are dropped and why."""
        with shard_writer(self.work.dropped("plan", 0), DROPPED_SCHEMA) as drop:
            for i, reason in enumerate(reasons):
                if reason is not None:
                    frame = "" if faces.frame[i] is None else f"#{faces.frame[i]}"
                    what = f"{faces.source[i]}/{faces.source_path[i]}{frame}"
                    drop({"what": what, "technique": faces.technique[i] or BONA_FIDE, "reason": reason})

    def write_jobs(self, jobs: Mapping[int, Sequence[dict[str, Any]]], shards: int) -> list[int]:
        """Write a table of the rows to make for each shard, in random order. Return the number of rows per shard."""
        for shard in range(shards):
            with shard_writer(self.work.shard("plan", shard), PLAN_SCHEMA) as write:
                for i in np.random.default_rng([self.recipe.seed, shard]).permutation(len(jobs[shard])):
                    write(jobs[shard][i])
        return [len(jobs[shard]) for shard in range(shards)]

    def lacking(self, faces: _Faces, counts: Mapping[tuple[Split | None, Category], int]) -> list[str]:
        """Return a message for each split that lacks a category which other splits have."""
        wanted = [split for split in SPLITS if self.recipe.shares[split]]
        known = {*faces.category, *(category for _, category in counts)}
        expected = [(split, category) for split in wanted for category in CATEGORIES if category in known]
        return [f"{split} has no {category}" for split, category in expected if (split, category) not in counts]

    def check_held_out(self, faces: _Faces) -> None:
        """Raise a ValueError if the recipe holds out an unknown technique or source."""
        known = {*faces.source, *self.techniques(faces, range(len(faces.source)))}
        if unknown := sorted({*self.recipe.held_out} - known):
            raise ValueError(
                f"held_out: unknown technique or source {unknown[0]!r} (known: {', '.join(sorted(known))})"
            )

    def check_alignment(self, faces: _Faces, shards: int) -> None:
        """Raise a ValueError if too few pictures of a technique gave a face."""
        dropped: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for shard in range(shards):
            for row in pq.read_table(self.work.dropped("faces", shard)).to_pylist():
                dropped[row["technique"]].append((row["what"], row["reason"]))
        good = Counter(technique or BONA_FIDE for technique in faces.technique)
        for technique in sorted({*good, *dropped}):
            found = good[technique] + len(dropped[technique])
            left_out, least = group_by_reason(dropped[technique]), self.recipe.least_aligned
            if failure := too_few(technique, good[technique], found, left_out, least, "aligned"):
                raise ValueError(f"{failure}; see {self.work.dropped_table} for everything that was dropped")

    def drop_before_splits(self, faces: _Faces) -> list[str | None]:
        """Return why each face is dropped, or None: too few images of its technique, or the pixels of another face."""
        fewest = self.recipe.fewest_images
        counts = Counter(faces.technique)
        reasons: list[str | None] = [
            f"fewer than {fewest} images" if technique is not None and counts[technique] < fewest else None
            for technique in faces.technique
        ]
        left = [i for i, reason in enumerate(reasons) if reason is None]
        for n in exact_duplicates([faces.face_id[i] for i in left], [faces.category[i] == BONA_FIDE for i in left]):
            reasons[left[n]] = "the same pixels as another face"
        return reasons

    def split(self, faces: _Faces, reasons: list[str | None]) -> tuple[list[Split | None], str]:
        """Assign the remaining faces to splits, and add the reasons of those that are dropped to `reasons`.

        Returns:
            The split of each face, and a sentence on how many faces this costs.
        """
        recipe = self.recipe
        left = [i for i, reason in enumerate(reasons) if reason is None]
        identities = [faces.identities[i] for i in left]
        kinds = [f"{faces.source[i]}/{faces.technique[i] or BONA_FIDE}" for i in left]
        shared = {name for i in left if faces.source[i] not in recipe.held_out for name in faces.identities[i]}
        fixed: dict[str, Split] = {name: "test" for names in identities for name in names if name not in shared}
        if recipe.official_splits:
            fixed |= read_official(Path(recipe.official_splits))
        splits: list[Split | None] = [None] * len(reasons)
        for i, split in zip(left, split_images(identities, kinds, recipe.seed, recipe.shares, fixed), strict=True):
            splits[i] = split
            if split is None:
                reasons[i] = "its identities are in different splits"

        lost = sum(splits[i] is None for i in left)
        for i in left:
            if {faces.source[i], faces.technique[i]} & {*recipe.held_out} and splits[i] not in (None, "test"):
                splits[i], reasons[i] = None, "held out of training and validation"
        return splits, f"identities in different splits cost {lost:,} of {len(left):,} ({lost / len(left):.1%})"

    def drop_after_splits(self, faces: _Faces, splits: list[Split | None], reasons: list[str | None]) -> int:
        """Drop near-duplicates across splits, and forgeries whose bona fide face is dropped.

        Returns:
            The number of near-duplicates within a split.
        """
        inside = 0
        if self.recipe.near_duplicates >= 0:
            # A forgery resembles its bona fide face, and is kept or dropped with it.
            own = [i for i, reason in enumerate(reasons) if reason is None and faces.pair_id[i] is None]
            groups = [-SPLITS.index(splits[i]) for i in own]  # so that the training split loses the copy
            inside, copies = near_duplicates([faces.hash[i] for i in own], groups, self.recipe.near_duplicates)
            for kept, copy in copies:
                reasons[own[copy]] = f"a near-duplicate of a face in {splits[own[kept]]}"
        for i in forgeries_without_pair(faces.face_id, faces.pair_id, splits, [reason is None for reason in reasons]):
            reasons[i] = "its bona fide face was dropped"
        return inside
