"""The annotator that says what language models have written into a store, where the pixels do not contradict it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from dfa_instruct.annotate.answers import description, findings
from dfa_instruct.annotate.measured import Measured
from dfa_instruct.annotate.store import Store, Written
from dfa_instruct.records import Annotation, Artifact, FaceRecord

Ungrounded = Literal["keep", "drop", "review"]
"""What becomes of claims that the pixels contradict.

keep: they stay in the description. drop: they are left out, and where none is left, what was measured stands in.
review: what was measured stands in for the whole description until a person has decided.
"""


class Stored:
    """Annotations from a store; of a face on which it has none, the measured ones.

    A recipe names it as `annotator: {name: stored, store: dfa-instruct.annotations.sqlite}`.
    """

    name = "stored"

    def __init__(self, store: str | Path | Store, ungrounded: Ungrounded = "drop") -> None:
        """Open the store, or take one that is open.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a store, or `ungrounded` is none of its words.
        """
        if ungrounded not in get_args(Ungrounded):
            raise ValueError(f"ungrounded: expected {', '.join(get_args(Ungrounded))}, not {ungrounded!r}")
        if not isinstance(store, Store):
            if not Path(store).is_file():
                raise FileNotFoundError(f"{store}: no such store of annotations; `dfa-instruct annotate` makes it")
            store = Store(Path(store))
        self.store = store
        self.ungrounded = ungrounded
        self.measured = Measured()

    def annotate(self, face: FaceRecord, artifacts: list[Artifact]) -> Annotation:
        """Return the newest description and, if one was written from this very description, the conversation."""
        annotation = self.measured.annotate(face, artifacts)
        if face.label == "forged" and (written := next(self.store.written(face.face_id, "ad"), None)):
            annotation = self._described(annotation, written)
        for talk in self.store.written(face.face_id, "fc"):
            if talk.words["artifacts"] == annotation.ad:
                turns = tuple((turn["question"], turn["answer"]) for turn in talk.parsed)
                return replace(annotation, conversation=turns, fc_by=talk.by)
        return annotation

    def _described(self, annotation: Annotation, written: Written) -> Annotation:
        standing = [claim for claim in written.parsed if claim.get("verdict") != "contradicted"]
        if self.ungrounded == "review" and len(standing) < len(written.parsed):
            return annotation
        found = findings(written.parsed if self.ungrounded == "keep" else standing)
        if not found:
            return annotation
        text = description(found)
        return replace(annotation, ad=text, findings=found, ad_by=written.by, grounding=written.grounding)
