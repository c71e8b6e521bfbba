"""The third step: decode the pictures, detect the faces and align them."""

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
    SourceMargin,
    Step,
    face_row,
    one_thread,
    shard_writer,
)
from dfa_instruct.face.alignment import Transform, alignment, alignment_onto, cropped_alignment, move, warp
from dfa_instruct.face.detection import largest, nearest, not_one_face
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
class _BonaFide:
    """A bona fide face and its place in its picture. Its forgeries are cut out at the same place.

    `waits` is true for a frame that is written only if a forgery matches it, until the first one does.
    """

    face: Face
    shape: tuple[int, ...]
    transform: Transform
    landmarks: Landmarks | None
    waits: bool


class AlignFaces(Step):
    """Decode the pictures of a shard, detect their faces and align them."""

    folder = "faces"
    recipe_keys = ("detect_cropped", "keep_without_landmarks", "several_faces", "size")
    depends_on = ("construction/steps/align_faces.py", "pairs.py")

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the aligned faces of a shard, and a table of the items that gave no face, with the reasons."""
        items = [
            from_columns(SourceItem, columns) for columns in pq.read_table(self.work.shard("list", rank)).to_pylist()
        ]
        margins = self.work.report("margins", dict[str, SourceMargin])
        self.margins = {source: found.margin for source, found in margins.items()}
        known: dict[str, _BonaFide] = {}
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
                    if forging and item.category == BONA_FIDE:  # all forgeries of these faces are done
                        known.clear()
                    forging = item.category != BONA_FIDE
                    try:
                        if isinstance(pixels, BadPictureError):
                            raise pixels
                        for face in self.faces(item, pixels, known):
                            write(face_row(face))
                    except BadPictureError as error:
                        drop({"what": item.key, "technique": item.technique or BONA_FIDE, "reason": str(error)})

    def close(self) -> None:
        """Close the detector."""
        close_detector()

    def faces(self, item: SourceItem, pixels: Pixels, known: dict[str, _BonaFide]) -> Iterator[Face]:
        """Yield the aligned faces of a picture, and keep a bona fide face in `known`.

        A frame that is only listed for its forgeries (`item.pair_only`) is yielded right before the first of them.

        Args:
            item: The picture's facts.
            pixels: The picture, shape (height, width, 3), RGB.
            known: Item key → bona fide face. The dictionary is changed.

        Raises:
            BadPictureError: The picture shows no face, or several where the recipe expects one.
        """
        size = self.recipe.size
        pairing: Pairing | None = "content" if item.pair_candidates else "same_frame"
        bona_fide = known.get(item.pair or "")
        found: list[Landmarks] = []
        if self.recipe.detect_cropped or not item.cropped:
            near = bona_fide.landmarks if bona_fide and bona_fide.shape == pixels.shape else None
            found = detector().detect(pixels, near)
        if item.pair_candidates:
            bona_fide = self.most_similar(item, pixels, found, known)
        for number, (transform, landmarks) in enumerate(self.places(item, pixels, found, bona_fide)):
            image = warp(pixels, transform, size)
            forged = item.category != BONA_FIDE
            face = Face(
                image=image,
                label="forged" if forged else "bona_fide",
                category=item.category,
                technique=item.technique,
                identities=item.identities if number == 0 else (f"{item.key}/{number}",),
                pair_id=bona_fide.face.face_id if bona_fide else None,
                pairing=pairing if bona_fide else None,
                source=item.source,
                source_path=item.source_path,
                source_sha256=_sha256(item.path),
                video=item.video,
                frame=item.frame,
                landmarks=None if landmarks is None else move(landmarks, transform),
            )
            if number == 0 and not forged:
                known[item.key] = _BonaFide(face, pixels.shape, transform, landmarks, item.pair_only)
            if bona_fide and bona_fide.waits:
                bona_fide.waits = False
                yield bona_fide.face
            if not item.pair_only:
                yield face

    def most_similar(
        self, item: SourceItem, pixels: Pixels, found: list[Landmarks], known: dict[str, _BonaFide]
    ) -> _BonaFide | None:
        """Return the bona fide frame that is most similar to a forgery outside the face, or None."""
        near = [known[key] for key in item.pair_candidates if key in known]
        places = (self.places(item, pixels, found, bona_fide)[0] for bona_fide in near)
        squares = (warp(pixels, transform, self.recipe.size) for transform, _ in places)
        best = most_similar(zip(squares, (bona_fide.face for bona_fide in near), strict=True))
        return None if best is None else near[best]

    def places(
        self, item: SourceItem, pixels: Pixels, found: list[Landmarks], bona_fide: _BonaFide | None
    ) -> list[tuple[Transform, Landmarks | None]]:
        """Choose the faces of a picture. Return for each its transform into the square and its landmarks, if any."""
        recipe = self.recipe
        as_cropped = cropped_alignment(pixels.shape[0], pixels.shape[1], recipe.size)
        if bona_fide is not None:  # both are compared pixel by pixel, so they need the same place in the square
            if bona_fide.landmarks is None:
                return [(as_cropped, largest(found) if found else None)]
            if pixels.shape == bona_fide.shape:
                return [(bona_fide.transform, nearest(found, bona_fide.landmarks))]
            if found:
                landmarks = largest(found)
                return [(alignment_onto(landmarks, move(bona_fide.landmarks, bona_fide.transform)), landmarks)]
        if not found:
            if item.cropped and (recipe.keep_without_landmarks or not recipe.detect_cropped):
                return [(as_cropped, None)]
            raise BadPictureError(not_one_face(0))
        if len(found) > 1 and recipe.several_faces == "fail":
            raise BadPictureError(not_one_face(len(found)))
        first = largest(found)
        others = [f for f in found if f is not first] if recipe.several_faces == "all" and bona_fide is None else []
        return [(alignment(f, recipe.size, self.margins[item.source]), f) for f in (first, *others)]
