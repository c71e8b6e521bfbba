"""The annotator `measured`: annotations from the label, the category and the measured artifacts.

It needs no language model, and it describes nothing that was not measured. Its sentences come from `templates/ad.yaml`.
"""

from __future__ import annotations

import numpy as np

from dfa_instruct.instruct.templates import Libraries, libraries
from dfa_instruct.records import Annotation, Artifact, FaceRecord, Finding
from dfa_instruct.vocabulary import CATEGORIES, REGIONS, Region


def description(found: tuple[Finding, ...], library: Libraries) -> str:
    """Render the findings about a forgery as the paper's numbered text (Fig. 1), from the forehead to the jawline.

    With this fixed order, a model neither has to rank the regions nor to remember which ones it has named.
    """
    ordered = sorted(found, key=lambda finding: list(REGIONS).index(finding.region))
    lines = [f"{n}. **{REGIONS[f.region]}**: {f.sentence}" for n, f in enumerate(ordered, start=1)]
    return "\n".join(lines) or library.ad.answers.nothing_named


def findings(face: FaceRecord, artifacts: list[Artifact], library: Libraries) -> tuple[Finding, ...]:
    """Return one finding for each region with artifacts, in the order in which the regions first appear."""
    by_region: dict[Region, list[Artifact]] = {}
    for artifact in artifacts:
        by_region.setdefault(artifact.region, []).append(artifact)
    return tuple(
        Finding(region, tuple(artifact.artifact for artifact in found), sentence(face, found, library))
        for region, found in by_region.items()
    )


def sentence(face: FaceRecord, artifacts: list[Artifact], library: Libraries) -> str:
    """Describe the artifacts of one region in a sentence, which is always the same for the same face and region."""
    region, words = artifacts[0].region, library.ad.answers
    rng = np.random.default_rng([int(face.face_id, 16), list(REGIONS).index(region)])
    kinds = [artifact.artifact for artifact in artifacts]
    variants = words.one_artifact[kinds[0]] if len(kinds) == 1 else words.two_artifacts
    return variants[rng.integers(len(variants))].format(
        region=region,
        degree=words.degrees["weak" if artifacts[0].strength < 0.4 else "strong"],
        first=words.nouns[kinds[0]],
        second=words.nouns[kinds[-1]],
    )


class Measured:
    """Annotates a face with template sentences about its label, its category and its measured artifacts."""

    name = "measured"

    def __init__(self, library: Libraries | None = None) -> None:
        """Use the sentences of a template library, by default the package's own."""
        self.library = library or libraries()

    def annotate(self, face: FaceRecord, artifacts: list[Artifact]) -> Annotation:
        """Write the DF-D, DF-C and AD annotations of a face (paper, Fig. 1)."""
        library, name = self.library, CATEGORIES[face.category]
        explanation = library.df_c.explanation(face.category, face.technique)
        df_c = library.df_c.answers[face.label].format(Category=name.capitalize(), explanation=explanation)
        if face.label == "bona_fide":
            rng, texts = np.random.default_rng(int(face.face_id, 16)), library.ad.answers.bona_fide
            return Annotation(library.df_d.answers["bona_fide"], df_c, texts[rng.integers(len(texts))])
        found = findings(face, artifacts, library)
        return Annotation(library.df_d.answers["forged"], df_c, description(found, library), found)
