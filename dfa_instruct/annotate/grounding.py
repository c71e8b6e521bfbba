"""Check the claims of a description against the pixels: is this artifact present in this region?"""

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
"""Whether the measurements support a claim. Stores keep these words.

borne_out: this artifact was measured in this region. another_artifact: only other artifacts were measured there.
contradicted: the region hardly differs from the bona fide face. not_measured: the claim cannot be checked.
"""

WEIGHTS: Final[dict[Verdict, float]] = {"borne_out": 1.0, "another_artifact": 0.5, "contradicted": 0.0}
"""Verdict → the weight of a claim in the grounding score. Claims that were not measured do not count."""
MIN_RELATIVE_STRENGTH: Final = 0.15
"""The weakest artifact that counts, relative to the strongest one in the face. Every forgery changes the surroundings
of the altered region a little."""


def ground(
    claims: Iterable[Mapping[str, Any]], face: Face, artifacts: list[Artifact], bona_fide: Face | None
) -> tuple[list[dict[str, Any]], float | None]:
    """Compute a verdict for each claim and the grounding score of the description.

    Args:
        claims: The claims, with `region` and `artifact`.
        face: The forgery.
        artifacts: The measured artifacts of the forgery. They are used when there is no bona fide face.
        bona_fide: The face that the forgery was made from, if there is one.

    Returns:
        The claims, each with its `verdict`, and the mean of their weights (0 to 1); None if no claim has a weight.
    """
    measured: dict[Region, dict[ArtifactKind, float]] = {}
    paired = bona_fide is not None and pair_landmarks(face, bona_fide) is not None
    if paired:
        assert bona_fide is not None
        measured = strengths(face, bona_fide)
    else:
        for artifact in artifacts:
            measured.setdefault(artifact.region, {})[artifact.artifact] = artifact.strength
    strongest = max((strength for kinds in measured.values() for strength in kinds.values()), default=0.0)
    grounded: list[dict[str, Any]] = []
    for claim in claims:
        region, artifact_kind = claim["region"], claim["artifact"]
        kinds = {k for k, strength in measured.get(region, {}).items() if strength > MIN_RELATIVE_STRENGTH * strongest}
        verdict: Verdict = "contradicted" if paired and region in measured else "not_measured"
        if artifact_kind == "geometry" and face.pairing == "content":
            verdict = "not_measured"  # the face may have moved between the two frames
        elif kinds:
            verdict = "borne_out" if artifact_kind in kinds else "another_artifact"
        grounded.append({**claim, "verdict": verdict})
    weights = [WEIGHTS[claim["verdict"]] for claim in grounded if claim["verdict"] in WEIGHTS]
    return grounded, sum(weights) / len(weights) if weights else None


def ground_in(
    faces: Faces, claims: Iterable[Mapping[str, Any]], face_id: str
) -> tuple[list[dict[str, Any]], float | None]:
    """Ground claims about a face of a dataset folder (see `ground`)."""
    return ground(claims, faces.face(face_id), faces.artifacts(face_id), faces.bona_fide_of(face_id))


def ground_missing(faces: Faces, store: Store) -> None:
    """Ground the descriptions in a store that have no verdicts yet, and store the result."""
    for key, face_id, claims in tqdm(store.ungrounded(), "check against the pixels", unit="image", delay=1):
        if face_id in faces:
            store.ground(key, *ground_in(faces, claims, face_id))
