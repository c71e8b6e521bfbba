"""Holding what a description claims against the pixels: is there, in this region, this artifact?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from tqdm import tqdm

from dfa_instruct.annotate.faces import Faces
from dfa_instruct.annotate.store import Store
from dfa_instruct.evidence.paired import strengths
from dfa_instruct.pairs import pair_landmarks
from dfa_instruct.records import Artifact, Face
from dfa_instruct.vocabulary import ArtifactKind, Region

Verdict = Literal["borne_out", "another_artifact", "contradicted", "not_measured"]

WEIGHTS: Final[dict[Verdict, float | None]] = {
    "borne_out": 1.0,
    "another_artifact": 0.5,
    "contradicted": 0.0,
    "not_measured": None,
}
"""What became of a claim → what it counts in the score of its description.

borne_out: this artifact was measured in this region. another_artifact: the region differs, but not so. contradicted:
the region is as it was in the bona fide face, or nearly. not_measured: nothing can be said.
"""
FAINT: Final = 0.15
"""Of the strongest artifact in a face: what is weaker is no more than what every forgery does to its surroundings."""


def ground(
    claims: Iterable[Mapping[str, Any]], face: Face, artifacts: list[Artifact], bona_fide: Face | None
) -> tuple[list[dict[str, Any]], float | None]:
    """Give each claim its verdict, and the description its score.

    Args:
        claims: with `region` and `artifact`.
        face: the forgery.
        artifacts: its measured evidence, which is all there is where it has no bona fide.
        bona_fide: what it was made from, if anything.

    Returns:
        The claims, each with its `verdict`, and their mean weight (`WEIGHTS`); None where none of them has any.
    """
    found: dict[Region, dict[ArtifactKind, float]] = {}
    paired = bona_fide is not None and pair_landmarks(face, bona_fide) is not None
    if paired:
        assert bona_fide is not None
        found = strengths(face, bona_fide)
    else:
        for artifact in artifacts:
            found.setdefault(artifact.region, {})[artifact.artifact] = artifact.strength
    least = FAINT * max((strength for kinds in found.values() for strength in kinds.values()), default=0.0)
    judged: list[dict[str, Any]] = []
    for claim in claims:
        kinds = {kind for kind, strength in found.get(claim["region"], {}).items() if strength > least}
        verdict: Verdict = "contradicted" if paired and claim["region"] in found else "not_measured"
        if claim["artifact"] == "geometry" and face.pairing == "content":
            verdict = "not_measured"  # the face may have moved from one frame to the other
        elif kinds:
            verdict = "borne_out" if claim["artifact"] in kinds else "another_artifact"
        judged.append({**claim, "verdict": verdict})
    weights = [weight for claim in judged if (weight := WEIGHTS[claim["verdict"]]) is not None]
    return judged, sum(weights) / len(weights) if weights else None


def ground_in(
    faces: Faces, claims: Iterable[Mapping[str, Any]], face_id: str
) -> tuple[list[dict[str, Any]], float | None]:
    """Do the same for a face of a dataset folder."""
    face = faces.face(face_id)
    bona_fide = faces.face(face.pair_id) if face.pair_id in faces.places else None
    return ground(claims, face, faces.artifacts(face_id), bona_fide)


def ground_missing(faces: Faces, store: Store) -> None:
    """Hold the descriptions in a store that were not yet against the pixels."""
    for key, face_id, claims in tqdm(store.ungrounded(), "check against the pixels", unit="image", delay=1):
        if face_id in faces.places:
            store.ground(key, *ground_in(faces, claims, face_id))
