"""The records that the steps of the construction exchange."""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from dfa_instruct.vocabulary import Ability, ArtifactKind, BenchAbility, Category, Label, Pairing, Region, Split

Pixels = NDArray[np.uint8]
"""An RGB image, shape (height, width, 3), 0 to 255."""

Landmarks = NDArray[np.float32]
"""Facial landmarks (x, y) in pixels, shape (81, 2): the 68 points of iBUG 300-W, then 13 points along the top of the
forehead, from the subject's right temple to the left one. See `dfa_instruct.face.detection`."""

MEASURED: Final = "measured"
"""The author of texts that are composed from measured evidence."""
HUMAN: Final = "human"
"""The author of descriptions that people have written."""


def face_id_of(image: Pixels) -> str:
    """Return the id of a face: the first 16 hexadecimal digits of the SHA-256 of its aligned pixels."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes() + repr(image.shape).encode()).hexdigest()[:16]


@dataclass(slots=True, kw_only=True)
class FaceRecord:
    """The facts about one face, without its pixels. Its fields are columns of the dataset, in the same order.

    Args:
        face_id: The id of the face; see `face_id_of`.
        identities: All people whose features are in the picture: the target, and the donor or driver. For entire face
            synthesis, it is an invented identity.
        pair_id: The `face_id` of the bona fide picture that a forgery was made from.
        pairing: How that picture was found (`dfa_instruct.vocabulary.PAIRINGS`).
        landmarks: The landmarks in pixels of the aligned square, shape (81, 2).
        parameters: The parameters of the technique, with its seed, as JSON-serialisable values.
    """

    face_id: str
    label: Label
    category: Category
    technique: str | None = None
    source: str
    pair_id: str | None = None
    pairing: Pairing | None = None
    identities: tuple[str, ...]
    source_path: str
    source_sha256: str
    video: str | None = None
    frame: int | None = None
    landmarks: Landmarks | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    split: Split | None = None

    def __post_init__(self) -> None:
        if self.landmarks is not None:  # as in the dataset, so that the evidence can be measured again
            self.landmarks = self.landmarks.round(2)


@dataclass(slots=True, kw_only=True)
class Face(FaceRecord):
    """One aligned square face with its pixels. If no `face_id` is given, it is computed from them."""

    face_id: str = ""
    image: Pixels

    def __post_init__(self) -> None:
        if not self.face_id:
            self.face_id = face_id_of(self.image)
        FaceRecord.__post_init__(self)

    def to_png(self) -> bytes:
        """Encode the pixels as PNG. A forgery has its technique and the hash of its source as PNG text."""
        notes = PngImagePlugin.PngInfo()
        if self.label == "forged":
            notes.add_text("dfa:label", "forged")
            notes.add_text("dfa:technique", str(self.technique))
            notes.add_text("dfa:source_sha256", self.source_sha256)
        buffer = io.BytesIO()
        # Run-length encoding takes a third of the time on photographs, for 3 % more bytes.
        Image.fromarray(self.image).save(buffer, format="PNG", pnginfo=notes, compress_type=zlib.Z_RLE)
        return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Forgery:
    """The result of a technique: the forged image, its landmarks, and the parameters that were used."""

    image: Pixels
    landmarks: Landmarks | None
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One piece of evidence: what differs in a region, and how strongly (0: not at all, 1: as much as possible)."""

    region: Region
    artifact: ArtifactKind
    strength: float


@dataclass(frozen=True, slots=True)
class Finding:
    """The description of one region: its artifacts, the strongest first, and the sentence that states them."""

    region: Region
    artifacts: tuple[ArtifactKind, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Description:
    """What a person has written about a face.

    Args:
        person: Who wrote it: a name, or a number among the people who described this face.
        about: The part of the face that it is about, in the person's or the questioner's words; empty: the whole face.
        text: The words, as they were written.
        findings: The regions that it calls faulty, see `dfa_instruct.annotate.claims.read_findings`; none for a bona
            fide face.
    """

    person: str
    about: str
    text: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotation:
    """The texts about a face from which its questions and answers are made.

    Args:
        df_d: The text for deepfake detection.
        df_c: The text for deepfake classification.
        ad: The artifact description.
        findings: The parts of the artifact description, one per region, the strongest first; none for a bona fide face.
            Free conversation uses their sentences, so that it cannot contradict the artifact description.
        conversation: The questions and answers of the free conversation, if the annotator wrote them. Otherwise they
            are drawn from templates.
        ad_by: The author of the artifact description.
        fc_by: The author of the free conversation.
        grounding: For a text that was not measured, the share of it (0 to 1) that the pixels support.
        descriptions: What people have written about the face. The artifact description is that of the first person.

    Raises:
        ValueError: The sentence of a finding is not in the artifact description, or two findings have the same region.
    """

    df_d: str
    df_c: str
    ad: str
    findings: tuple[Finding, ...] = ()
    conversation: tuple[tuple[str, str], ...] = ()
    ad_by: str = MEASURED
    fc_by: str = MEASURED
    grounding: float | None = None
    descriptions: tuple[Description, ...] = ()

    def __post_init__(self) -> None:
        regions = [finding.region for finding in self.findings]
        if len(regions) > len(set(regions)):
            raise ValueError(f"an annotation has two findings for the same region: {', '.join(regions)}")
        for finding in self.findings:
            if finding.sentence not in self.ad:
                raise ValueError(
                    f"an annotation's artifact description does not contain the sentence {finding.sentence!r}"
                )


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """A question and its answer. `template` is the name of the template that it was drawn from."""

    ability: Ability
    question: str
    answer: str
    template: str


@dataclass(frozen=True, slots=True)
class BenchQuestion:
    """A standardised question of DFA-Bench. `options` is empty for an open question."""

    ability: BenchAbility
    question: str
    answer: str
    options: tuple[str, ...] = ()


@dataclass(slots=True)
class InstructRow:
    """A row of DFA-Instruct without the image. For its last five fields, see `Annotation`."""

    face: FaceRecord
    artifacts: list[Artifact]
    qa: list[QuestionAnswer]
    bench: list[BenchQuestion]
    ad_by: str = MEASURED
    fc_by: str = MEASURED
    grounding: float | None = None
    findings: list[Finding] = field(default_factory=list)
    descriptions: list[Description] = field(default_factory=list)
