"""The steps of a construction. Each is a step of a datatrove pipeline, and each of its tasks makes one shard.

In the work folder they leave, each in a folder of its own name:

- `list`: what the sources name, a picture and all forgeries of it in one shard, in an order that mixes people;
- `faces`: the aligned faces, with their pixels as they are;
- `plan`: for every face its split or why it is dropped, the forgeries of our own to be made, what was fitted for them;
- `rows`: the rows of the dataset, forged, measured, annotated and asked about.

What is dropped stands beside each shard with its reason. A shard's file appears whole or not at all, and its bytes
follow from the recipe and the sources, not from who makes it or when.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger
from pydantic import TypeAdapter
from threadpoolctl import threadpool_limits

from dfa_instruct.annotate.measured import annotate
from dfa_instruct.dataset import FEATURES, ROWS_PER_GROUP, to_columns
from dfa_instruct.duplicates import near_duplicates, perceptual_hash
from dfa_instruct.evidence import PopulationEvidence, measure
from dfa_instruct.faces import (
    FaceDetector,
    Transform,
    alignment,
    alignment_onto,
    cropped_alignment,
    largest,
    legible,
    move,
    nearest,
    warp,
)
from dfa_instruct.instruct import bench_questions, questions_and_answers
from dfa_instruct.recipe import Recipe
from dfa_instruct.records import FaceRecord, InstructRow, Landmarks, Pixels
from dfa_instruct.sources import SourceItem, open_sources
from dfa_instruct.sources.media import BadPictureError, read_items
from dfa_instruct.sources.sample import draw_item, is_drawn
from dfa_instruct.splits import assign_splits, read_official, split_of
from dfa_instruct.techniques import Fittable, Technique, find_technique
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, SPLITS, Category, Split

logger.disable("datatrove")  # its report on every task would drown the progress bars; errors come as exceptions

SHARD_IMAGES = (16, 256)
"""Images in a shard: a sixteenth of all, but within these bounds."""
POOL = 400
"""Bona fide faces of each split that donors and drivers come from, and that fitted techniques learn from."""
ATTEMPTS = 6
"""How many donors or drivers are tried for a face before its forgery is dropped."""
SMALLEST_SET = 12

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
        "cropped": pa.bool_(),
    }
)
FACE_SCHEMA = pa.schema(
    {
        "image": pa.binary(),  # its pixels, size · size · 3 bytes
        "face_id": pa.string(),
        "label": pa.string(),
        "category": pa.string(),
        "technique": pa.string(),
        "identities": pa.list_(pa.string()),
        "source": pa.string(),
        "source_path": pa.string(),
        "source_sha256": pa.string(),
        "pair_id": pa.string(),
        "video": pa.string(),
        "frame": pa.int32(),
        "landmarks": pa.list_(pa.float32()),  # flat, 81 · 2
        "hash": pa.binary(),
    }
)
PLAN_SCHEMA = pa.schema(
    {
        "row": pa.int32(),  # of the shard of faces; -1: of none, an entire face is synthesized
        "technique": pa.int32(),  # of the recipe's list; -1: the face as it is
        "number": pa.int32(),
        "split": pa.string(),
    }
)
DROPPED_SCHEMA = pa.schema({"what": pa.string(), "technique": pa.string(), "reason": pa.string()})

BONA_FIDE = "bona_fide"


@dataclass(frozen=True)
class WorkFolder:
    """Where the steps leave what they make."""

    root: Path

    def file(self, step: str, name: str) -> Path:
        """Name a step's file, in a folder that is there."""
        folder = self.root / step
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def recipe(self) -> Recipe:
        """Read the recipe that is being built here."""
        return TypeAdapter(Recipe).validate_json((self.root / "recipe.json").read_bytes())

    def shard(self, step: str, rank: int) -> Path:
        """Name the file with what a task of a step made."""
        return self.file(step, f"{rank:05d}.parquet")

    def shards(self, step: str) -> list[Path]:
        """Name the files with what all tasks of a step made."""
        return sorted((self.root / step).glob("[0-9]*[0-9].parquet"))

    def dropped(self, step: str, rank: int) -> Path:
        """Name the file with what a task of a step dropped."""
        return self.file(step, f"{rank:05d}.dropped.parquet")

    def report(self, step: str) -> dict[str, Any]:
        """Read what a step says of all its shards."""
        return json.loads(self.file(step, "report.json").read_text(encoding="utf-8"))

    def all_dropped(self) -> Iterator[dict[str, str]]:
        """Yield what was dropped, in the order of the steps: what, of which technique, why."""
        for step in ("list", "faces", "plan", "rows"):
            for path in sorted((self.root / step).glob("*.dropped.parquet")):
                yield from pq.read_table(path).to_pylist()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give another name to write to, and move it to `path` at the end: the file is whole or not there."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    yield partial
    partial.replace(path)


