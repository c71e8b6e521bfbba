"""A dataset folder of many small faces, made quickly from one drawn portrait with small changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from dfa_instruct.annotate.measured import Measured
from dfa_instruct.dataset.features import FEATURES, row_columns
from dfa_instruct.dataset.writer import write_tables
from dfa_instruct.evidence.paired import evidence_of
from dfa_instruct.face.regions import region_masks
from dfa_instruct.instruct.sampling import instruct
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.records import Face
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.vocabulary import FORGERY_CATEGORIES, SPLITS

SIZE = 64
SHA256 = "0" * 64


def write_faces(folder: Path, count: int) -> Path:
    """Write a dataset folder with `count` forgeries, of all categories in turn, and as many bona fide faces."""
    write_tables(_tables(count), folder)
    return folder


def _tables(count: int) -> Iterator[pa.Table]:
    portrait = next(draw_sample(identities=1, pictures=1, size=SIZE, seed=0))
    for begin in range(0, count, 50):
        rows = []
        for face, bona_fide in some_faces(portrait, range(begin, min(begin + 50, count))):
            artifacts = evidence_of(face, bona_fide, None)
            annotation = Measured().annotate(face, artifacts)
            rows.append(row_columns(instruct(face, artifacts, annotation, 0, {}, libraries()), face.to_png()))
        yield pa.Table.from_pylist(rows, schema=FEATURES.arrow_schema)


def some_faces(portrait: Face, numbers: range) -> Iterator[tuple[Face, Face | None]]:
    """Yield for each number a bona fide face, and then its forgery together with the bona fide face."""
    mouth = region_masks(portrait.landmarks, SIZE)["mouth"]
    for number in numbers:
        image = portrait.image.copy()
        image[0, 0] = (number % 256, number // 256, 1)
        split = SPLITS[number % len(SPLITS)]
        person = {"identities": (f"person {number}",), "source_path": f"{number}.png", "source_sha256": SHA256}
        bona_fide = replace(portrait, image=image, split=split, face_id="", **person)
        yield bona_fide, None
        image = image.copy()
        image[mouth] = image[mouth] // 2 + np.array([90, 0, 20], np.uint8)
        category = FORGERY_CATEGORIES[number % len(FORGERY_CATEGORIES)]
        pair = None if category == "entire_face_synthesis" else bona_fide
        forgery = replace(
            bona_fide,
            image=image,
            face_id="",
            label="forged",
            category=category,
            technique="lips",
            source_path=f"{number}f.png",
            pair_id=pair and pair.face_id,
            pairing="same_frame" if pair else None,
        )
        yield forgery, pair
