"""Handle the events of the page and the calls of the API: uploads, questions, comparisons, reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from dfa_instruct.face.detection import not_one_face
from dfa_instruct.sources.pictures import BadPictureError
from modeling_dfa_gpt.app.case import MORE_QUESTIONS, Analyst, Case, Turn
from modeling_dfa_gpt.app.case_report import model_facts, report_html
from modeling_dfa_gpt.app.drawing import case_html, comparison_html, faces_html, notice_html, video_html
from modeling_dfa_gpt.app.video import Frame, analyze_upload, most_probable_first
from modeling_dfa_gpt.dfa_gpt import DfaGpt

NO_PICTURE = "Give a picture first."
SUGGESTIONS = 1 + len(MORE_QUESTIONS)
CONTROLS = 7
"""Number of buttons and text fields that need a case with a complete analysis."""
NO_CHOICE = gr.update(choices=[], value=None, visible=False)


class Handlers:
    """Event handlers of the page of one model. Gradio runs all handlers that use the model in one queue.

    Args:
        model: The model.
        name: The folder or Hub id from which the model was loaded.
    """

    def __init__(self, model: DfaGpt, name: str) -> None:
        self.analyst = Analyst(model)
        self.calibration = model.calibration
        self.facts = model_facts(name)

    def open_case(self, upload: dict[str, Any]) -> Case:
        """Open an uploaded picture. If that fails, delete the file at once.

        Raises:
            BadPictureError: The file is not an accepted picture.
        """
        path = uploaded_file(upload)
        try:
            return self.analyst.open(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def open_picture(self, upload: dict[str, Any] | None) -> Iterator[list[Any]]:
        """Start a new case with a picture."""
        yield self.picture_updates()
        if upload is None:
            return
        try:
            case = self.open_case(upload)
        except BadPictureError as error:
            yield self.picture_updates(refusal=str(error))
            return
        yield self.picture_updates(case)
        if case.chosen is not None:
            for _ in self.analyst.analyze(case):
                yield self.picture_updates(case)

    def open_video(self, upload: dict[str, Any] | None) -> Iterator[list[Any]]:
        """Analyze a video frame by frame. The file is deleted afterwards; the frames are kept."""
        yield self.video_updates([])
        if upload is None:
            return
        frames: list[Frame] = []
        try:
            path = uploaded_file(upload)
            try:
                for frames in analyze_upload(self.analyst.model, path):
                    yield self.video_updates(frames)
            finally:
                path.unlink(missing_ok=True)
        except BadPictureError as error:
            yield self.video_updates([], refusal=str(error))
            return
        choices = [(f"{frame.seconds:.1f} s", frame.seconds) for frame in most_probable_first(frames)]
        yield self.video_updates(frames, choices)

    def picture_updates(self, case: Case | None = None, refusal: str = "") -> list[Any]:
        """Return the values of the components `media + about` (see `page.build`) for a picture. It clears the video."""
        several = case is not None and len(case.faces) > 1
        numbers = range(1, len(case.faces) + 1) if case else ()
        return [
            *(None if refusal else gr.skip(), None),
            *([], "", NO_CHOICE),
            gr.HTML(faces_html(case) if case and several else "", visible=several),
            gr.Radio([(f"Face {number}", number) for number in numbers], value=None, visible=several),
            *self.case_updates(case, refusal),
        ]

    def video_updates(
        self, frames: list[Frame], choices: Sequence[tuple[str, float]] = (), refusal: str = ""
    ) -> list[Any]:
        """Return the values of the same components for a video. It clears the picture and the conversation."""
        return [
            *(None, gr.skip()),
            *(frames, video_html(frames, self.calibration) if frames else notice_html(refusal)),
            gr.Radio(choices, value=None, visible=bool(choices)),
            *(gr.HTML("", visible=False), NO_CHOICE),
            *self.case_updates(None),
        ]

    def case_updates(self, case: Case | None, refusal: str = "") -> list[Any]:
        """Return the values of the components `about` (see `page.build`) for a case, or for a refusal."""
        questions = case.suggestions() if case and case.turns else []
        ready = gr.update(interactive=bool(case and case.turns))
        return [
            case,
            *(case_html(case, self.calibration) if case else (notice_html(refusal), "")),
            chat_messages(case),
            *(None, ""),  # the comparison was with the previous case
            *(gr.Button(questions[i] if questions else "", visible=bool(questions)) for i in range(SUGGESTIONS)),
            *[ready] * CONTROLS,
        ]

    def choose_face(self, case: Case | None, number: int | None) -> Iterator[list[Any]]:
        """Analyze one of several faces."""
        if case is None or number is None:
            return
        case.chosen = number - 1
        for _ in self.analyst.analyze(case):
            yield self.case_updates(case)

    def choose_frame(self, frames: list[Frame], seconds: float | None) -> Iterator[list[Any]]:
        """Start a new case with a frame of the video."""
        for frame in frames:
            if frame.seconds == seconds and frame.case.chosen is not None:
                for case in self.analyst.analyze(frame.case):
                    yield self.case_updates(case)

    def compare(self, case: Case | None, upload: dict[str, Any] | None) -> Iterator[str]:
        """Analyze a second picture and show it beside the first one."""
        if upload is None:
            yield ""
            return
        if case is None or case.analysis is None:
            yield notice_html(NO_PICTURE)
            return
        try:
            reference = self.open_case(upload)
        except BadPictureError as error:
            yield notice_html(str(error))
            return
        if reference.chosen is None:
            yield notice_html(f"In the reference picture, {not_one_face(len(reference.faces))}.")
            return
        for _ in self.analyst.analyze(reference):
            yield comparison_html(case, reference, self.calibration)

    def ask(self, case: Case | None, question: str) -> Iterator[list[dict[str, str]]]:
        """Answer a question. Yield the whole conversation after each piece of the answer."""
        yield from self._stream(case, lambda opened: self.analyst.ask(opened, question))

    def ask_again(self, case: Case | None) -> Iterator[list[dict[str, str]]]:
        """Ask the last question again."""
        yield from self._stream(case, self.analyst.ask_again)

    def _stream(self, case: Case | None, answer: Callable[[Case], Iterator[Turn]]) -> Iterator[list[dict[str, str]]]:
        if case is None or case.conversation is None:
            # A warning, because Gradio would skip the events that follow an error.
            gr.Warning((case and case.notice) or NO_PICTURE)
            yield chat_messages(None)
            return
        for _ in answer(case):
            yield chat_messages(case)

    def clear(self, case: Case | None) -> list[dict[str, str]]:
        """Remove all turns of the conversation."""
        if case is not None:
            self.analyst.clear(case)
        return chat_messages(case)

    def report(self, case: Case | None, frames: Sequence[Frame] = ()) -> str:
        """`/report`: return the report of a case as HTML. For a frame of a video, it includes the timeline."""
        if case is None or case.analysis is None:
            raise gr.Error(NO_PICTURE, print_exception=False)
        is_frame = any(frame.case is case for frame in frames)
        return report_html(case, self.calibration, self.facts, frames if is_frame else ())

    def analyze(self, upload: dict[str, Any] | None, face: int | None = None) -> tuple[Case, dict[str, Any]]:
        """`/analyze`: start a new case with a picture and, if it shows several faces, the number of one of them."""
        if upload is None:
            raise gr.Error(NO_PICTURE, print_exception=False)
        try:
            case = self.open_case(upload)
        except BadPictureError as error:
            raise gr.Error(str(error), title="Not accepted", print_exception=False) from error
        if face is not None and case.faces:
            if face not in range(1, len(case.faces) + 1):
                raise gr.Error(f"There is no face {face}, only 1 to {len(case.faces)}.", print_exception=False)
            case.chosen = int(face) - 1
        if case.chosen is not None:
            for _ in self.analyst.analyze(case):
                pass
        return case, {**case.to_dict(), "trained_on": self.calibration.trained_on}

    def chat(self, case: Case | None, question: str) -> Iterator[str]:
        """`/chat`: answer a question about the last picture of the session. Yield the answer so far."""
        if case is None or case.conversation is None:
            raise gr.Error((case and case.notice) or NO_PICTURE, print_exception=False)
        for turn in self.analyst.ask(case, question):
            yield turn.answer.strip()


def uploaded_file(upload: dict[str, Any]) -> Path:
    """Return the path of an upload.

    Raises:
        BadPictureError: The path is not in the upload folder. Gradio checks this only when it preprocesses the file.
    """
    path = Path(str(upload.get("path"))).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()):
        raise BadPictureError("The file was not uploaded to this page.")
    return path


def chat_messages(case: Case | None) -> list[dict[str, str]]:
    """Return a conversation for Gradio's chatbot, escaped because it renders HTML even where Markdown is off."""
    messages = []
    for turn in case.turns if case else ():
        messages.append({"role": "user", "content": escape(turn.question, quote=False)})
        messages.append({"role": "assistant", "content": escape(turn.display_text, quote=False) or "…"})
    return messages


def stop(case: Case | None) -> None:
    """Stop the running answer or analysis."""
    if case is not None:
        case.stop_event.set()
