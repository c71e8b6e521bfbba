"""Check the promises that concern several rows: hashes, identities, videos, pairs, donors, duplicates, categories."""

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
    """The facts of a face that are kept in memory."""

    split: str
    category: str
    identities: tuple[str, ...]
    frame: int | None


class Forgery(NamedTuple):
    """The facts of a forgery that was made from faces of other rows. `other` is its donor or driver."""

    face_id: str
    technique: str
    pair_id: str | None
    same_frame: bool
    other: str | None


class AcrossRows:
    """Collect the names, the split and the hash of each row, and check at the end what concerns several rows."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.shape: tuple[int, ...] | None = None
        self.faces: dict[str, _Face] = {}
        self.split_of: dict[str, dict[str, str]] = {"identities": {}, "videos": {}}
        self.forgeries: list[Forgery] = []
        self.hashed: list[str] = []  # the face_id of each face that has no pair
        self.hashes: list[bytes] = []  # the perceptual hashes of these faces

    def check(self, promise: str, kept: bool, example: str) -> None:
        """Count one check; see `Finding.check`."""
        self.findings.check(promise, kept, example)

    def add(self, split: str, name: str, row: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        """Keep the names of a row and check them. `known` are the parameters of its technique."""
        face_id = row["face_id"]
        identities = tuple(sys.intern(identity) for identity in row["identities"])
        before = len(self.faces)
        first = self.faces.setdefault(face_id, _Face(split, sys.intern(row["category"]), identities, row["frame"]))
        self.check("hashes", len(self.faces) > before, f"{name}: the split {first.split} has this face_id already")
        self.check("identities", all(identities), f"{name}: an identity without a name")
        self.check("identities", bool(identities), f"{name}: it has no identity")
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
        """Keep the size and the hash of a picture. Return whether all pictures so far have the same size."""
        self.shape = self.shape or pixels.shape
        size = "{1}×{0} px; the first image has {3}×{2}".format(*pixels.shape[:2], *self.shape[:2])
        kept = pixels.shape[0] == pixels.shape[1] and pixels.shape == self.shape
        self.check("images", kept, f"{name}: {size}")
        if row["pair_id"] is None:  # a forgery resembles its bona fide face, and is in the same split
            self.hashed.append(row["face_id"])
            self.hashes.append(perceptual_hash(pixels))
        return kept

    def pairs(self) -> list[Forgery]:
        """Check the bona fide face of each pair, and each donor. Return the forgeries whose pair is right."""
        sound = []
        for forgery in self.forgeries:
            if forgery.pair_id is not None and self.belongs("pairs", forgery, forgery.pair_id):
                sound.append(forgery)
            if forgery.other is not None:
                self.belongs("donors", forgery, forgery.other)
        return sound

    def belongs(self, promise: str, forgery: Forgery, other: str) -> bool:
        """Check the facts of a forgery against those of its pair or its donor. Return whether all agree."""
        own, there = self.faces[forgery.face_id], self.faces.get(other, _Face("", "missing", (), None))
        name = f"{own.split} {forgery.face_id}, made from {other}"
        bona_fide = there.split == own.split and there.category == "bona_fide"
        self.check(promise, bona_fide, f"{name}: the latter is {there.category}{there.split and ', in '}{there.split}")
        strangers = sorted({*there.identities} - {*own.identities})
        self.check(promise, not strangers, f"{name}: only the latter shows {', '.join(strangers)}")
        same = True
        if promise == "pairs" and forgery.same_frame and None not in (own.frame, there.frame):
            same = own.frame == there.frame
            self.check(promise, same, f"{name}: their frames are {own.frame} and {there.frame}")
        return bona_fide and not strangers and same

    def duplicates(self) -> None:
        """Check that no two splits contain near-duplicates."""
        splits = [self.faces[face_id].split for face_id in self.hashed]
        _, across = near_duplicates(self.hashes, [sorted(set(splits)).index(split) for split in splits])
        twins = {second: first for first, second in across}
        for second, face_id in enumerate(self.hashed):
            twin = self.hashed[twins.get(second, second)]
            example = f"{self.faces[face_id].split} {face_id} shows the same as {self.faces[twin].split} {twin}"
            self.check("duplicates", second not in twins, example)

    def filled(self, expected: Mapping[Split, Sequence[Category]]) -> None:
        """Check that each split has the expected categories; warn if it has too few people for all of them."""
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
            example = f"{split}: no {what} (if the recipe leaves this out, name the recipe with --recipe)"
            self.check("categories", not missing, example)
