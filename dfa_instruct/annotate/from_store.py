"""The annotator `stored`: what people or language models have written, and people have reviewed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from dfa_instruct.annotate.answer_parsing import claims_to_findings, findings_to_claims
from dfa_instruct.annotate.decisions import Decision, Decisions
from dfa_instruct.annotate.descriptions import Descriptions, in_words_of_people
from dfa_instruct.annotate.measured import Measured, description
from dfa_instruct.annotate.store import Store, StoredAnswer
from dfa_instruct.instruct.templates import Libraries
from dfa_instruct.records import MEASURED, Annotation, Artifact, FaceRecord

Ungrounded = Literal["keep", "drop", "review"]
"""What to do with claims that the pixels contradict, in a description that nobody has reviewed.

keep: keep them. drop: remove them, and use the measured description if no claim is left. review: use the measured
description until a person has reviewed the other one (`dfa-instruct review`).
"""


def current_description(store: Store, face_id: str, measured: Annotation) -> StoredAnswer:
    """Return the claims about a forgery: the newest description by a language model, else the measured one."""
    answer = next(store.answers(face_id, "ad"), None)
    return answer or StoredAnswer(MEASURED, {}, findings_to_claims(measured.findings), None)


class Stored:
    """Annotations from a store, and measured annotations for faces that are not in the store.

    What people have written themselves takes precedence, word for word. Then review decisions count: an accepted
    description is used as it is, and an edited one as last edited. If anybody rejected the description, the measured
    one is used; if that one was rejected, there is none.

    A recipe names it as `annotator: {name: stored, store: dfa-instruct.annotations.sqlite}`.
    """

    name = "stored"

    def __init__(
        self, store: str | Path | Store, ungrounded: Ungrounded = "drop", library: Libraries | None = None
    ) -> None:
        """Open the store if it is given as a path.

        Raises:
            FileNotFoundError: The file does not exist.
            ValueError: The file is not a store, or `ungrounded` is not one of its values.
        """
        if ungrounded not in get_args(Ungrounded):
            raise ValueError(f"ungrounded: expected {', '.join(get_args(Ungrounded))}, not {ungrounded!r}")
        if not isinstance(store, Store):
            if not Path(store).is_file():
                raise FileNotFoundError(f"{store}: no such store of annotations; `dfa-instruct annotate` makes it")
            store = Store(Path(store))
        self.store = store
        self.decisions = Decisions(store)
        self.descriptions = Descriptions(store)
        self.ungrounded = ungrounded
        self.measured = Measured(library)

    def digest(self) -> str:
        """Return a hash of the store's answers, decisions and descriptions."""
        return self.store.digest() + self.descriptions.digest()

    def annotate(self, face: FaceRecord, artifacts: list[Artifact]) -> Annotation:
        """Return the annotation of a face, with a stored conversation if it was written from this description."""
        annotation = self.measured.annotate(face, artifacts)
        if descriptions := self.descriptions.of(face.face_id, face.label):
            annotation = in_words_of_people(annotation, descriptions)
        elif face.label == "forged":
            annotation = self._describe(face.face_id, annotation)
        for conversation in self.store.answers(face.face_id, "fc"):
            if conversation.variables["artifacts"] == annotation.ad:
                turns = tuple((turn["question"], turn["answer"]) for turn in conversation.parsed)
                return replace(annotation, conversation=turns, fc_by=conversation.by)
        return annotation

    def _describe(self, face_id: str, measured: Annotation) -> Annotation:
        current = current_description(self.store, face_id, measured)
        by, claims, grounding = current.by, current.parsed, current.grounding
        decisions = self.decisions.latest(face_id, description(claims_to_findings(claims), self.measured.library))
        if any(decision.choice == "reject" for decision in decisions):
            if by != MEASURED:
                return measured
            by, claims = reviewed_by(by, decisions), []
        elif edits := [decision for decision in decisions if decision.choice == "edit"]:
            last = edits[-1]
            by, claims, grounding = reviewed_by(by, [last]), [dict(claim) for claim in last.claims], last.grounding
        elif decisions:
            by = reviewed_by(by, decisions)
        elif by == MEASURED:
            return measured
        elif self.ungrounded != "keep":
            claims = [claim for claim in claims if claim.get("verdict") != "contradicted"]
            if not claims or (self.ungrounded == "review" and len(claims) < len(current.parsed)):
                return measured
        findings = claims_to_findings(claims)
        text = description(findings, self.measured.library)
        return replace(measured, ad=text, findings=findings, ad_by=by, grounding=grounding)


def reviewed_by(author: str, decisions: list[Decision]) -> str:
    """Return the author of a description and the reviewers with the strictest choice.

    For example "gpt-4o, ad_alone 1, accepted by ann and bob".
    """
    for choice in ("reject", "edit", "accept"):
        if names := sorted(decision.reviewer for decision in decisions if decision.choice == choice):
            return f"{author}, {choice}ed by {' and '.join(names)}"
    return author
