"""The third step: decode, detect, align."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dfa_instruct.construction.detector import close_detector, detector
from dfa_instruct.construction.work_folder import (
    BONA_FIDE,
    DROPPED_SCHEMA,
    FACE_SCHEMA,
    Step,
    face_row,
    one_thread,
    shard_writer,
)
from dfa_instruct.face.detection import (
    Transform,
    alignment,
    alignment_onto,
    cropped_alignment,
    largest,
    move,
    nearest,
    warp,
)
from dfa_instruct.pairs import most_similar
from dfa_instruct.records import Face, Landmarks, Pixels
from dfa_instruct.schema import from_columns
from dfa_instruct.sources import SourceItem
from dfa_instruct.sources.decoding import read_items
from dfa_instruct.sources.pictures import BadPictureError
from dfa_instruct.sources.sample import draw_item, is_drawn
from dfa_instruct.vocabulary import Pairing


@lru_cache(maxsize=4)
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class _Head:
    """A bona fide face and where it lies in its picture: its forgeries are cut out at the same place."""

    face: Face
    shape: tuple[int, ...]
    transform: Transform
    landmarks: Landmarks | None
    waits: bool
    """For its first forgery: only with one it is written."""


class AlignFaces(Step):
    """Decode, detect and align the pictures of a shard."""

    folder = "faces"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the faces, and what gave none."""
        items = [
            from_columns(SourceItem, columns) for columns in pq.read_table(self.work.shard("list", rank)).to_pylist()
        ]
        self.margins = {source: found["margin"] for source, found in self.work.report("margins").items()}
        heads: dict[str, _Head] = {}
        forging = False
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
                    if forging and item.category == BONA_FIDE:  # all forgeries of the heads have come
                        heads.clear()
                    forging = item.category != BONA_FIDE
                    try:
                        if isinstance(pixels, BadPictureError):
                            raise pixels
                        for face in self.faces(item, pixels, heads):
                            write(face_row(face))
                    except BadPictureError as error:
                        drop({"what": item.key, "technique": item.technique or BONA_FIDE, "reason": str(error)})

    def close(self) -> None:
        """Close the detector."""
        close_detector()

    def faces(self, item: SourceItem, pixels: Pixels, heads: dict[str, _Head]) -> Iterator[Face]:
        """Yield the aligned faces of a picture; a bona fide one is kept in `heads`.

        One that is sought waits there, and is yielded before its first forgery.

        Raises:
            BadPictureError: it holds no face, or several where that is a failure.
        """
        size = self.recipe.size
        pairing: Pairing | None = "content" if item.pair_candidates else "same_frame"
        head = heads.get(item.pair or "")
        found: list[Landmarks] = []
        if self.recipe.detect_cropped or not item.cropped:
            near = head.landmarks if head and head.shape == pixels.shape else None
            found = detector().detect(pixels, near)
        if item.pair_candidates:
            head = self.most_similar(item, pixels, found, heads)
        for number, (transform, landmarks) in enumerate(self.places(item, pixels, found, head)):
            image = warp(pixels, transform, size)
            forged = item.category != BONA_FIDE
            face = Face(
                image=image,
                label="forged" if forged else "bona_fide",
                category=item.category,
                technique=item.technique,
                identities=item.identities if number == 0 else (f"{item.key}/{number}",),
                pair_id=head.face.face_id if head else None,
                pairing=pairing if head else None,
                source=item.source,
                source_path=item.source_path,
                source_sha256=_sha256(item.path),
                video=item.video,
                frame=item.frame,
                landmarks=None if landmarks is None else move(landmarks, transform),
            )
            if number == 0 and not forged:
                heads[item.key] = _Head(face, pixels.shape, transform, landmarks, item.pair_only)
            if head and head.waits:
                head.waits = False
                yield head.face
            if not item.pair_only:
                yield face

    def most_similar(
        self, item: SourceItem, pixels: Pixels, found: list[Landmarks], heads: dict[str, _Head]
    ) -> _Head | None:
        """Choose the bona fide frame that a forgery looks most like outside of the face; none where it is like none."""
        near = [heads[key] for key in item.pair_candidates if key in heads]
        places = (self.places(item, pixels, found, head)[0] for head in near)
        squares = (warp(pixels, transform, self.recipe.size) for transform, _ in places)
        best = most_similar(zip(squares, (head.face for head in near), strict=True))
        return None if best is None else near[best]

    def places(
        self, item: SourceItem, pixels: Pixels, found: list[Landmarks], head: _Head | None
    ) -> list[tuple[Transform, Landmarks | None]]:
        """Choose of the faces of a picture: the way of each into the square, and its landmarks in the picture."""
        recipe = self.recipe
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
        return [(alignment(f, recipe.size, self.margins[item.source]), f) for f in (first, *others)]
