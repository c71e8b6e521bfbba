"""Writing what is said of a face before any question is asked: the DF-D, DF-C and AD annotations."""

from __future__ import annotations

from typing import Protocol

from dfa_instruct.records import Annotation, Artifact, FaceRecord


class Annotator(Protocol):
    """Who annotates; `name` stands in the rows."""

    @property
    def name(self) -> str:
        """As a recipe and the rows have it."""
        ...

    def annotate(self, face: FaceRecord, artifacts: list[Artifact]) -> Annotation:
        """Write a face's annotations; `artifacts` are its measured evidence."""
        ...
