"""The promises that concern several rows: hashes, identities, videos, pairs, donors, duplicates, categories."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from dfa_instruct.duplicates import near_duplicates, perceptual_hash
from dfa_instruct.records import Pixels
from dfa_instruct.verify.promises import Findings
from dfa_instruct.vocabulary import Category, Split

FEW_PEOPLE: Final = 10
"""A split with fewer people in its bona fide faces may lack a category by chance."""


class _Face(NamedTuple):
    """What is kept of a face for what concerns several rows."""

    split: str
    category: str
    identities: tuple[str, ...]
    frame: int | None


class Forgery(NamedTuple):
    """What is kept of a forgery that was made from other rows' faces; `other` is its donor or driver."""

    face_id: str
    technique: str
    pair_id: str | None
    same_frame: bool
    other: str | None


class Across:
    """Keeps of each row its names, its split and its hash, and checks at the end what concerns several of them."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.shape: tuple[int, ...] | None = None
        self.faces: dict[str, _Face] = {}
        self.split_of: dict[str, dict[str, str]] = {"identities": {}, "videos": {}}
        self.forgeries: list[Forgery] = []
        self.hashed: list[str] = []  # face_id of every face that is not a forgery of another one here
        self.hashes: list[bytes] = []  # and its perceptual hash

    def check(self, promise: str, kept: bool, example: str) -> None:
        """Count one check; see `Finding.check`."""
        self.findings.check(promise, kept, example)

    def add(self, split: str, name: str, row: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        """Keep a row's names; `known` are its parameters."""
        face_id = row["face_id"]
        identities = tuple(sys.intern(identity) for identity in row["identities"])
        before = len(self.faces)
        first = self.faces.setdefault(face_id, _Face(split, sys.intern(row["category"]), identities, row["frame"]))
        self.check("hashes", len(self.faces) > before, f"{name}: this face_id stands in {first.split} already")
        self.check("identities", all(identities), f"{name}: an identity without a name")
        self.check("identities", bool(identities), f"{name}: it has none")
        for promise, values in (("identities", identities), ("videos", [row["video"]] if row["video"] else [])):
            for value in values:
                other_split = self.split_of[promise].setdefault(value, split)
                self.check(promise, other_split == split, f"{name}: {value} is in {other_split} too")
        if row["pair_id"] is not None or "other" in known:
            same_frame = row.get("pairing") != "content"
            other = str(known["other"]) if "other" in known else None
            forgery = Forgery(face_id, sys.intern(str(row["technique"])), row["pair_id"], same_frame, other)
            self.forgeries.append(forgery)

    def add_pixels(self, name: str, row: Mapping[str, Any], pixels: Pixels) -> bool:
        """Keep a picture's size and hash; return whether its size is that of the others."""
        self.shape = self.shape or pixels.shape
        size = "{1}×{0} px; the first image has {3}×{2}".format(*pixels.shape[:2], *self.shape[:2])
        kept = pixels.shape[0] == pixels.shape[1] and pixels.shape == self.shape
        self.check("images", kept, f"{name}: {size}")
        if row["pair_id"] is None:  # a forgery resembles its bona fide, whose split it shares
            self.hashed.append(row["face_id"])
            self.hashes.append(perceptual_hash(pixels))
        return kept

    def pairs(self) -> list[Forgery]:
        """Check the pairs and the donors by what is known of them; return the pairs with which nothing is wrong."""
        sound = []
        for forgery in self.forgeries:
            if forgery.pair_id is not None and self.belongs("pairs", forgery, forgery.pair_id):
                sound.append(forgery)
            if forgery.other is not None:
                self.belongs("donors", forgery, forgery.other)
        return sound

    def belongs(self, promise: str, forgery: Forgery, other: str) -> bool:
        """Check what is known of a forgery against what is known of the face that it was made from, or with."""
        own, there = self.faces[forgery.face_id], self.faces.get(other, _Face("", "not there", (), None))
        name = f"{own.split} {forgery.face_id}, made of {other}"
        bona_fide = there.split == own.split and there.category == "bona_fide"
        self.check(promise, bona_fide, f"{name}: that is {there.category}{there.split and ', in '}{there.split}")
        strangers = sorted({*there.identities} - {*own.identities})
        self.check(promise, not strangers, f"{name}: {', '.join(strangers)} is in that only")
        same = True
        if promise == "pairs" and forgery.same_frame and None not in (own.frame, there.frame):
            same = own.frame == there.frame
            self.check(promise, same, f"{name}: they are the frames {own.frame} and {there.frame}")
        return bona_fide and not strangers and same

    def duplicates(self) -> None:
        """Check that no picture is in two splits."""
        splits = [self.faces[face_id].split for face_id in self.hashed]
        _, across = near_duplicates(self.hashes, [sorted(set(splits)).index(split) for split in splits])
        twins = {second: first for first, second in across}
        for second, face_id in enumerate(self.hashed):
            twin = self.hashed[twins.get(second, second)]
            same = f"{self.faces[face_id].split} {face_id} is {twin} in {self.faces[twin].split}"
            self.check("duplicates", second not in twins, same)

    def filled(self, expected: Mapping[Split, Sequence[Category]]) -> None:
        """Check that no split lacks a category that is expected in it; warn where it has too few people for all."""
        found = Counter((face.split, face.category) for face in self.faces.values())
        for split, categories in expected.items():
            missing = [category for category in categories if not found[split, category]]
            bona_fide = (f for f in self.faces.values() if (f.split, f.category) == (split, "bona_fide"))
            people = len({identity for face in bona_fide for identity in face.identities})
            if missing and 0 < people < FEW_PEOPLE:
                lacking = f"{split}: no {', '.join(missing)}; with {people} people only, not every category may come up"
                self.findings["categories"].warnings.append(lacking)
                missing = []
            what = "row" if len(missing) == len(categories) else ", ".join(missing)
            self.check("categories", not missing, f"{split}: no {what} (--recipe names a recipe that leaves it out)")
