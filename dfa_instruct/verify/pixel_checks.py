"""Check the promises about pairs on their pixels. A sample of the pairs is read a second time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

from dfa_instruct.dataset.reading import open_splits, rows_of
from dfa_instruct.evidence.paired import measure
from dfa_instruct.pairs import SAME_PICTURE, pair_landmarks, similarity
from dfa_instruct.verify.across_rows import Forgery
from dfa_instruct.verify.promises import Findings
from dfa_instruct.verify.row_checks import face_of_row

SAMPLE: Final = 400
"""Number of pairs whose pixels are compared. Each technique gets the same number of them, if it has as many."""
ROUNDING: Final = 0.02
"""The largest difference of a strength when it is measured again, because machines round differently."""


def check_pixels(findings: Findings, where: str, pairs: Sequence[Forgery], unsound: Collection[str]) -> None:
    """Compare the pixels of a sample of the pairs.

    Args:
        findings: The findings to add to.
        where: A dataset folder, or the id of a repository on the Hub.
        pairs: The forgeries whose pairs are right as far as their facts tell.
        unsound: The `face_id` of each face whose image or landmarks are broken.
    """
    of_technique: dict[str, list[Forgery]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: pair.face_id):
        if not {pair.face_id, pair.pair_id} & set(unsound):
            of_technique[pair.technique].append(pair)
    dealt = [pair for turn in zip_longest(*of_technique.values()) for pair in turn if pair][:SAMPLE]
    waiting = {pair.face_id: str(pair.pair_id) for pair in dealt}
    needed = {*waiting, *waiting.values()}
    found: dict[str, Mapping[str, Any]] = {}
    for split, rows in open_splits(where).items() if waiting else ():
        for row in rows_of(where, split, rows.decode(False), "compare"):
            if row["face_id"] not in needed:
                continue
            found[row["face_id"]] = row
            for face_id, pair_id in list(waiting.items()):
                if row["face_id"] in (face_id, pair_id) and face_id in found and pair_id in found:
                    _compare(findings, found[face_id], found[waiting.pop(face_id)])
            if not waiting:
                return


def _compare(findings: Findings, row: Mapping[str, Any], pair: Mapping[str, Any]) -> None:
    forgery, bona_fide = face_of_row(row), face_of_row(pair)
    landmarks = pair_landmarks(forgery, bona_fide)
    if landmarks is None:  # the outline of the face is unknown, and its artifacts are measured in another way
        return
    found = similarity(forgery.image, bona_fide.image, landmarks)
    name = f"{row['split']} {row['face_id']}"
    findings.check("pixels", found >= SAME_PICTURE, f"{name}: its similarity to {row['pair_id']} is only {found:.2f}")
    named = [(a["region"], a["artifact"], a["strength"]) for a in row["artifacts"]]
    again = [(a.region, a.artifact, a.strength) for a in measure(forgery, bona_fide)]
    same = len(named) == len(again) and all(
        of_row[:2] == of_pixels[:2] and abs(of_row[2] - of_pixels[2]) <= ROUNDING
        for of_row, of_pixels in zip(named, again, strict=True)
    )
    findings.check("evidence", same, f"{name}: its artifacts are {_listed(named)}; its pixels give {_listed(again)}")


def _listed(artifacts: Sequence[tuple[str, str, float]]) -> str:
    return ", ".join(f"{region} {kind} {strength:.2f}" for region, kind, strength in artifacts) or "nothing"
