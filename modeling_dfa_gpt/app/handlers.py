"""What happens when something is done on the page, and by the API: uploads, questions, the report."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from dfa_instruct.face.detection import not_one_face
from dfa_instruct.sources.pictures import BadPictureError
from modeling_dfa_gpt.app.case import SUGGESTED, Analyst, Case, Turn
from modeling_dfa_gpt.app.case_report import model_facts, report_html
from modeling_dfa_gpt.app.drawing import case_html, comparison_html, faces_html, notice_html, video_html
from modeling_dfa_gpt.app.pdf import report_pdf
from modeling_dfa_gpt.app.video import Frame, watch, worst
from modeling_dfa_gpt.dfa_gpt import DfaGpt

FIRST = "Give a picture first."
SUGGESTIONS = max(len(questions) for questions in SUGGESTED.values())
CONTROLS = 7
"""Buttons, and the line for a question, that need a case whose analysis is whole."""
NO_CHOICE = gr.update(choices=[], value=None, visible=False)


class Handlers:
    """Answers what is done on the page of one model. Everything that uses the model waits in one queue."""

    def __init__(self, model: DfaGpt, name: str) -> None:
        self.analyst = Analyst(model)
        self.calibration = model.calibration
        self.facts = model_facts(name)

    def open(self, sent: dict[str, Any]) -> Case:
        """Open an upload; one that is refused, or fails, is deleted at once.

        Raises:
            BadPictureError: it is not a picture that is taken.
        """
        path = sent_file(sent)
        try:
            return self.analyst.open(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def begin(self, sent: dict[str, Any] | None) -> Iterator[list[Any]]:
        """Begin a new case with a picture."""
        yield self.given()
        if sent is None:
            return
        try:
            case = self.open(sent)
        except BadPictureError as error:
            yield self.given(refusal=str(error))
            return
        yield self.given(case)
        if case.chosen is not None:
            for known in self.analyst.analyze(case):
                yield self.given(known)

    def watch(self, sent: dict[str, Any] | None) -> Iterator[list[Any]]:
        """Look at a video, frame by frame; it is deleted then, and the frames stay."""
        yield self.seen([])
        if sent is None:
            return
        frames: list[Frame] = []
        try:
            path = sent_file(sent)
            try:
                for frames in watch(self.analyst.model, path):
                    yield self.seen(frames)
            finally:
                path.unlink(missing_ok=True)
        except BadPictureError as error:
            yield self.seen([], refusal=str(error))
            return
        yield self.seen(frames, moments=[(f"{frame.seconds:.1f} s", frame.seconds) for frame in worst(frames)])

    def given(self, case: Case | None = None, refusal: str = "") -> list[Any]:
        """Lay out a picture for the components of the page (`given + about` in `build`); no video is left there."""
        several = case is not None and len(case.faces) > 1
        numbers = range(1, len(case.faces) + 1) if case else ()
        return [
            *(None if refusal else gr.skip(), None),
            *([], "", NO_CHOICE),
            gr.HTML(faces_html(case) if case and several else "", visible=several),
            gr.Radio([(f"Face {number}", number) for number in numbers], value=None, visible=several),
            *self.shown(case, refusal),
        ]

    def seen(self, frames: list[Frame], refusal: str = "", moments: Sequence[tuple[str, float]] = ()) -> list[Any]:
        """Lay out a video in the same way; no picture, no verdict and no conversation are left there."""
        return [
            *(None, gr.skip()),
            *(frames, video_html(frames, self.calibration) if frames else notice_html(refusal)),
            gr.Radio(moments, value=None, visible=bool(moments)),
            *(gr.HTML("", visible=False), NO_CHOICE),
            *self.shown(None),
        ]

    def shown(self, case: Case | None, refusal: str = "") -> list[Any]:
        """Lay out what is known of a case (`about` in `build`), or the sentence why there is none."""
        questions = case.suggestions() if case and case.turns else []
        ready = gr.update(interactive=bool(case and case.turns))
        return [
            case,
            *(case_html(case, self.calibration) if case else (notice_html(refusal), "")),
            messages(case),
            *(None, ""),  # a comparison was with the case before
            *(gr.Button(questions[i] if questions else "", visible=bool(questions)) for i in range(SUGGESTIONS)),
            *[ready] * CONTROLS,
        ]

    def choose(self, case: Case | None, number: int | None) -> Iterator[list[Any]]:
        """Analyse one of several faces."""
        if case is None or number is None:
            return
        case.chosen = number - 1
        for known in self.analyst.analyze(case):
            yield self.shown(known)

    def choose_frame(self, frames: list[Frame], seconds: float | None) -> Iterator[list[Any]]:
        """Begin a new case with a frame of the video."""
        for frame in frames:
            if frame.seconds == seconds and frame.case.chosen is not None:
                for known in self.analyst.analyze(frame.case):
                    yield self.shown(known)

    def compare(self, case: Case | None, sent: dict[str, Any] | None) -> Iterator[str]:
        """Analyse a second picture, and show it beside the first one."""
        if sent is None:
            yield ""
            return
        if case is None or case.analysis is None:
            yield notice_html(FIRST)
            return
        try:
            reference = self.open(sent)
        except BadPictureError as error:
            yield notice_html(str(error))
            return
        if reference.chosen is None:
            yield notice_html(f"In the reference picture, {not_one_face(len(reference.faces))}.")
            return
        for known in self.analyst.analyze(reference):
            yield comparison_html(case, known, self.calibration)

    def ask(self, case: Case | None, question: str) -> Iterator[list[dict[str, str]]]:
        """Answer a question, shown as the whole conversation, from its first token on."""
        yield from self._talk(case, lambda opened: self.analyst.ask(opened, question))

    def ask_again(self, case: Case | None) -> Iterator[list[dict[str, str]]]:
        """Ask the last question again."""
        yield from self._talk(case, self.analyst.ask_again)

    def _talk(self, case: Case | None, answer: Callable[[Case], Iterator[Turn]]) -> Iterator[list[dict[str, str]]]:
        if case is None or case.conversation is None:
            # Not an error: Gradio's page would not go on with what follows an answer.
            gr.Warning((case and case.notice) or FIRST)
            yield messages(None)
            return
        for _ in answer(case):
            yield messages(case)

    def clear(self, case: Case | None) -> list[dict[str, str]]:
        """Begin the conversation anew."""
        if case is not None:
            self.analyst.clear(case)
        return messages(case)

    def report(self, case: Case | None, frames: Sequence[Frame] = ()) -> str:
        """`/report`: write the report of a case as HTML; of a frame, with those of its video."""
        if case is None or case.analysis is None:
            raise gr.Error(FIRST, print_exception=False)
        of_video = any(frame.case is case for frame in frames)
        return report_html(case, self.calibration, self.facts, frames if of_video else ())

    def report_pdf(self, case: Case | None, frames: Sequence[Frame] = ()) -> str:
        """`/report_pdf`: write the report of a case as PDF, in base64."""
        return base64.b64encode(report_pdf(self.report(case, frames))).decode()

    def analyze(self, sent: dict[str, Any] | None, face: int | None = None) -> tuple[Case, dict[str, Any]]:
        """`/analyze`: begin a new case with a picture; of several faces, with the one of this number."""
        if sent is None:
            raise gr.Error(FIRST, print_exception=False)
        try:
            case = self.open(sent)
        except BadPictureError as error:
            raise gr.Error(str(error), title="Not taken", print_exception=False) from error
        if face is not None and case.faces:
            if face not in range(1, len(case.faces) + 1):
                raise gr.Error(f"There is no face {face}, only 1 to {len(case.faces)}.", print_exception=False)
            case.chosen = int(face) - 1
        if case.chosen is not None:
            for _ in self.analyst.analyze(case):
                pass
        return case, {**case.to_dict(), "trained_on": self.calibration.trained_on}

    def chat(self, case: Case | None, question: str) -> Iterator[str]:
        """`/chat`: talk on about the picture that was given last; the answer as far as it has come."""
        if case is None or case.conversation is None:
            raise gr.Error((case and case.notice) or FIRST, print_exception=False)
        for turn in self.analyst.ask(case, question):
            yield turn.answer.strip()


def sent_file(sent: dict[str, Any]) -> Path:
    """Return where an upload lies.

    Raises:
        BadPictureError: a client named a path of the server. Gradio refuses that only where it is asked to preprocess.
    """
    path = Path(str(sent.get("path"))).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()):
        raise BadPictureError("The file was not sent to this page.")
    return path


def messages(case: Case | None) -> list[dict[str, str]]:
    """Lay out a conversation for Gradio's chatbot, escaped: HTML is obeyed there even where Markdown is not."""
    said = []
    for turn in case.turns if case else ():
        said.append({"role": "user", "content": escape(turn.question, quote=False)})
        said.append({"role": "assistant", "content": escape(turn.shown, quote=False) or "…"})
    return said


def stop(case: Case | None) -> None:
    """Stop the answer that is being given, or the analysis."""
    if case is not None:
        case.stopping.set()
