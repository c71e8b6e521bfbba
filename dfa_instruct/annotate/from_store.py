"""The annotator that says what language models have written into a store, as far as people and pixels let it stand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from dfa_instruct.annotate.answer_parsing import claims_of, findings
from dfa_instruct.annotate.decisions import Decision, Decisions
from dfa_instruct.annotate.measured import Measured, description
from dfa_instruct.annotate.store import Store, Written
from dfa_instruct.records import MEASURED, Annotation, Artifact, FaceRecord, Finding

Ungrounded = Literal["keep", "drop", "review"]
"""What becomes of claims that the pixels contradict, where no reviewer has decided on the description.

keep: they stay in the description. drop: they are left out, and where none is left, what was measured stands in.
review: what was measured stands in for the whole description until a person has decided (`dfa-instruct review`).
"""


def newest(store: Store, face_id: str, measured: Annotation) -> Written:
    """Return what is said of a forgery, as claims: a language model's newest description, else the measured one."""
    written = next(store.written(face_id, "ad"), None)
    return written or Written(MEASURED, {}, claims_of(measured.findings), None)


class Stored:
    """Annotations from a store; of a face on which it has none, the measured ones.

    A reviewer's decision stands above the rest: what was accepted is said as it is, what was edited as it was edited
    last, and what anybody rejected is not said; then what was measured stands in, or where that was rejected, nothing.

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
        self.decisions = Decisions(store)
        self.ungrounded = ungrounded
        self.measured = Measured()

    def digest(self) -> str:
        """Sum up all that this annotator may say."""
        return self.store.digest()

    def annotate(self, face: FaceRecord, artifacts: list[Artifact]) -> Annotation:
        """Return the description as it stands and, if one was written from this very description, the conversation."""
        annotation = self.measured.annotate(face, artifacts)
        if face.label == "forged":
            annotation = self._described(face.face_id, annotation)
        for talk in self.store.written(face.face_id, "fc"):
            if talk.words["artifacts"] == annotation.ad:
                turns = tuple((turn["question"], turn["answer"]) for turn in talk.parsed)
                return replace(annotation, conversation=turns, fc_by=talk.by)
        return annotation

    def _described(self, face_id: str, measured: Annotation) -> Annotation:
        written = newest(self.store, face_id, measured)
        whole = findings(written.parsed)
        decided = self.decisions.on(face_id, description(whole))
        if any(decision.choice == "reject" for decision in decided):
            if written.by != MEASURED:
                return measured
            return _said(measured, (), by_reviewers(MEASURED, decided), None)
        if edits := [decision for decision in decided if decision.choice == "edit"]:
            last = edits[-1]
            return _said(measured, findings(last.claims), by_reviewers(written.by, [last]), last.grounding)
        if decided:
            return _said(measured, whole, by_reviewers(written.by, decided), written.grounding)
        standing = [claim for claim in written.parsed if claim.get("verdict") != "contradicted"]
        if written.by == MEASURED or (self.ungrounded == "review" and len(standing) < len(written.parsed)):
            return measured
        found = whole if self.ungrounded == "keep" else findings(standing)
        return _said(measured, found, written.by, written.grounding) if found else measured


def _said(measured: Annotation, found: tuple[Finding, ...], by: str, grounding: float | None) -> Annotation:
    return replace(measured, ad=description(found), findings=found, ad_by=by, grounding=grounding)


def by_reviewers(by: str, decided: list[Decision]) -> str:
    """Say who wrote a description, and who decided on it: "gpt-4o, ad_alone 1, accepted by ann and bob".

    Of several choices the strictest is named, and who made it.
    """
    for choice in ("reject", "edit", "accept"):
        if names := sorted(decision.reviewer for decision in decided if decision.choice == choice):
            return f"{by}, {choice}ed by {' and '.join(names)}"
    return by
