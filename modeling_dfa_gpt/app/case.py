"""A case: one picture, the analysis of one of its faces, and the conversation about it. The page and the API use it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.annotate.claims import named_regions
from dfa_instruct.vocabulary import Label, Region
from modeling_dfa_gpt.app.attention import attention_received
from modeling_dfa_gpt.app.upload import Upload, open_upload
from modeling_dfa_gpt.conversation import ContextError, Conversation
from modeling_dfa_gpt.dfa_gpt import Analysis, DfaGpt
from modeling_dfa_gpt.picture import OpenedFace

MAX_QUESTION_LENGTH = 500
"""Characters."""
DISPLAY_SIDE = 512
"""Longest side, in pixels, of the pictures on the page."""
MAX_CACHED_CONVERSATIONS = 8
"""Number of conversations that keep their key-value cache. An older one reads its text again when it continues."""
FIRST_QUESTION: Final[dict[Label, str]] = {
    "forged": "What is wrong with the {region}?",
    "bona_fide": "Does the skin texture look natural?",
}
MORE_QUESTIONS: Final = ("How do you know that?", "How sure are you?", "What should I do next?")
"""Questions that the page suggests after a verdict. All of them occur in the instruction templates."""


@dataclass(frozen=True)
class Statement:
    """A sentence of the artifact description, and the regions that it names."""

    text: str
    regions: tuple[Region, ...]


@dataclass
class Turn:
    """A question and its answer so far. The model remembers a turn only when it is complete."""

    question: str
    answer: str = ""
    state: Literal["answering", "complete", "stopped", "failed"] = "answering"

    @property
    def display_text(self) -> str:
        """The answer as plain text, with a note if it was stopped."""
        return plain_text(self.answer) + (" [stopped; it is not remembered]" if self.state == "stopped" else "")


@dataclass
class Case:
    """A picture, its faces, and the analysis of one face with the conversation about it.

    Attributes:
        upload: The uploaded file. Its picture is reduced to `DISPLAY_SIDE` after the faces were cut out.
        faces: The faces in the picture, from left to right.
        chosen: Index of the face that is analyzed, or None before one is chosen.
        analysis: The analysis so far.
        attention: Attention map of the vision tower, shape (rows, columns), if the model cannot map forgeries.
        conversation: The model's conversation, or None if the face gets no verdict.
        turns: The turns of the conversation as the page shows them.
        stop_event: Setting it stops the running analysis or answer.
    """

    upload: Upload
    faces: list[OpenedFace]
    chosen: int | None = None
    analysis: Analysis | None = None
    attention: NDArray[np.float32] | None = None
    conversation: Conversation | None = None
    turns: list[Turn] = field(default_factory=list)
    stop_event: Event = field(default_factory=Event)

    @property
    def face(self) -> OpenedFace:
        """The chosen face."""
        if self.chosen is None:
            raise ValueError("No face was chosen.")
        return self.faces[self.chosen]

    @property
    def notice(self) -> str:
        """The reason why there is no verdict, as a sentence. It is empty if there is a verdict."""
        if not self.faces:
            return "No face was found in this picture, so it was not analyzed."
        if self.chosen is None:
            return f"{len(self.faces)} faces were found. Choose the face to analyze."
        notice = self.face.notice or (self.analysis.reason if self.analysis else "")
        return f"No verdict: {notice}." if notice else ""

    @property
    def statements(self) -> list[Statement]:
        """The sentences of the artifact description."""
        lines = (self.analysis.description if self.analysis else "").splitlines()
        return [Statement(plain_text(line), tuple(named_regions(line))) for line in lines if line.strip()]

    def suggestions(self) -> list[str]:
        """Return questions that fit the verdict. The first one is about a region that the description names."""
        if self.analysis is None or self.analysis.label is None:
            return []
        named = [region for statement in self.statements for region in statement.regions]
        return [FIRST_QUESTION[self.analysis.label].format(region=[*named, "eyes"][0]), *MORE_QUESTIONS]

    def to_dict(self) -> dict[str, Any]:
        """Return the case as a dictionary for JSON."""
        analysis = self.analysis.to_dict() if self.analysis else {}
        return {
            "sha256": self.upload.sha256,
            "faces": len(self.faces),
            "face": None if self.chosen is None else self.chosen + 1,
            "notice": self.notice,
            **{key: value for key, value in analysis.items() if key != "faces"},
            "statements": [{"text": s.text, "regions": list(s.regions)} for s in self.statements],
        }


class Analyst:
    """Open cases and answer questions about them with one model. It serves one caller at a time."""

    def __init__(self, model: DfaGpt) -> None:
        self.model = model
        self._cached: list[Conversation] = []

    def open(self, path: Path) -> Case:
        """Open a picture and find its faces. If there is only one face, it is chosen.

        Raises:
            BadPictureError: The file is not an accepted picture. The message is a sentence for the visitor.
        """
        upload = open_upload(path)
        faces = self.model.open_faces(upload.picture)
        upload.picture.thumbnail((DISPLAY_SIDE, DISPLAY_SIDE))  # many cases stay in memory at once
        return Case(upload, faces, chosen=0 if len(faces) == 1 else None)

    def analyze(self, case: Case) -> Iterator[Case]:
        """Analyze the chosen face. Yield the case after each step, until `case.stop_event` is set."""
        case.stop_event.clear()
        case.analysis, case.turns = None, []  # they may be about another face
        case.attention, case.conversation = None, Conversation(self.model, case.face.image)
        for analysis in self.model.examine(case.face, case.conversation):
            case.analysis = analysis
            if analysis.label is None:  # without a verdict, nothing that the model says is shown
                case.conversation = None
                yield case
                return
            if case.attention is None and analysis.changed is None:
                case.attention = attention_received(self.model, case.face.image)
            yield case
            if case.stop_event.is_set():
                return
        texts = [message["content"] for message in case.conversation.messages]
        case.turns = [Turn(q, a.strip(), "complete") for q, a in zip(texts[::2], texts[1::2], strict=True)]
        self._keep_cache(case.conversation)
        yield case

    def ask(self, case: Case, question: str) -> Iterator[Turn]:
        """Answer a question about the chosen face. Yield the turn after each piece of text, until it is stopped."""
        question = " ".join(question.split())[:MAX_QUESTION_LENGTH]
        if case.conversation is None or not question:
            return
        case.stop_event.clear()
        turn = Turn(question)
        case.turns.append(turn)
        self._keep_cache(case.conversation)
        stream = case.conversation.stream(question)
        try:
            for piece in stream:
                turn.answer += piece
                yield turn
                if case.stop_event.is_set():
                    break
            else:
                turn.state = "complete"
        except ContextError:
            turn.state = "failed"
            turn.answer = "The conversation is longer than the model can read. Clear it, or start with a new picture."
        finally:
            stream.close()
            if turn.state == "answering":
                turn.state = "stopped"
        yield turn

    def ask_again(self, case: Case) -> Iterator[Turn]:
        """Remove the last turn and ask its question again."""
        if case.conversation is None or not case.turns:
            return
        last = case.turns.pop()
        if last.state == "complete":
            case.conversation.forget(turns=1)
        yield from self.ask(case, last.question)

    def clear(self, case: Case) -> None:
        """Remove all turns of the conversation. The analysis of the face stays."""
        if case.conversation is not None:
            case.turns = []
            case.conversation.forget(turns=len(case.conversation.messages) // 2)

    def _keep_cache(self, conversation: Conversation) -> None:
        """Mark a conversation as recently used, and free the caches of the least recently used ones."""
        self._cached = [other for other in self._cached if other is not conversation] + [conversation]
        while len(self._cached) > MAX_CACHED_CONVERSATIONS:
            self._cached.pop(0).forget()


def plain_text(text: str) -> str:
    """Remove the Markdown from a model's text."""
    return text.replace("**", "").strip()
