"""The typed rows that one stage of the construction hands to the next."""

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
"""Facial landmarks in pixels (x, y), shape (81, 2): the 68 points of iBUG 300-W, then 13 along the top of the
forehead from the subject's right temple to the left one. See `dfa_instruct.face.detection`."""

MEASURED: Final = "measured"
"""Who wrote a text that no language model wrote."""


def face_id_of(image: Pixels) -> str:
    """Name a face by its aligned pixels: the first 16 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes() + repr(image.shape).encode()).hexdigest()[:16]


@dataclass(slots=True, kw_only=True)
class FaceRecord:
    """The facts of one face, without its pixels. The columns of the dataset follow its fields, in their order.

    Args:
        face_id: see `face_id_of`.
        identities: all people whose features are in the picture (target, and donor or driver). Entire face synthesis
            has an invented one.
        pair_id: the `face_id` of the bona fide picture that a forgery was made from.
        pairing: how that picture was found (`dfa_instruct.vocabulary.PAIRINGS`).
        landmarks: in pixels of the aligned square, shape (81, 2).
        parameters: of the technique, its seed included; JSON-serialisable.
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
        if self.landmarks is not None:  # rounded as in the dataset, so that evidence can be measured again from it
            self.landmarks = self.landmarks.round(2)


@dataclass(slots=True, kw_only=True)
class Face(FaceRecord):
    """One aligned square face: its facts and its pixels. With no `face_id`, it is taken from the pixels."""

    face_id: str = ""
    image: Pixels

    def __post_init__(self) -> None:
        if not self.face_id:
            self.face_id = face_id_of(self.image)
        FaceRecord.__post_init__(self)

    def to_png(self) -> bytes:
        """Encode losslessly; a forgery carries its provenance as PNG text (technique, source hash)."""
        notes = PngImagePlugin.PngInfo()
        if self.label == "forged":
            notes.add_text("dfa:label", "forged")
            notes.add_text("dfa:technique", str(self.technique))
            notes.add_text("dfa:source_sha256", self.source_sha256)
        buffer = io.BytesIO()
        # Run lengths alone: a third of the time on photographs for 3 % more bytes.
        Image.fromarray(self.image).save(buffer, format="PNG", pnginfo=notes, compress_type=zlib.Z_RLE)
        return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Forgery:
    """What a technique returns: the forged image, its landmarks, and the parameters that made it."""

    image: Pixels
    landmarks: Landmarks | None
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One piece of evidence: what differs where, and how much (0: nothing, 1: as much as can be)."""

    region: Region
    artifact: ArtifactKind
    strength: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What is said of one region: the artifacts there, the strongest first, and the sentence that states them."""

    region: Region
    artifacts: tuple[ArtifactKind, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is said of a face before any question is asked: the texts of DF-D, DF-C and AD.

    `findings` are what the AD text is made of, whoever wrote it: one a region, the strongest first, none for a bona
    fide face. Free conversation takes its sentences from here, so that it cannot contradict the AD text. `conversation`
    are its questions and answers where the annotator wrote them itself, else they are drawn from templates. `ad_by` and
    `fc_by` say who wrote, `grounding` how far the pixels bear out a text that was not measured (0 to 1).

    Raises:
        ValueError: a finding's sentence does not stand in the AD text, or two findings are of one region.
    """

    df_d: str
    df_c: str
    ad: str
    findings: tuple[Finding, ...] = ()
    conversation: tuple[tuple[str, str], ...] = ()
    ad_by: str = MEASURED
    fc_by: str = MEASURED
    grounding: float | None = None

    def __post_init__(self) -> None:
        regions = [finding.region for finding in self.findings]
        if len(regions) > len(set(regions)):
            raise ValueError(f"an annotation has two findings of one region: {', '.join(regions)}")
        for finding in self.findings:
            if finding.sentence not in self.ad:
                raise ValueError(f"an annotation's description does not have the sentence {finding.sentence!r}")


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """One instruction and its answer; `template` names the phrasing it was drawn from."""

    ability: Ability
    question: str
    answer: str
    template: str


@dataclass(frozen=True, slots=True)
class BenchQuestion:
    """One standardised question of DFA-Bench; `options` is empty for an open question."""

    ability: BenchAbility
    question: str
    answer: str
    options: tuple[str, ...] = ()


@dataclass(slots=True)
class InstructRow:
    """One row of DFA-Instruct, without the image: a face with its evidence, questions and answers.

    `ad_by`, `fc_by`, `grounding` and `findings` are those of its `Annotation`.
    """

    face: FaceRecord
    artifacts: list[Artifact]
    qa: list[QuestionAnswer]
    bench: list[BenchQuestion]
    ad_by: str = MEASURED
    fc_by: str = MEASURED
    grounding: float | None = None
    findings: list[Finding] = field(default_factory=list)
