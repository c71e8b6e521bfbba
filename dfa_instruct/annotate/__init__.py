"""Step 2 of the paper: write the DF-D, DF-C and AD annotations of a face.

A recipe names the annotator: `measured`, `stored` (the answers of a language model, kept in a store) or a plug-in. A
plug-in is an entry point in the group `dfa_instruct.annotators`: a class or function that takes the settings in the
recipe and returns an `Annotator`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from dfa_instruct.records import Annotation, Artifact, FaceRecord


class Annotator(Protocol):
    """Describes faces."""

    @property
    def name(self) -> str:
        """The name that messages use."""
        ...

    def annotate(self, face: FaceRecord, artifacts: list[Artifact]) -> Annotation:
        """Describe one face. The same face and artifacts must always get the same annotation.

        Args:
            face: The face. The annotation must agree with its label and category.
            artifacts: The measured artifacts, those of the most altered region first; empty for a bona fide face.
        """
        ...


@runtime_checkable
class Changing(Protocol):
    """An annotator whose texts come from outside the code and the recipe, so that they may change between builds."""

    def digest(self) -> str:
        """Return a hash of all texts of this annotator. A build annotates its faces again when the hash changes."""
        ...
