"""A case: what is known of one picture, and what was said about it. The page and the API call these functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.bench.tasks.parsing import named_regions
from dfa_instruct.vocabulary import Label, Region
from modeling_dfa_gpt.app.attention import attention_received
from modeling_dfa_gpt.app.upload import Upload, open_upload
from modeling_dfa_gpt.conversation import ContextError, Conversation
from modeling_dfa_gpt.dfa_gpt import Analysis, DfaGpt
from modeling_dfa_gpt.picture import OpenedFace

LONGEST_QUESTION = 500
"""Characters."""
SHOWN_SIDE = 512
"""Longest side in pixels of the pictures in the page."""
CASES_IN_MEMORY = 8
"""So many conversations keep their keys and values; an older one reads its text anew when it goes on."""
SUGGESTED: Final[dict[Label, tuple[str, ...]]] = {
    "forged": (
        "What is wrong with the {region}?",
        "How do you know that?",
        "How sure are you?",
        "What should I do next?",
    ),
    "bona_fide": (
        "Does the skin texture look natural?",
        "How do you know that?",
        "How sure are you?",
        "What should I do next?",
    ),
}
"""The questions that are suggested after a verdict. Each is a wording of the instruction templates."""


@dataclass(frozen=True)
class Statement:
    """A sentence of the artifact description, and the regions that it names."""

    text: str
    regions: tuple[Region, ...]


@dataclass
class Turn:
    """A question, its answer as far as it has come, and whether it is whole: a stopped one is not remembered."""

    question: str
    answer: str = ""
    state: Literal["answering", "whole", "stopped", "failed"] = "answering"

    @property
    def shown(self) -> str:
        """The answer as plain text, with what became of it."""
        return plain(self.answer) + (" [stopped; it is not remembered]" if self.state == "stopped" else "")


@dataclass
class Case:
    """One picture, the faces in it, what is known of the chosen one, and the conversation about it.

    `upload.picture` is reduced to `SHOWN_SIDE`; the faces were cut out before.
    """

    upload: Upload
    faces: list[OpenedFace]
    chosen: int | None = None
    analysis: Analysis | None = None
    attention: NDArray[np.float32] | None = None
    conversation: Conversation | None = None
    turns: list[Turn] = field(default_factory=list)
    stopping: Event = field(default_factory=Event)

    @property
    def face(self) -> OpenedFace:
        """The face that was chosen."""
        if self.chosen is None:
            raise ValueError("No face was chosen.")
        return self.faces[self.chosen]

    @property
    def notice(self) -> str:
        """Say what stands in the way of a verdict; empty where nothing does."""
        if not self.faces:
            return "No face was found in this picture, so nothing is said about it."
        if self.chosen is None:
            return f"{len(self.faces)} faces were found; choose the one to look at."
        notice = self.face.notice or (self.analysis.reason if self.analysis else "")
        return f"No verdict: {notice}." if notice else ""

    @property
    def statements(self) -> list[Statement]:
        """The artifact description, sentence by sentence."""
        lines = (self.analysis.description if self.analysis else "").splitlines()
        return [Statement(plain(line), tuple(named_regions(line))) for line in lines if line.strip()]

    def suggestions(self) -> list[str]:
        """Return questions that fit the verdict, the first one about a region that the description names."""
        if self.analysis is None or self.analysis.label is None:
            return []
        named = [region for statement in self.statements for region in statement.regions]
        return [question.format(region=named[0] if named else "eyes") for question in SUGGESTED[self.analysis.label]]

    def to_dict(self) -> dict[str, Any]:
        """Lay out what is known for JSON."""
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
    """Holds the model, opens cases, and answers about them; for one caller at a time."""

    def __init__(self, model: DfaGpt) -> None:
        self.model = model
        self._in_memory: list[Conversation] = []

    def open(self, path: Path) -> Case:
        """Open a picture and find its faces; a single one is chosen at once.

        Raises:
            BadPictureError: it is not a picture that is taken; the message is a sentence for who sent it.
        """
        upload = open_upload(path)
        faces = self.model.open_faces(upload.picture)
        upload.picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))  # all that is shown of it; many cases are held at once
        return Case(upload, faces, chosen=0 if len(faces) == 1 else None)

    def analyze(self, case: Case) -> Iterator[Case]:
        """Analyse the chosen face; yield the case each time that more is known of it, until `case.stopping` is set."""
        case.stopping.clear()
        case.analysis, case.turns = None, []  # of a face that was chosen before
        case.attention, case.conversation = None, Conversation(self.model, case.face.image)
        for known in self.model.examine(case.face, case.conversation):
            case.analysis = known
            if known.label is None:  # then nothing that the model says of the picture is shown
                case.conversation = None
                yield case
                return
            if case.attention is None:
                case.attention = attention_received(self.model, case.face.image)
            yield case
            if case.stopping.is_set():
                return
        said = [message["content"] for message in case.conversation.messages]
        case.turns = [Turn(q, a.strip(), "whole") for q, a in zip(said[::2], said[1::2], strict=True)]
        self._keep(case.conversation)
        yield case

    def ask(self, case: Case, question: str) -> Iterator[Turn]:
        """Answer one question about the chosen face piece by piece, until it is whole or `case.stopping` is set."""
        question = " ".join(question.split())[:LONGEST_QUESTION]
        if case.conversation is None or not question:
            return
        case.stopping.clear()
        turn = Turn(question)
        case.turns.append(turn)
        self._keep(case.conversation)
        answering = case.conversation.stream(question)
        try:
            for piece in answering:
                turn.answer += piece
                yield turn
                if case.stopping.is_set():
                    break
            else:
                turn.state = "whole"
        except ContextError:
            turn.state = "failed"
            turn.answer = "The conversation is longer than the model reads. Clear it, or begin with a new picture."
        finally:
            answering.close()
            if turn.state == "answering":
                turn.state = "stopped"
        yield turn

    def ask_again(self, case: Case) -> Iterator[Turn]:
        """Take the last turn back and ask its question once more."""
        if case.conversation is None or not case.turns:
            return
        last = case.turns.pop()
        if last.state == "whole":
            case.conversation.forget(turns=1)
        yield from self.ask(case, last.question)

    def clear(self, case: Case) -> None:
        """Begin the conversation anew; what is known of the face stays."""
        if case.conversation is not None:
            case.turns = []
            case.conversation.forget(turns=len(case.conversation.messages) // 2)

    def _keep(self, conversation: Conversation) -> None:
        """Let the conversations that were longest not used forget what they have read, so that memory stays flat."""
        self._in_memory = [other for other in self._in_memory if other is not conversation] + [conversation]
        while len(self._in_memory) > CASES_IN_MEMORY:
            self._in_memory.pop(0).forget()


def plain(text: str) -> str:
    """Take the Markdown out of a model's text."""
    return text.replace("**", "").strip()
