"""The promises of pairs, checked on the pixels of both: a sample, which is read once more."""

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
"""Pairs whose pixels are compared and measured again, of every technique the same number as far as it has them."""
ROUNDING: Final = 0.02
"""How far a strength may be from the one that is measured again: another machine rounds otherwise."""


def check_pixels(findings: Findings, where: str, pairs: Sequence[Forgery], unsound: Collection[str]) -> None:
    """Compare the pixels of some pairs.

    Args:
        findings: what is found is counted there.
        where: the dataset.
        pairs: with whose names nothing is wrong.
        unsound: the face_id of what has broken pixels or landmarks.
    """
    of_technique: dict[str, list[Forgery]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: pair.face_id):
        if not {pair.face_id, pair.pair_id} & set(unsound):
            of_technique[pair.technique].append(pair)
    dealt = [pair for turn in zip_longest(*of_technique.values()) for pair in turn if pair][:SAMPLE]
    waiting = {pair.face_id: str(pair.pair_id) for pair in dealt}
    needed = {*waiting, *waiting.values()}
    held: dict[str, Mapping[str, Any]] = {}
    for split, rows in open_splits(where).items() if waiting else ():
        for row in rows_of(where, split, rows.decode(False), "compare"):
            if row["face_id"] not in needed:
                continue
            held[row["face_id"]] = row
            for face_id, pair_id in list(waiting.items()):
                if row["face_id"] in (face_id, pair_id) and face_id in held and pair_id in held:
                    _compare(findings, held[face_id], held[waiting.pop(face_id)])
            if not waiting:
                return


def _compare(findings: Findings, row: Mapping[str, Any], pair: Mapping[str, Any]) -> None:
    forgery, bona_fide = face_of_row(row), face_of_row(pair)
    landmarks = pair_landmarks(forgery, bona_fide)
    if landmarks is None:  # nobody knows where the face ends, and evidence is measured from the population's
        return
    alike = similarity(forgery.image, bona_fide.image, landmarks)
    name = f"{row['split']} {row['face_id']}"
    findings.check("pixels", alike >= SAME_PICTURE, f"{name}: only {alike:.2f} of 1 like its pair {row['pair_id']}")
    named = [(a["region"], a["artifact"], a["strength"]) for a in row["artifacts"]]
    again = [(a.region, a.artifact, a.strength) for a in measure(forgery, bona_fide)]
    same = len(named) == len(again) and all(
        of_row[:2] == of_pixels[:2] and abs(of_row[2] - of_pixels[2]) <= ROUNDING
        for of_row, of_pixels in zip(named, again, strict=True)
    )
    findings.check("evidence", same, f"{name}: it says {_said(named)}; its pixels say {_said(again)}")


def _said(artifacts: Sequence[tuple[str, str, float]]) -> str:
    return ", ".join(f"{region} {kind} {strength:.2f}" for region, kind, strength in artifacts) or "nothing"
