"""The annotator `measured`: annotations from the label, the category and the measured artifacts.

It needs no language model, and it describes nothing that was not measured.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dfa_instruct.records import Annotation, Artifact, FaceRecord, Finding
from dfa_instruct.vocabulary import CATEGORIES, EXPLANATIONS, REGIONS, ArtifactKind, Region

KIND_WORDS: Final[dict[ArtifactKind, str]] = {
    "colour": "colour",
    "texture": "texture",
    "sharpness": "sharpness",
    "geometry": "shape",
    "boundary": "blending",
}
"""Artifact → what of a region it concerns, as a noun."""

SENTENCES: Final[dict[ArtifactKind, tuple[str, ...]]] = {
    "colour": (
        "The colour of the {region} does not match the rest of the face.",
        "The colour of the {region} looks {degree} unnatural.",
    ),
    "texture": (
        "The fine texture of the {region} looks {degree} unnatural.",
        "The texture of the {region} is too smooth or too rough.",
    ),
    "sharpness": (
        "The detail of the {region} is blurred or oversharpened.",
        "The sharpness of the {region} looks {degree} wrong.",
    ),
    "geometry": (
        "The shape of the {region} is {degree} distorted.",
        "The shape of the {region} does not fit the face.",
    ),
    "boundary": (
        "An edge is visible around the {region}.",
        "The blending around the {region} is {degree} visible.",
    ),
}
"""Artifact → the sentences that state it of one region."""

PAIR_SENTENCES: Final[tuple[str, ...]] = (
    "The {first} and the {second} of the {region} do not match the rest of the face.",
    "The {first} and the {second} of the {region} look {degree} unnatural.",
)
"""The sentences that state two artifacts of one region."""

NOTHING_NAMED: Final = "No single region stands out, although the face is forged."

BONA_FIDE_TEXTS: Final[tuple[str, ...]] = (
    "No artifact is visible. All regions of the face look natural.",
    "No artifact is visible. Colour, texture and shape agree in all regions.",
)


def description(found: tuple[Finding, ...]) -> str:
    """Render the findings about a forgery as the paper's numbered text (Fig. 1), from the forehead to the jawline.

    With this fixed order, a model neither has to rank the regions nor to remember which ones it has named.
    """
    ordered = sorted(found, key=lambda finding: list(REGIONS).index(finding.region))
    lines = [f"{n}. **{REGIONS[f.region]}**: {f.sentence}" for n, f in enumerate(ordered, start=1)]
    return "\n".join(lines) or NOTHING_NAMED


def findings(face: FaceRecord, artifacts: list[Artifact]) -> tuple[Finding, ...]:
    """Return one finding for each region with artifacts, in the order in which the regions first appear."""
    by_region: dict[Region, list[Artifact]] = {}
    for artifact in artifacts:
        by_region.setdefault(artifact.region, []).append(artifact)
    return tuple(
        Finding(region, tuple(artifact.artifact for artifact in found), sentence(face, found))
        for region, found in by_region.items()
    )


def sentence(face: FaceRecord, artifacts: list[Artifact]) -> str:
    """Describe the artifacts of one region in a sentence, which is always the same for the same face and region."""
    region = artifacts[0].region
    rng = np.random.default_rng([int(face.face_id, 16), list(REGIONS).index(region)])
    kinds = [artifact.artifact for artifact in artifacts]
    variants = SENTENCES[kinds[0]] if len(kinds) == 1 else PAIR_SENTENCES
    return variants[rng.integers(len(variants))].format(
        region=region,
        degree="slightly" if artifacts[0].strength < 0.4 else "clearly",
        first=KIND_WORDS[kinds[0]],
        second=KIND_WORDS[kinds[-1]],
    )


class Measured:
    """Annotates faces with templates, from what was measured."""

    name = "measured"

    def annotate(self, face: FaceRecord, artifacts: list[Artifact]) -> Annotation:
        """Write the DF-D, DF-C and AD annotations of a face."""
        explanation = EXPLANATIONS[face.category]
        if face.label == "bona_fide":
            rng = np.random.default_rng(int(face.face_id, 16))
            return Annotation(
                df_d="This face is bona fide.",
                df_c=f"No technique is used, the face is bona fide. {explanation}",
                ad=BONA_FIDE_TEXTS[rng.integers(len(BONA_FIDE_TEXTS))],
            )
        found = findings(face, artifacts)
        return Annotation(
            df_d="This face is forged.",
            df_c=f"{CATEGORIES[face.category].capitalize()} is used. {explanation}",
            ad=description(found),
            findings=found,
        )