def _quick_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file for pixels that are read once again: neither statistics nor a dictionary of them are of use."""
    return pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=False, write_statistics=False)


@contextmanager
def shard_writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write a Parquet file row by row, `ROWS_PER_GROUP` rows at a time."""
    rows: list[dict[str, Any]] = []
    with whole(path) as partial, _quick_writer(partial, schema) as file:

        def write(row: dict[str, Any]) -> None:
            rows.append(row)
            if len(rows) == ROWS_PER_GROUP:
                flush()

        def flush() -> None:
            file.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        yield write
        if rows:
            flush()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV and the linear algebra to one thread: the workers share the processors already."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        yield
    cv2.setNumThreads(before)


@dataclass
class Step(PipelineStep):
    """A step of the construction: it knows the recipe and the work folder, and is told which shard is its own."""

    recipe: Recipe
    work: WorkFolder

    type = "dfa-instruct"

    def __post_init__(self) -> None:
        super().__init__()
        self.name = type(self).__name__


class ListItems(Step):
    """List what the sources name, and deal it into shards. One task.

    A bona fide picture and all forgeries of it come into one shard, and the frames of a video after one another.
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
        for source in sources:
            items = source.items()
            while chunk := list(islice(items, 4096)):
                batches.append(pa.RecordBatch.from_pylist([_columns(item) for item in chunk], schema=ITEM_SCHEMA))
                keys += [item.key for item in chunk]
                pairs += [item.pair for item in chunk]
                units += [item.video or item.identities[0] for item in chunk]
                techniques += [item.technique or BONA_FIDE for item in chunk]
        report: dict[str, Any] = {
            f"{source.name}/{name}": asdict(of_technique)
            for source in sources
            for name, of_technique in source.report.items()
        }
        for name, found in report.items():
            check_rate(name, found["resolved"], found["found"], found["dropped"], recipe.least_resolved, "resolved")
        kept = self.kept(keys, techniques)

        unit_of = dict(zip(keys, units, strict=True))
        heads = [pair if pair in unit_of else key for key, pair in zip(keys, pairs, strict=True)]
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

        for _, group in groupby(kept, key=lambda i: heads[i]):
            shard += group
            if len(shard) >= size:
                close()
        if shard:
            close()
        with whole(self.work.file("list", "report.json")) as path:
            path.write_text(json.dumps({"sizes": sizes, "techniques": report}), encoding="utf-8")

    def kept(self, keys: Sequence[str], techniques: Sequence[str]) -> list[int]:
        """Leave out techniques with too few images, and of others what is beyond the most; return what is left."""
        recipe = self.recipe
        members: dict[str, list[int]] = defaultdict(list)
        for i, technique in enumerate(techniques):
            members[technique].append(i)
        kept: list[int] = []
        with shard_writer(self.work.dropped("list", 0), DROPPED_SCHEMA) as drop:
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


def digest(seed: int, name: str) -> bytes:
    """Draw a lot for a name: an order by it is random, and the same wherever it is drawn."""
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()


def check_rate(name: str, good: int, found: int, dropped: dict[str, int], least: float, key: str) -> None:
    """Fail the build where too little of a technique can be used.

    Raises:
        ValueError: naming the technique, the rate and the commonest reason.
    """
    if found and good / found < least:
        common = max(dropped, key=lambda reason: dropped[reason], default="")
        raise ValueError(
            f"{name}: {good} of {found} ({good / found:.1%}) {key}, and the recipe's least_{key} is {least:.0%}"
            + (f"; most often: {common} ({dropped[common]})" if common else "")
        )


def _columns(item: SourceItem) -> dict[str, Any]:
    columns = {f.name: getattr(item, f.name) for f in fields(item)}
    return {**columns, "path": str(item.path), "identities": list(item.identities or (item.key,))}


def _item(columns: dict[str, Any]) -> SourceItem:
    return SourceItem(**{**columns, "path": Path(columns["path"]), "identities": tuple(columns["identities"])})


@lru_cache(maxsize=1)
def _detector() -> FaceDetector:
    """Open the process's detector; it serves every shard that the process makes."""
    return FaceDetector().__enter__()


