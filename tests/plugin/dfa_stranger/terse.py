"""An annotator: what was measured, in three words a region."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dfa_instruct.annotate.measured import Measured
from dfa_instruct.records import Annotation, Artifact, FaceRecord


@dataclass(frozen=True)
class Terse:
    """Says `Eyes: colour.` with a mark of its own at the end."""

    mark: str = "."
    name = "stranger_terse"

    def annotate(self, face: FaceRecord, artifacts: list[Artifact]) -> Annotation:
        measured = Measured().annotate(face, artifacts)
        if not measured.findings:
            return measured
        found = tuple(
            replace(finding, sentence=f"{finding.region.capitalize()}: {' and '.join(finding.artifacts)}{self.mark}")
            for finding in measured.findings
        )
        return replace(measured, ad=" ".join(f.sentence for f in found), findings=found, ad_by=self.name)
