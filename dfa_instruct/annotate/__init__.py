"""Writing what is said of a face before any question is asked: the DF-D, DF-C and AD annotations (paper, step 2).

A recipe names the annotator: `measured`; `stored`, what language models have written; or one of a plug-in (entry-point
group `dfa_instruct.annotators`), which is a class or a function that takes the recipe's settings and returns an
`Annotator`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from dfa_instruct.records import Annotation, Artifact, FaceRecord


class Annotator(Protocol):
    """Who describes faces."""

    @property
    def name(self) -> str:
        """As messages have it."""
        ...

    def annotate(self, face: FaceRecord, artifacts: list[Artifact]) -> Annotation:
        """Describe one face; the same face and artifacts get the same words.

        Args:
            face: its label and category are known, and what is said must agree with them.
            artifacts: what was measured, the strongest region first; empty for a bona fide face.
        """
        ...


@runtime_checkable
class Changing(Protocol):
    """An annotator whose words are kept outside of the code and the recipe, and may be others tomorrow."""

    def digest(self) -> str:
        """Sum up all that it may say; a build describes its faces anew where this is another one."""
        ...