@lru_cache(maxsize=4)
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Head:
    """Where the bona fide picture's face lies: its forgeries are cut out at the same place."""

    face_id: str
    shape: tuple[int, ...]
    transform: Transform
    landmarks: Landmarks | None


class AlignFaces(Step):
    """Decode, detect and align the pictures of a shard."""

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the faces, and what gave none."""
        items = [_item(columns) for columns in pq.read_table(self.work.shard("list", rank)).to_pylist()]
        heads: dict[str, _Head] = {}
        with (
            one_thread(),
            shard_writer(self.work.dropped("faces", rank), DROPPED_SCHEMA) as drop,
            shard_writer(self.work.shard("faces", rank), FACE_SCHEMA) as write,
        ):
            for drawn, group in groupby(items, key=is_drawn):
                if drawn:
                    for item in group:
                        write(face_row(draw_item(item, self.recipe.size)))
                    continue
                for item, pixels in read_items(group):
                    try:
                        if isinstance(pixels, BadPictureError):
                            raise pixels
                        for face in self.faces(item, legible(pixels), heads):
                            write(face_row(face))
                    except BadPictureError as error:
                        drop({"what": item.key, "technique": item.technique or BONA_FIDE, "reason": str(error)})

    def faces(self, item: SourceItem, pixels: Pixels, heads: dict[str, _Head]) -> Iterator[FaceRecord]:
        """Yield the aligned faces of a picture; the place of a bona fide one is kept in `heads`.

        Raises:
            BadPictureError: it holds no face, or several where that is a failure.
        """
        size = self.recipe.size
        head = heads.get(item.pair or "")
        places = self.places(item, pixels, head)
        for number, (transform, landmarks) in enumerate(places):
            image = warp(pixels, transform, size)
            forged = item.category != BONA_FIDE
            face = FaceRecord(
                image=image,
                label="forged" if forged else "bona_fide",
                category=item.category,
                technique=item.technique,
                identities=item.identities if number == 0 else (f"{item.key}/{number}",),
                pair_id=head.face_id if head else None,
                source=item.source,
                source_path=item.source_path,
                source_sha256=_sha256(item.path),
                video=item.video,
                frame=item.frame,
                landmarks=None if landmarks is None else move(landmarks, transform),
            )
            if number == 0 and not forged:
                heads[item.key] = _Head(face.face_id, pixels.shape, transform, landmarks)
            yield face

    def places(self, item: SourceItem, pixels: Pixels, head: _Head | None) -> list[tuple[Transform, Landmarks | None]]:
        """Find the faces of a picture: the way of each into the square, and its landmarks in the picture."""
        recipe = self.recipe
        found = _detector().detect(pixels) if recipe.detect_cropped or not item.cropped else []
        as_cropped = cropped_alignment(pixels.shape[0], pixels.shape[1], recipe.size)
        if head is not None:  # it is compared pixel by pixel, so it goes where its bona fide went
            if head.landmarks is None:
                return [(as_cropped, largest(found) if found else None)]
            if pixels.shape == head.shape:
                return [(head.transform, nearest(found, head.landmarks))]
            if found:
                landmarks = largest(found)
                return [(alignment_onto(landmarks, move(head.landmarks, head.transform)), landmarks)]
        if not found:
            if item.cropped and (recipe.keep_without_landmarks or not recipe.detect_cropped):
                return [(as_cropped, None)]
            raise BadPictureError("no face found")
        if len(found) > 1 and recipe.several_faces == "fail":
            raise BadPictureError(f"{len(found)} faces found; one is expected")
        first = largest(found)
        others = [f for f in found if f is not first] if recipe.several_faces == "all" and head is None else []
        return [(alignment(f, recipe.size, recipe.margin), f) for f in (first, *others)]


def face_row(face: FaceRecord) -> dict[str, Any]:
    """Lay a face out as the columns of `FACE_SCHEMA`."""
    row = {name: getattr(face, name) for name in FACE_SCHEMA.names if name != "hash"}
    return {
        **row,
        "image": face.image.tobytes(),
        "identities": list(face.identities),
        "landmarks": None if face.landmarks is None else face.landmarks.ravel().tolist(),
        "hash": perceptual_hash(face.image),
    }


def face_of(row: dict[str, Any], size: int, split: Split) -> FaceRecord:
    """Read a face from its columns."""
    columns = {name: row[name] for name in FACE_SCHEMA.names if name != "hash"}
    landmarks = row["landmarks"]
    return FaceRecord(
        **{
            **columns,
            "image": np.frombuffer(row["image"], np.uint8).reshape(size, size, 3),
            "identities": tuple(row["identities"]),
            "landmarks": None if landmarks is None else np.array(landmarks, np.float32).reshape(-1, 2),
            "split": split,
        }
    )


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
    pair_id: list[str | None] = field(default_factory=list)
    hash: list[bytes] = field(default_factory=list)
    aligned: list[bool] = field(default_factory=list)

    @classmethod
    def read(cls, work: WorkFolder, shards: int) -> _Columns:
        """Read the shards of faces."""
        columns = cls()
        names = ["face_id", "category", "technique", "identities", "source", "source_path", "pair_id", "hash"]
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
        """Write for each shard what rows to make, the pool of donors, and what was fitted."""
        recipe, work = self.recipe, self.work
        report = work.report("list")
        shards = len(report["sizes"])
        faces = _Columns.read(work, shards)
        self.check_alignment(faces, shards)
        reasons = self.drop_before_splits(faces)
        if (left := reasons.count(None)) < SMALLEST_SET:
            raise ValueError(f"{left} faces are too few to build a dataset from; {SMALLEST_SET} are needed")
        splits = self.split(faces, reasons)
        inside = self.drop_after_splits(faces, splits, reasons)
        kept = [i for i, reason in enumerate(reasons) if reason is None]
        with shard_writer(work.dropped("plan", 0), DROPPED_SCHEMA) as drop:
            for i, reason in enumerate(reasons):
                if reason is not None:
                    what = f"{faces.source[i]}/{faces.source_path[i]}"
                    drop({"what": what, "technique": faces.technique[i] or BONA_FIDE, "reason": reason})

        rng = np.random.default_rng(recipe.seed)
        bona_fide = [i for i in kept if faces.category[i] == BONA_FIDE]
        self.fit(faces, [i for i in bona_fide if faces.aligned[i]], splits, rng)
        jobs: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for i in kept:
            job = {"row": faces.row[i], "technique": -1, "number": 0, "split": splits[i]}
            jobs[faces.shard[i]].append(job)
        for target, technique, number, split in self.forgeries(faces, bona_fide, splits, rng):
            shard = number % shards if target is None else faces.shard[target]
            row = -1 if target is None else faces.row[target]
            jobs[shard].append({"row": row, "technique": technique, "number": number, "split": split})
        for shard in range(shards):
            with shard_writer(work.shard("plan", shard), PLAN_SCHEMA) as write:
                for i in np.random.default_rng([recipe.seed, shard]).permutation(len(jobs[shard])):
                    write(jobs[shard][i])
        with whole(work.file("plan", "report.json")) as path:
            sizes = [len(jobs[shard]) for shard in range(shards)]
            path.write_text(json.dumps({"sizes": sizes, "near_duplicates_inside": inside}), encoding="utf-8")

    def check_alignment(self, faces: _Columns, shards: int) -> None:
        """Raise ValueError where too few pictures of a technique gave a face."""
        dropped: dict[str, Counter[str]] = defaultdict(Counter)
        for shard in range(shards):
            for row in pq.read_table(self.work.dropped("faces", shard)).to_pylist():
                dropped[row["technique"]][row["reason"]] += 1
        good = Counter(technique or BONA_FIDE for technique in faces.technique)
        for technique in sorted(good | Counter({t: 1 for t in dropped})):
            found = good[technique] + dropped[technique].total()
            check_rate(technique, good[technique], found, dropped[technique], self.recipe.least_aligned, "aligned")

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

    def split(self, faces: _Columns, reasons: list[str | None]) -> list[Split | None]:
        """Assign identities, source by source and generator by generator, so that each keeps the shares."""
        recipe = self.recipe
        official = read_official(Path(recipe.official_splits)) if recipe.official_splits else {}
        assignment: dict[str, Split] = {f"ff/{video}": split for video, split in official.items()}
        parts: dict[tuple[str, str], Counter[tuple[str, ...]]] = defaultdict(Counter)
        for i, reason in enumerate(reasons):
            if reason is None:
                synthesis = faces.technique[i] if faces.category[i] == "entire_face_synthesis" else None
                parts[faces.source[i], synthesis or ""][faces.identities[i]] += 1
        for part in sorted(parts, key=lambda p: (-parts[p].total(), p)):
            names = {name for identities in parts[part] for name in identities}
            if len(names) < len(SPLITS) and len(parts) > 1:
                assignment |= {name: assignment.get(name, "train") for name in sorted(names)}
            else:
                assignment |= assign_splits(parts[part], recipe.seed, recipe.shares, assignment)
        splits = [
            None if reason else split_of(identities, assignment)
            for identities, reason in zip(faces.identities, reasons, strict=True)
        ]
        for i, split in enumerate(splits):
            if split is None and reasons[i] is None:
                reasons[i] = "its identities are in different splits"
        return splits

    def drop_after_splits(self, faces: _Columns, splits: list[Split | None], reasons: list[str | None]) -> int:
        """Drop what another split holds too, and forgeries whose bona fide is gone; count twins inside of splits."""
        inside = 0
        if self.recipe.near_duplicates >= 0:
            # A forgery resembles its bona fide, and stands and falls with it.
            own = [i for i, reason in enumerate(reasons) if reason is None and faces.pair_id[i] is None]
            groups = [SPLITS.index(splits[i]) for i in own]
            inside, across = near_duplicates([faces.hash[i] for i in own], groups, self.recipe.near_duplicates)
            for first, second in across:
                pair = sorted((first, second), key=lambda k: groups[k])
                if all(reasons[own[k]] is None for k in pair):  # training loses the copy, not the test
                    reasons[own[pair[0]]] = f"a near-duplicate of a face in {SPLITS[groups[pair[1]]]}"
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

    def fit(
        self, faces: _Columns, aligned: list[int], splits: Sequence[Split | None], rng: np.random.Generator
    ) -> None:
        """Write the pool, a bounded sample of each split with as many people as can be, and what is fitted on it."""
        size, work = self.recipe.size, self.work
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
        train = Pool(work, size).faces("train")
        mixed = [train[i] for i in rng.permutation(len(train))]
        fitted: dict[int, Technique] = {}
        if self.recipe.forgeries_per_face:
            for number, technique in enumerate(techniques(self.recipe)):
                if isinstance(technique, Fittable):
                    fitted[number] = technique.fit(mixed, seed=self.recipe.seed)
        population = PopulationEvidence.fit(mixed) if len(mixed) > 1 else None
        with whole(work.file("plan", "fitted.pkl")) as path:
            path.write_bytes(pickle.dumps((fitted, population)))


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


@dataclass(frozen=True)
class _Shared:
    """What the rows of all shards have in common."""

    pool: Pool
    techniques: list[Technique]
    population: PopulationEvidence | None


@lru_cache(maxsize=1)
def _shared(work: WorkFolder, made: int) -> _Shared:
    """Load it, once a process; `made` is when it was fitted, and tells one build from the next in the same place."""
    recipe = work.recipe()
    fitted, population = pickle.loads(work.file("plan", "fitted.pkl").read_bytes())
    found = techniques(recipe) if recipe.forgeries_per_face else []
    return _Shared(Pool(work, recipe.size), [fitted.get(n, t) for n, t in enumerate(found)], population)


class MakeRows(Step):
    """Forge, measure, annotate and ask: the rows of a shard."""

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the rows, and the forgeries that could not be made."""
        work = self.work
        shared = _shared(work, work.file("plan", "fitted.pkl").stat().st_mtime_ns)
        table = pq.read_table(work.shard("faces", rank))
        row_of = {face_id: row for row, face_id in reversed(list(enumerate(table["face_id"].to_pylist())))}

        def face(row: int, split: Split) -> FaceRecord:
            return face_of(table.slice(row, 1).to_pylist()[0], self.recipe.size, split)

        with (
            one_thread(),
            shard_writer(work.dropped("rows", rank), DROPPED_SCHEMA) as drop,
            shard_writer(work.shard("rows", rank), FEATURES.arrow_schema) as write,
        ):
            for job in pq.read_table(work.shard("plan", rank)).to_pylist():
                split: Split = job["split"]
                target = face(job["row"], split) if job["row"] >= 0 else None
                if job["technique"] < 0:
                    assert target is not None
                    made, bona_fide = target, None
                    if target.pair_id in row_of:
                        bona_fide = face(row_of[target.pair_id], split)
                else:
                    technique, bona_fide = shared.techniques[job["technique"]], target
                    try:
                        made = self.forge(technique, target, job["number"], split, shared.pool)
                    except ValueError as error:
                        what = (
                            f"{target.source}/{target.source_path}" if target else f"{technique.name}/{job['number']}"
                        )
                        drop({"what": what, "technique": technique.name, "reason": str(error)})
                        continue
                write(self.row(made, bona_fide, shared.population))

    def row(
        self, face: FaceRecord, bona_fide: FaceRecord | None, population: PopulationEvidence | None
    ) -> dict[str, Any]:
        """Say and ask of a face what its evidence gives: the columns of its row."""
        if face.label == "bona_fide":
            artifacts = []
        elif bona_fide is not None and not (face.landmarks is None and bona_fide.landmarks is None):
            artifacts = measure(face, bona_fide)
        else:
            artifacts = population.measure(face) if population else []
        annotation = annotate(face, artifacts)
        qa = questions_and_answers(face, artifacts, annotation, self.recipe.seed)
        bench = bench_questions(face, annotation, self.recipe.seed) if face.split == "test" else []
        return to_columns(InstructRow(face, artifacts, qa, bench))

    def forge(
        self, technique: Technique, target: FaceRecord | None, number: int, split: Split, pool: Pool
    ) -> FaceRecord:
        """Forge with the first donor or driver that the technique can use; all of them are of the same split.

        Raises:
            ValueError: none served, or the face itself does not.
        """
        seed = [self.recipe.seed, int(target.face_id, 16) if target else number, *technique.name.encode()]
        rng = np.random.default_rng(seed)
        needs_other = technique.category in ("face_swapping", "face_reenactment")
        rows = pool.rows[split]
        refusal = ValueError("no other identity in its split")
        for _ in range(ATTEMPTS if needs_other else 1):
            other = None
            if target is not None and needs_other:
                if not len(rows):
                    break
                other = pool.face(int(rows[rng.integers(len(rows))]))
                if other.identities == target.identities:
                    continue
            try:
                forgery = technique.forge(target, other, rng)
            except ValueError as error:
                refusal = error
                continue
            sources = [face for face in (target, other) if face is not None]
            invented = f"{technique.name}/{number:06d}"
            return FaceRecord(
                image=forgery.image,
                label="forged",
                category=technique.category,
                technique=technique.name,
                identities=tuple(i for f in sources for i in f.identities) or (invented,),
                pair_id=target.face_id if target else None,
                source=target.source if target else technique.name,
                source_path=target.source_path if target else invented,
                source_sha256=target.source_sha256 if target else "",
                video=target.video if target else None,
                frame=target.frame if target else None,
                landmarks=forgery.landmarks,
                split=split,
                parameters={
                    **forgery.parameters,
                    "seed": self.recipe.seed,
                    **({"other": other.face_id} if other else {}),
                },
            )
        raise refusal


def finished_rows(work: WorkFolder, shards: int) -> Iterator[pa.Table]:
    """Yield the rows of all shards but those whose pixels another row has already."""
    paths = [work.shard("rows", shard) for shard in range(shards)]
    names = [pq.read_table(path, columns=["face_id"])["face_id"].to_numpy() for path in paths]
    first = np.zeros(sum(len(n) for n in names), bool)
    first[np.unique(np.concatenate(names).astype("U16"), return_index=True)[1]] = True
    begin = 0
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_PER_GROUP):
                table = pa.Table.from_batches([batch])
                yield table.filter(pa.array(first[begin : begin + len(table)]))
                begin += len(table)
